"""The version of the package, of its metadata and of the files that it writes."""

DISTRIBUTION = "torch-experiments"
"""The name on the package index; `experiments` is that of another project."""
__version__ = "0.1.0"
