"""Which runs can share a stack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from experiments import optimizers
from experiments.data.augment import DRAWN_ON_HOST, CropFlip, Mixup
from experiments.data.streamed import Streamed
from experiments.models.blocks import Dropout
from experiments.optimizers import Muon
from experiments.training.criterion import Criterion
from experiments.training.single import Single

from .rules import UNSUPPORTED, Rule, rule_of


def rule_for(program: Single) -> Rule | None:
    """Return the rule of a run's optimizer, if there is one for all its groups of parameters."""
    found = [rule_of(type(program.optimizer), group) for group in program.optimizer.param_groups]
    return found[0] if all(rule is found[0] for rule in found) else None


@dataclass(frozen=True)
class Traits:
    """What decides whether a run can be in a stack, read from its configuration or from its program.

    Args:
        optimizer: the class of its optimizer, or a name if it is not one of torch's.
        options: the optimizer's settings.
        used: the settings that no stack supports -> whether the run uses them.
    """

    optimizer: type | str
    options: Mapping[str, Any]
    used: Mapping[str, bool]

    def reason_apart(self) -> str | None:
        """Return what keeps the run out of any stack; None if nothing does."""
        name = self.optimizer if isinstance(self.optimizer, str) else self.optimizer.__name__
        on = [option for option in UNSUPPORTED if self.options.get(option)]
        if isinstance(self.optimizer, str) or rule_of(self.optimizer, {**self.options, **dict.fromkeys(on)}) is None:
            return f"{name} has no update rule for stacks"
        unsupported = [f"optimizer.{option}" for option in on]
        unsupported += [setting for setting, uses in self.used.items() if uses]
        return f"{unsupported[0]} is not supported in stacks" if unsupported else None


def listed(choice: Any) -> list[Any]:
    """Return the entries of `data.augment`."""
    return list(choice) if isinstance(choice, Sequence) and not isinstance(choice, str) else [choice]


def is_own(augment: Any) -> bool:
    """Whether an entry of `data.augment` names a class of the user, which may draw from anywhere."""
    ours = (CropFlip.__module__, "torchvision")
    return isinstance(augment, Mapping) and not str(augment.get("_target_")).startswith(tuple(f"{m}." for m in ours))


def mixes(choice: Any) -> bool:
    """Whether `data.augment` mixes targets, which then are probabilities."""
    return any(
        entry == "mixup" or (isinstance(entry, Mapping) and str(entry.get("_target_")).endswith(f".{Mixup.__name__}"))
        for entry in listed(choice)
    )


def configured(config: Mapping[str, Any]) -> Traits:
    """Return the traits of a run that has not been built, from its composed configuration."""
    training, freeze = config["training"], config.get("freeze")
    module, _, name = str(config["optimizer"].get("_target_")).rpartition(".")
    kind = getattr(torch.optim, name, None) if module == "torch.optim" else None
    kind = Muon if (module, name) == (optimizers.__name__, Muon.__name__) else kind
    return Traits(
        optimizer=kind or name or str(config["optimizer"].get("_target_")),
        options=config["optimizer"],
        used={
            "training.compile": training.get("compile", False) not in (None, False),
            "training.channels_last": bool(training.get("channels_last")),
            "an augmentation of your own": any(map(is_own, listed(config["data"].get("augment")))),
            "data.stateful": bool(config["data"].get("stateful")),
            "a temporary freeze": isinstance(freeze, Mapping) and any(freeze.values()),
        },
    )


def built(program: Single) -> Traits:
    """Return the traits of a run that has been built."""
    updating, groups = program.updating, program.optimizer.param_groups
    return Traits(
        optimizer=type(program.optimizer),
        options={name: any(group.get(name) for group in groups) for name in UNSUPPORTED},
        used={
            "training.compile": updating.compiled is not None,
            "training.channels_last": updating.channels_last,
            "an augmentation of your own": any(not isinstance(a, DRAWN_ON_HOST) for a in program.augments),
            "data.stateful": program.carried is not None,
            "a temporary freeze": bool(program.thaws),
        },
    )


def reason_apart(program: Single) -> str | None:
    """Return what keeps a run out of any stack; None if nothing does."""
    if isinstance(program.splits["train"], Streamed):
        return "the examples of its data set are read by workers"
    reason = built(program).reason_apart()
    if reason is not None:
        return reason
    if rule_for(program) is None:
        return f"the parameter groups of {type(program.optimizer).__name__} need different update rules"
    for name, module in program.model.named_modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and not isinstance(module, Dropout) and module.p > 0:
            instead = f"; {Dropout.__module__}.Dropout does not" if type(module) is nn.Dropout else ""
            return f"{name} draws from torch's global generator{instead}"
    return None


def signature(program: Single) -> dict[str, object]:
    """Return what the runs of a stack have in common, by name; Dropout may differ."""
    x, _ = program.splits["train"].first(1)
    return {
        **architecture(program.model),
        "trained": [name for name, p in program.named.items() if p.requires_grad],
        "input shape": (tuple(x.shape[1:]), x.dtype),
        "examples": {name: len(split) for name, split in program.splits.items()},
        "batch size": (program.updating.micro_batch, program.eval_batch_size),
        "loss": kind_of(program.criterion),
        "mixed targets": [type(augment) for augment in program.augments if isinstance(augment, Mixup)],
        "task": (type(program.criterion.task), program.criterion.task.outputs),
        "metrics": sorted(program.criterion.metrics),
        "device": program.device,
        "precision": program.updating.precision,
    }


def architecture(model: nn.Module) -> dict[str, object]:
    """Return what models have in common that can be called as one; Dropout may differ."""
    layers = [
        (name, type(module), module.extra_repr())
        for name, module in model.named_modules()
        if not isinstance(module, Dropout) and not any(module.children())
    ]
    return {"layers": layers, "parameters": [(n, p.shape, p.dtype) for n, p in model.named_parameters()]}


def kind_of(criterion: Criterion) -> object:
    """Return the kind of a loss: the function without its numbers, which may differ."""
    loss = criterion.loss
    if not isinstance(loss, partial):
        return loss
    fixed = {name: value for name, value in loss.keywords.items() if not numeric(value)}
    return loss.func, sorted(loss.keywords), sorted(fixed.items(), key=str)


def numeric(value: Any) -> bool:
    """Whether a setting is a number that a stack can hold for each member."""
    return isinstance(value, int | float) and not isinstance(value, bool)
