"""Tells the splits of a text which of its parts continue each other, for a network whose state is carried."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from experiments.common.errors import UserError
from experiments.common.text import counted
from experiments.data.batches import Split
from experiments.data.sources import Source
from experiments.tasks.base import Task


def refuse_stateful(source: Source, task: Task) -> None:
    """Refuse to carry a state between examples that do not continue each other.

    Raises:
        UserError: with what to do.
    """
    if source.follows is None:
        raise UserError(
            "data.stateful=true is for texts that are cut (data=text), but the examples of this data set do not "
            "continue each other; leave out data.stateful"
        )
    if task.of_inputs:
        raise UserError(f"data.stateful=true cannot be used with task={task.name}; leave out data.stateful")


def carry(splits: Mapping[str, Split], source: Source, parts: Mapping[str, tuple[Any, Tensor, Tensor | None]]) -> str:
    """Tell splits which examples continue each other; return a sentence about the training split.

    Args:
        splits: to change.
        source: of the examples.
        parts: inputs, targets and the rows of each split.

    Raises:
        UserError: no training example continues another one.
    """
    assert source.follows is not None
    for name, split in splits.items():
        whole = source.follows[source.part_of(name)].bool()
        rows = parts[name][2]
        rows = torch.arange(len(whole)) if rows is None else rows
        follows = whole[rows]
        follows[0] = False
        follows[1:] &= rows[1:] == rows[:-1] + 1
        split.follows = follows.to(split.x.device)
    continued = splits["train"].follows
    assert continued is not None
    if not continued.any():
        raise UserError(
            "data.stateful=true has no state to carry, because no text of the training split is cut; use a smaller "
            "data.context, or leave out data.stateful"
        )
    texts, count = counted(int((~continued).sum()), "text"), len(continued)
    return f"the training split is {texts} in {count:,} parts; the state after a part is carried to the next one"
