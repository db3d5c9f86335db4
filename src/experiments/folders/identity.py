"""What tells one run from another: seed, overrides, versions and commit."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.common.version import __version__


def identity(config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return what says which run this is, and under which versions it ran."""
    return {
        "seed": config.get("seed"),
        "overrides": list(overrides),
        "versions": {
            "experiments": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
        "git_commit": git_commit(Path.cwd()),
    }


@cache
def git_commit(folder: Path) -> str | None:
    """Return the commit of a folder, if it is a checkout."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
