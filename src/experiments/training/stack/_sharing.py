"""Which runs can be trained together."""

from functools import partial
from typing import Any

from torch import nn

from experiments import penalties
from experiments.models.blocks import Dropout
from experiments.training.criterion import Criterion
from experiments.training.single import Single

from .rules import Rule, rule_of


def rule_for(program: Single) -> Rule | None:
    """Return the rule of a run's optimizer, if there is one for all its groups of parameters."""
    found = [rule_of(type(program.optimizer), group) for group in program.optimizer.param_groups]
    return found[0] if all(rule is found[0] for rule in found) else None


def reason_apart(program: Single) -> str | None:
    """Say what keeps a run out of any stack; None where nothing does."""
    updating = program.updating
    if rule_for(program) is None:
        return f"{type(program.optimizer).__name__} has no update rule for stacks"
    for on, what in (
        (updating.compiled is not None, "training.compile"),
        (updating.precision in ("bf16", "fp16"), f"training.precision={updating.precision}"),
        (updating.channels_last, "training.channels_last"),
        (updating.ema is not None, "training.ema"),
        (updating.swa is not None, "training.swa"),
        (bool(program.augments), "data.augment"),
        (bool(program.thaws), "freeze that ends"),
        (type(program.criterion.penalty).__module__ != penalties.__name__, "a penalty of your own"),
    ):
        if on:
            return f"{what} is not for stacks"
    for name, module in program.model.named_modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and not isinstance(module, Dropout):
            return f"{name} draws from torch's global generator"
    return None


def signature(program: Single) -> dict[str, object]:
    """Return what the runs of one stack have in common, by what it is called; Dropout may differ."""
    x, _ = program.splits["train"].first(1)
    return {
        **architecture(program.model),
        "trained": [name for name, p in program.named.items() if p.requires_grad],
        "input shape": (tuple(x.shape[1:]), x.dtype),
        "examples": {name: len(split) for name, split in program.splits.items()},
        "batch size": (program.updating.micro_batch, program.eval_batch_size),
        "loss": kind_of(program.criterion),
        "device": program.device,
    }


def architecture(model: nn.Module) -> dict[str, object]:
    """Return what models that can be called as one have in common; Dropout may differ."""
    layers = [
        (name, type(module), module.extra_repr())
        for name, module in model.named_modules()
        if not isinstance(module, Dropout) and not any(module.children())
    ]
    return {"layers": layers, "parameters": [(n, p.shape, p.dtype) for n, p in model.named_parameters()]}


def kind_of(criterion: Criterion) -> object:
    """Return which loss it is; the numbers in it may differ."""
    loss = criterion.loss
    if not isinstance(loss, partial):
        return loss
    fixed = {name: value for name, value in loss.keywords.items() if not numeric(value)}
    return loss.func, sorted(loss.keywords), sorted(fixed.items(), key=str)


def numeric(value: Any) -> bool:
    """Whether a setting is a number that a stack can hold for each member."""
    return isinstance(value, int | float) and not isinstance(value, bool)
