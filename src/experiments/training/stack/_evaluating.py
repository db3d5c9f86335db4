"""Evaluating many models of one architecture as one, each with its own weights and preparation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from experiments.data.batches import Split
from experiments.training.device import tolerance

from ._batches import Batches
from ._forward import called

AT_ONCE = 2**24
"""Bytes of the inputs of a pass: if they exceed the processor's cache, one model after another is faster."""
TRIED = 2
TOLERANCE = 1e-4


@torch.no_grad()
def scores_together(models: Sequence[nn.Module], splits: Sequence[Split], size: int) -> Tensor:
    """Return the scores of models of one architecture, (models, examples, classes), on the CPU.

    Args:
        models: in evaluation mode.
        splits: each model's examples, the same number; if all are one object, it is prepared once.
        size: examples per pass.

    Raises:
        ValueError: the models fail, or give different scores, when they are called as one.
    """
    batch = min(size, len(splits[0])) * splits[0].first(1)[0].nbytes
    most = max(1, AT_ONCE // batch)
    parts = [slice(start, start + most) for start in range(0, len(models), most)]
    return torch.cat([_scores(models[part], splits[part], size) for part in parts])


def _scores(models: Sequence[nn.Module], splits: Sequence[Split], size: int) -> Tensor:
    tensors = [{**dict(model.named_parameters()), **dict(model.named_buffers())} for model in models]
    weights = {name: torch.stack([own[name].detach() for own in tensors]) for name in tensors[0]}
    shared = all(split is splits[0] for split in splits)
    batches, examples = Batches(splits[:1] if shared else splits), len(splits[0])
    found: list[Tensor] = []
    for start in range(0, examples, size):
        index = torch.arange(start, min(start + size, examples), device=splits[0].x.device)
        x, _ = batches.batch(index.expand(len(batches.splits), -1))
        x = x[0] if shared else x
        try:
            scores = called(models[0], weights, x, shared=shared)
        except Exception as error:  # a user's model may do anything that vmap does not support
            raise ValueError(f"the models cannot be called as one ({str(error)[:120]})") from error
        if not found:
            _compare(models, x, scores, shared=shared)
        found.append(scores.cpu())
    return torch.cat(found, 1)


def _compare(models: Sequence[nn.Module], x: Tensor, scores: Tensor, *, shared: bool) -> None:
    """Compare the first scores with the models' own: a model may use more than its parameters and buffers."""
    allowed = tolerance(TOLERANCE, x.device)
    for number, model in enumerate(models):
        own = model((x if shared else x[number])[:TRIED])
        size = float(own.abs().max())
        if not torch.allclose(scores[number, :TRIED], own, rtol=allowed, atol=allowed * size, equal_nan=True):
            raise ValueError("the models give different scores when they are called as one")
