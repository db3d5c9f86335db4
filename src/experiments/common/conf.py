"""The folder of the configuration."""

from pathlib import Path


def conf_folder() -> Path:
    """Return the folder of the configuration: in a wheel inside the package, otherwise at the top of the clone."""
    package = Path(__file__).resolve().parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parents[1] / "conf"
