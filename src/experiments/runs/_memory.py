"""Running out of memory: whether an error means that, and what would fit."""

import re
from collections.abc import Mapping
from typing import Any

import torch

from experiments.common.text import shown_path
from experiments.folders.run import RunFolder

WORDS = re.compile(r"can't allocate memory|out of memory|not enough memory|unable to allocate|std::bad_alloc", re.I)
"""What torch and numpy say if memory is refused."""


def exceeds_memory(error: BaseException) -> bool:
    """Whether an error means that memory, of the machine or of a GPU, was refused."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and WORDS.search(str(error)) is not None


def memory_problem(error: BaseException, config: Mapping[str, Any], folder: RunFolder) -> str:
    """Return a sentence about a run that needs more memory than there is, and what would fit."""
    training = config.get("training") or {}
    batch, accumulate = training.get("batch_size"), training.get("accumulate")
    asked = re.search(r"tried to allocate ([\d.]+ ?\w+)|unable to allocate ([\d.]+ \w+)", str(error), re.I)
    size = f" ({asked[1] or asked[2]} more were asked for)" if asked else ""
    smaller = "a smaller model, fewer examples (data.limit=...)"
    if isinstance(batch, int) and batch > 1 and isinstance(accumulate, int):
        smaller = f"training.batch_size={batch // 2} with training.accumulate={2 * accumulate}, {smaller}"
    problem = f"the run needs more memory than is free{size}; try {smaller} or a smaller training.eval_batch_size"
    if not folder.last.exists():
        return problem
    path = shown_path(folder.path)
    return (
        f"{problem} in a new run; the last checkpoint is kept, and 'resume={path}' continues where more memory is free"
    )
