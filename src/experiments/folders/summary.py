"""`summary.json`: how a run ended; absent while it trains."""

from pathlib import Path
from typing import Any

from experiments.common.foreign import read_json

NAME = "summary.json"


def read_summary(folder: Path) -> dict[str, Any]:
    """Return a run's summary, empty if the run has not ended.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or is not a summary.
    """
    try:
        found = read_json(folder / NAME)
    except FileNotFoundError:
        return {}
    if not isinstance(found, dict):
        raise ValueError(f"{NAME} is not the summary of a run")
    return found


def readable_summary(folder: Path) -> dict[str, Any]:
    """Return a run's summary, empty if the run has not ended or its summary is damaged."""
    try:
        return read_summary(folder)
    except (OSError, ValueError):
        return {}
