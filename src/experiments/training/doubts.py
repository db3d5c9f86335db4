"""What looks like a mistake in a model before it is trained: parameters without a use, a softmax too many."""

from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from experiments.data.streamed import Streamed

from .criterion import Criterion
from .single import Single
from .streams import undrawn

EXAMPLES, MOST_NAMED = 8, 4
ROUNDING = 1e-4
SHIFT = 1.0
"""What is added to all scores of an example: it changes no loss that applies a softmax."""
SURE = 5.0
"""A score that is not a probability: a loss of probabilities refuses it, or grows."""
NO_CHANGE = ("View", "Squeeze", "Unsqueeze", "Reshape", "Clone", "ToCopy", "Alias", "Select", "Slice")
"""The beginnings of names of functions, in autograd's graph, that only change the form of scores."""


@dataclass(frozen=True)
class Doubts:
    """What may be a mistake in a model.

    Args:
        unused: the trained parameters that the scores do not depend on.
        normalized: the function that is applied to the scores, although the loss expects scores before it; if any.
    """

    unused: tuple[str, ...] = ()
    normalized: str | None = None

    @property
    def sentences(self) -> list[str]:
        """The doubts for people."""
        found = []
        if self.unused:
            more = f" and {len(self.unused) - MOST_NAMED} more" if len(self.unused) > MOST_NAMED else ""
            names = ", ".join(self.unused[:MOST_NAMED])
            verb = "gets" if len(self.unused) == 1 else "get"
            found.append(f"{names}{more} {verb} no gradient, because forward does not use them; they stay as they are")
        if self.normalized == "softmax":
            found.append(
                "the scores are between 0 and 1 and sum to 1, but the loss expects scores before a softmax; "
                "remove the softmax from the model"
            )
        elif self.normalized is not None:
            found.append(
                f"the scores come from a {self.normalized}, but the loss expects scores before it; "
                f"remove the {self.normalized} from the model"
            )
        return found


def doubts_about(program: Single, *, probed: bool) -> Doubts:
    """Return what may be a mistake in the model of a run, as a few of its examples show it; nothing changes.

    Args:
        program: not trained yet.
        probed: whether an observer reads the probe too; otherwise no example is read for this from a data set on disk.
    """
    train = program.splits["train"]
    if isinstance(train, Streamed) and not probed:
        return Doubts()
    x, y = (one[:EXAMPLES] for one in (program.inspector.probe if probed else train.first(EXAMPLES)))
    with (
        suppress(Exception),
        undrawn(train.device),
        torch.enable_grad(),
    ):  # whatever is wrong with the model, the training shows it
        scores = program.inspector.as_in_training(x)
        unused = without_gradient(program.model, program.criterion, scores, y)
        if unused:  # a layer may be used in training mode only
            model = deepcopy(program.model).train()
            unused = [name for name in without_gradient(model, program.criterion, model(x), y) if name in unused]
        return Doubts(tuple(unused), normalized(program.criterion, scores, y))
    return Doubts()


def without_gradient(model: nn.Module, criterion: Criterion, scores: Tensor, y: Tensor) -> list[str]:
    """Return the names of the trained parameters that the loss of scores does not depend on.

    Args:
        model: that has given the scores.
        criterion: gives the loss.
        scores: of some examples.
        y: their encoded targets.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    loss = criterion.mean(scores, y)
    gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True, retain_graph=True)
    return [name for name, gradient in zip(trained, gradients, strict=True) if gradient is None]


@torch.no_grad()
def normalized(criterion: Criterion, scores: Tensor, y: Tensor) -> str | None:
    """Return the function whose results the scores are, if the loss expects scores before it.

    Args:
        criterion: gives the loss.
        scores: of some examples, with their graph.
        y: their encoded targets.
    """
    form = criterion.task.form
    if form in ("numbers", "inputs") or scores.shape[-1] == 0 or not ((scores >= 0) & (scores <= 1)).all():
        return None
    if form in ("classes", "tokens"):
        if scores.max() - scores.min() < ROUNDING and not comes_from("Softmax", scores):
            return None  # equal scores may sum to 1 by chance
        one = ((scores.sum(-1) - 1).abs() < ROUNDING).all()
        if (
            not one
            or scores.shape[-1] < 2
            or not torch.allclose(
                criterion.loss(scores + SHIFT, y, reduction="mean"),
                criterion.loss(scores, y, reduction="mean"),
                rtol=1e-3,
            )
        ):
            return None
        return "softmax"
    if form != "labels" or not comes_from("Sigmoid", scores):
        return None
    sure, certain = (criterion.loss(own, y, reduction="mean") for own in ((2 * y - 1) * SURE, y.to(scores.dtype)))
    return "sigmoid" if bool(sure.isfinite()) and sure < certain else None


def comes_from(name: str, scores: Tensor) -> bool:
    """Whether a function, by its name in the graph, has computed scores, apart from changes of their form."""
    function = scores.grad_fn
    while function is not None and function.name().startswith(NO_CHANGE):
        function = function.next_functions[0][0]
    return function is not None and function.name().startswith(name)
