"""The version, which the package, its metadata and what it writes share."""

__version__ = "0.1.0"
