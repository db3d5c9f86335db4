"""Sanity checks made before training, each a function of a `Subject` that returns a `Result`."""

from collections.abc import Callable

import torch

from .base import Result, Subject, worst
from .data import examples
from .gradient_check import gradient
from .layers import leak, signal, symmetry
from .learning import baseline, overfit
from .loss import initial_loss, penalty
from .rate import lr_range

CHECKS: dict[str, Callable[[Subject], Result]] = {
    check.__name__: check
    for check in (
        examples,
        gradient,
        initial_loss,
        penalty,
        symmetry,
        signal,
        leak,
        overfit,
        baseline,
        lr_range,
    )
}
"""Every check by name, in the order in which they are made."""

__all__ = ["CHECKS", "Result", "Subject", "refuse", "worst"]


def refuse(subject: Subject) -> None:
    """Refuse what cannot be checked.

    Raises:
        ValueError: names the cause.
    """
    for name, split in subject.splits.items():
        for start in range(0, len(split), 1000):
            rows = torch.arange(start, min(start + 1000, len(split)), device=split.x.device)
            x, _ = split.batch(rows)
            if not x.is_floating_point():
                raise ValueError(
                    f"data.preprocess: inputs are whole numbers ({x.dtype}), which have no gradient; "
                    "use data.preprocess=scale or standardize"
                )
            bad = (~x.flatten(1).isfinite()).any(1).nonzero()
            if len(bad):
                raise ValueError(
                    f"data: example {start + int(bad[0])} of the {name} split has an input that is nan or infinite; "
                    "correct it, or fill gaps (data.missing=mean for a table)"
                )
            if start >= 20_000:
                break
    model = subject.copy(dropout=False)
    scores = model(subject.splits["train"].first(2)[0])
    if not scores.requires_grad:
        raise ValueError(
            "model: its scores have no gradient; an operation such as argmax, round or detach cuts them off from "
            "its parameters"
        )
