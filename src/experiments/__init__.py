"""Find out how the choices of training change what a network learns, and how fast.

In a notebook: `from experiments import compose, load, train`.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .common.version import __version__ as __version__

if TYPE_CHECKING:
    from .common.errors import UserError as UserError
    from .evaluation.loading import load as load
    from .library import compose as compose
    from .library import train as train


PUBLIC = {"compose": "library", "train": "library", "load": "evaluation.loading", "UserError": "common.errors"}
"""What the package offers, and where it is; imported when it is asked for, since it takes torch with it."""


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(f"{__name__}.{PUBLIC[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted(globals() | PUBLIC)


class Package(ModuleType):
    """The package, where `train` is the function: `python -m experiments.train` is a module of the same name.

    Python puts a submodule under its name into its package when it is imported first, by whomever; without this
    `from experiments import train` would mean the one or the other by what had been imported before. The module is
    what `from experiments.train import main` and `importlib` give.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in PUBLIC and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = Package
