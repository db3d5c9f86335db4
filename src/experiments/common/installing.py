"""The command that installs an optional part of this package."""

import json
import shlex
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from .version import DISTRIBUTION


def install_command(extra: str) -> str:
    """Return the command that installs an extra of this package into this environment, as typed in this folder.

    Args:
        extra: a key of `[project.optional-dependencies]` in pyproject.toml.
    """
    source = clone()
    if source is None:
        return f"pip install '{DISTRIBUTION}[{extra}]'"
    folder, flags = source
    typed = Path() if Path.cwd() == folder else folder
    pip = Path(sys.prefix).resolve() / "bin" / "pip"
    command = str(typed / pip.relative_to(folder)) if pip.is_relative_to(folder) and pip.exists() else "pip"
    return f"{shlex.quote(command)} install {flags}{shlex.quote(f'{typed}[{extra}]')}"


def clone() -> tuple[Path, str] | None:
    """Return the clone that this package is imported or was installed from, with pip's flags; None for an index."""
    folder = Path(__file__).resolve().parents[3]
    if (folder / "src" / "experiments").is_dir() and (folder / "pyproject.toml").is_file():
        return folder, "-e "
    try:
        origin = json.loads(distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return None
    url = urlsplit(origin.get("url", ""))
    folder = Path(url2pathname(url.path))
    return (folder, "") if url.scheme == "file" and (folder / "pyproject.toml").is_file() else None
