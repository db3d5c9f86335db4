"""Where the configuration lies."""

from pathlib import Path


def conf_folder() -> Path:
    """The configuration: inside the package in a built wheel, at the top of the checkout otherwise."""
    package = Path(__file__).resolve().parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parents[1] / "conf"
