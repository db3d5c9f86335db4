"""From the command line to a verb's task: the entry point, overrides, composing, folders, help, completion."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .folders import FreshFolder as FreshFolder


def __getattr__(name: str) -> Any:
    """Return `FreshFolder`, which configurations of users call `experiments.cli.FreshFolder`; it imports Hydra."""
    if name != "FreshFolder":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .folders import FreshFolder

    return FreshFolder
