"""Export of trained runs as programs that do not need this package."""
