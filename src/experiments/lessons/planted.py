"""Wrong parts that a recipe's sabotage puts in the place of right ones."""

from typing import Any


def unchanging(progress: float, **_settings: Any) -> float:
    """Return 1, whatever schedule it stands for."""
    del progress
    return 1.0
