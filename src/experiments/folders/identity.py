"""The identity of a run: seed, overrides, versions and commit."""

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
from experiments.models.draws import WAY


def identity(config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return the seed and the overrides of a run, how it draws, and the versions under which it runs."""
    return {
        "seed": config.get("seed"),
        "draws": WAY,
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
        process = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip()
