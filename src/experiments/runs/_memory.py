"""What would fit if a run has run out of memory."""

from collections.abc import Mapping
from typing import Any

from experiments.common.text import shown_path
from experiments.data.memory import asked_for
from experiments.folders.run import RunFolder


def memory_problem(error: BaseException, config: Mapping[str, Any], folder: RunFolder) -> str:
    """Return a sentence about a run that needs more memory than there is, and what would fit."""
    training = config.get("training") or {}
    batch, accumulate = training.get("batch_size"), training.get("accumulate")
    smaller = "a smaller model, fewer examples (data.limit=...)"
    if isinstance(batch, int) and batch > 1 and isinstance(accumulate, int):
        smaller = f"training.batch_size={batch // 2} with training.accumulate={2 * accumulate}, {smaller}"
    problem = (
        f"the run needs more memory than is free{asked_for(error)}; try {smaller} or a smaller training.eval_batch_size"
    )
    if not folder.last.exists():
        return problem
    path = shown_path(folder.path)
    return (
        f"{problem} in a new run; the last checkpoint is kept, and 'resume={path}' continues where more memory is free"
    )
