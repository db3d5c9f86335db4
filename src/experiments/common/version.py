"""The version of the package, of its metadata and of the files that it writes."""

__version__ = "0.1.0"
