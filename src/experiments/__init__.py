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
    from .runs.library import compose as compose
    from .runs.library import train as train


PUBLIC = {
    "compose": "runs.library",
    "train": "runs.library",
    "load": "evaluation.loading",
    "UserError": "common.errors",
}
"""The public names and their modules, which are imported on first use, because they import torch."""


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"{__name__}.{PUBLIC[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(globals() | PUBLIC)


class Package(ModuleType):
    """The package, in which `train` is the function: `experiments.train`, the verb, is a module of the same name.

    On the first import of a submodule, Python stores it in the package under its name; without this class, the
    meaning of `from experiments import train` would depend on earlier imports. `from experiments.train import main`
    and `importlib` give the module.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in PUBLIC and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = Package
