"""The code that a configuration from somebody else may name: an allow-list by kind, checked on the object itself."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import EnumMeta
from types import FunctionType
from typing import Any

from experiments.common.importing import object_at
from experiments.data.transforms import TRANSFORMS

OURS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "data": {
        "data.sources": ("digits", "npz", "torchvision_set"),
        "data.mapped": ("npy",),
        "data.parquet": ("parquet",),
        "data.pictures": ("image_folder",),
        "data.tables": ("csv",),
        "data.planes": ("blobs", "circles", "moons", "sine", "spiral", "topics", "two_gaussians"),
        "data.text": ("text",),
        "data.embedded": ("breast_cancer", "diabetes", "iris", "linnerud", "wine"),
        "lessons.planted": ("random_classes", "right_slice", "wrong_slice"),
    },
    "data.preprocess": {
        "data.preprocess": (
            "none",
            "scale",
            "pixel_mean",
            "channel_mean",
            "standardize",
            "pca_whiten",
            "zca",
        ),
    },
    "data.augment": {"data.augment": ("CropFlip", "Cutout", "Mixup")},
    "model": {
        "models.autoencoder": ("Autoencoder",),
        "models.mlp": ("MLP",),
        "models.rnn": ("RNN",),
        "models.transformer": ("Transformer",),
        "models.cnn": ("CNN",),
        "models.vision": ("torchvision_model",),
        "models.blocks": ("Dropout",),
    },
    "init": {
        "initializers": (
            "constant",
            "normal",
            "uniform",
            "xavier",
            "xavier_or_torch",
            "xavier_uniform",
            "fan_in",
            "he",
            "he_uniform",
            "lecun",
            "orthogonal",
            "torch_default",
            "own",
            "lsuv",
        ),
    },
    "loss": {
        "losses": (
            "auto",
            "binary_cross_entropy",
            "cross_entropy",
            "gaussian",
            "hinge",
            "huber",
            "mae",
            "mse",
            "poisson",
            "quadratic",
        )
    },
    "task": {
        "tasks": ("Auto",),
        "tasks.classification": ("Classification",),
        "tasks.multilabel": ("Multilabel",),
        "tasks.reconstruction": ("Reconstruction",),
        "tasks.sequence": ("Sequence",),
        "tasks.regression": ("Regression",),
    },
    "penalty": {"penalties": ("Penalty", "L1", "L2", "MaxNorm")},
    "optimizer": {"optimizers": ("Muon",)},
    "scheduler": {
        "schedules": (
            "constant",
            "step",
            "multistep",
            "exponential",
            "inverse_time",
            "inverse_sqrt",
            "polynomial",
            "linear",
            "cosine",
            "cosine_restarts",
            "one_cycle",
            "plateau",
        ),
    },
    "observers": {
        "observers.histograms": ("Histograms",),
        "observers.layers": ("Layers",),
        "observers.metrics": ("MetricsFile",),
        "observers.pictures": ("Pictures",),
        "observers.progress": ("ProgressBar",),
        "observers.regions": ("Regions",),
        "observers.tensorboard": ("TensorBoard",),
    },
}
"""Section -> our module -> the functions and classes that it may name.

The sections differ because, for example, a function that reads data may write decoded pictures, so it must not be
named as a model.
"""


AUGMENTING = frozenset(f"torchvision.transforms.{module}{name}" for module in ("", "v2.") for name in TRANSFORMS)
"""torchvision's classes that an augmentation may be; their modules are private."""


def untrusted(config: Mapping[str, Any], trust: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield the key and value of each `_target_` that is neither on the allow-list nor in a trusted module.

    Args:
        config: a composed configuration.
        trust: dotted paths of modules that the user trusts.
    """
    return (
        (key, value)
        for key, value in targets(config)
        if not allowed(str(value), section_of(key)) and not trusted(str(value), trust)
    )


def packages(setting: Any) -> list[str]:
    """Return the setting `trust` as a list; a single package may be typed without brackets."""
    return [setting] if isinstance(setting, str) else list(setting or ())


def advice(target: str, setting: str) -> str:
    """Return what a user can do about a target that is not trusted: trust its package, if that can be reasonable.

    Args:
        target: dotted.
        setting: how the verb takes the package, such as `trust={}`.
    """
    package = target.partition(".")[0]
    if package in sys.stdlib_module_names or package in NEEDED:
        return "such code is refused"
    return f"if you trust it, add {setting.format(package)}"


NEEDED = ("experiments", "hydra", "hydra_plugins", "numpy", "omegaconf", "torch", "torchmetrics", "torchvision")
"""Packages that any run needs. Beyond the allow-list they hold no model or optimizer, but much that does harm."""


def section_of(key: str) -> str:
    """Return the section of the allow-list that a key belongs to, such as `data.augment` or `model`."""
    steps = key.split(".")
    two = ".".join(steps[:2])
    return two if two in OURS else steps[0]


def allowed(path: str, section: str) -> bool:
    """Return whether a section may name a function or class without further trust.

    The object itself decides: its own module and name have to be public and of the section's kind; a method or an
    enumeration is refused. So `torch.nn.init.math.sqrt` leads nowhere, nor does
    `torchvision.models.resnet.WeightsEnum.get_state_dict`.

    Args:
        path: dotted, as it is written.
        section: see `section_of`.
    """
    if path in ours(section) or (section == "data.augment" and path in AUGMENTING):
        return True
    kinds = [kind for kind in KINDS.get(section, ()) if path.startswith(kind.written)]
    if not kinds or not is_public(path):
        return False
    try:
        found = imported(path)
    except Exception:  # nothing is called; building it raises an error that tells so
        return True
    if not isinstance(found, FunctionType | type) or isinstance(found, EnumMeta) or "." in found.__qualname__:
        return False
    home = f"{found.__module__}.{found.__qualname__}"
    return is_public(home) and any(home.startswith(kind.home) and kind.holds(found) for kind in kinds)


def trusted(path: str, trust: Sequence[str]) -> bool:
    """Return whether a user trusts a dotted path: itself, or a module in which its function or class is defined."""

    def inside(name: str) -> bool:
        return any(name == prefix or name.startswith(f"{prefix}.") for prefix in trust)

    if "." in path and path in trust:
        return True  # exactly this is named
    if not inside(path):
        return False
    try:
        found = imported(path)
    except Exception:  # nothing is called; building it raises an error that tells so
        return True
    return callable(found) and inside(getattr(found, "__module__", None) or "")


def ours(section: str) -> set[str]:
    """Return the dotted paths of our own functions and classes that a section may name."""
    return {f"experiments.{module}.{name}" for module, names in OURS.get(section, {}).items() for name in names}


def imported(path: str) -> Any:
    """Return the object at the end of a dotted path."""
    return object_at(path)


def is_public(path: str) -> bool:
    """Return whether no part of a dotted path begins with an underscore."""
    return not any(step.startswith("_") for step in path.split("."))


def is_module(found: Any) -> bool:
    """Return whether this is a class of models or layers."""
    from torch import nn

    return isinstance(found, type) and issubclass(found, nn.Module)


def is_builder(found: Any) -> bool:
    """Return whether this builds one of torchvision's models: it is the function behind one of their names."""
    from torchvision import models

    return any(found is models.get_model_builder(name) for name in models.list_models(module=models))


def is_optimizer(found: Any) -> bool:
    """Return whether this is a class of optimizers."""
    from torch.optim import Optimizer

    return isinstance(found, type) and issubclass(found, Optimizer)


def is_loss_function(found: Any) -> bool:
    """Return whether this is a function with the name of a loss."""
    return isinstance(found, FunctionType) and any(word in found.__name__ for word in ("loss", "entropy", "kl_div"))


def fills_in_place(found: Any) -> bool:
    """Return whether this is one of torch's initializers, whose names end with an underscore."""
    return isinstance(found, FunctionType) and found.__name__.endswith("_")


@dataclass(frozen=True)
class Kind:
    """A kind of object of torch or torchvision that a section may name.

    Args:
        written: how the written path begins; nothing else is imported.
        home: how the object's own module and name begin.
        holds: whether an object is of the kind.
    """

    written: str
    home: str
    holds: Callable[[Any], bool]


KINDS: Mapping[str, tuple[Kind, ...]] = {
    "model": (
        Kind("torch.nn.", "torch.nn.modules.", is_module),
        Kind("torchvision.models.", "torchvision.models.", is_module),
        Kind("torchvision.models.", "torchvision.models.", is_builder),
    ),
    "init": (Kind("torch.nn.init.", "torch.nn.init.", fills_in_place),),
    "loss": (
        Kind("torch.nn.functional.", "torch.nn.functional.", is_loss_function),
        Kind("torch.nn.", "torch.nn.modules.loss.", is_module),
    ),
    "optimizer": (Kind("torch.optim.", "torch.optim.", is_optimizer),),
    "metrics": (
        Kind("torchmetrics.classification.", "torchmetrics.classification.", is_module),
        Kind("torchmetrics.regression.", "torchmetrics.regression.", is_module),
    ),
}
"""Section -> the kinds of torch's and torchvision's objects that it may name."""


def targets(value: Any, key: str = "") -> list[tuple[str, Any]]:
    """Return the key and value of every `_target_` in a configuration, also inside lists."""
    if isinstance(value, Mapping):
        own = [(f"{key}_target_", value["_target_"])] if "_target_" in value else []
        return own + [pair for name, item in value.items() for pair in targets(item, f"{key}{name}.")]
    if isinstance(value, list):
        return [pair for number, item in enumerate(value) for pair in targets(item, f"{key}{number}.")]
    return []
