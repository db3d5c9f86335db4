"""Find out how the choices of training change what a network learns, and how fast."""

__version__ = "0.1.0"
