"""What looks like a mistake in a model: parameters without a use, and a softmax too many."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.training.doubts import doubts_about
from experiments.training.single import Single
from tests.helpers import SMALL, Commands, own_model, run_folders, summary
from tests.programs import single


class Model(nn.Module):
    """A model of a user, with or without a mistake."""

    def __init__(self, input_shape: tuple[int, ...], outputs: int, how: str = "plain") -> None:
        super().__init__()
        self.fc = nn.Linear(math.prod(input_shape), outputs)
        self.extra = nn.Linear(4, 4)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        scores = self.fc(x.flatten(1))
        if self.how == "unused":
            return scores
        scores = scores + 0 * self.extra.weight.sum() + 0 * self.extra.bias.sum()
        if self.how == "in training" and not self.training:
            return self.fc(x.flatten(1))
        if self.how == "frozen":
            return self.fc(x.flatten(1))
        functions = {
            "equal": lambda s: 0 * s + 1 / 3,
            "softmax": lambda s: s.softmax(1),
            "log_softmax": lambda s: s.log_softmax(1),
            "nan": torch.log,
        }
        if self.how in ("sigmoid", "clamp"):
            return scores.sigmoid() if self.how == "sigmoid" else scores.clamp(0.1, 0.9)
        return functions.get(self.how, lambda s: s)(scores)


def likelihood(scores: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """A loss of a user that takes probabilities."""
    return F.nll_loss(scores.log(), targets, reduction=reduction)


def of(how: str) -> Single:
    own = single(1)
    x, _ = own.splits["train"].first(1)
    model = Model(tuple(x.shape[1:]), 3, how)
    model.extra.requires_grad_(how != "frozen")
    return Single(
        model, torch.optim.SGD(model.parameters(), 0.1), own.splits, eval_batch_size=10, criterion=own.criterion
    )


@pytest.mark.parametrize(
    ("how", "unused", "normalized"),
    [
        ("plain", (), None),
        ("unused", ("extra.weight", "extra.bias"), None),
        ("in training", (), None),
        ("frozen", (), None),
        ("softmax", (), "softmax"),
        ("log_softmax", (), None),
        ("sigmoid", (), None),
        ("clamp", (), None),
        ("equal", (), None),
    ],
)
def test_the_doubts_about_a_model(how: str, unused: tuple[str, ...], normalized: str | None) -> None:
    own = of(how)
    before = torch.get_rng_state()
    found = doubts_about(own, probed=True)
    assert (found.unused, found.normalized) == (unused, normalized)
    assert torch.equal(before, torch.get_rng_state())
    assert all(p.grad is None for p in own.model.parameters())


def test_a_loss_of_probabilities_is_given_probabilities() -> None:
    own = of("softmax")
    own.criterion = replace(own.criterion, loss=likelihood)
    assert doubts_about(own, probed=False).normalized is None


def test_a_run_names_what_its_model_does_not_use(commands: Commands) -> None:
    choice = own_model(commands.folder, f"{__name__}.Model")
    outcome = commands.train(*SMALL[:2], *SMALL[3:], *choice, "+model.how=unused")
    sentence = "extra.weight, extra.bias get no gradient, because forward does not use them; they stay as they are"
    assert f"warning: {sentence}\n" in outcome.out, outcome.err
    (folder,) = run_folders(commands.folder)
    first, *others = summary(folder)["verdicts"]
    assert (first["name"], first["evidence"]) == ("questionable model", sentence)
    assert not any("extra" in other["evidence"] for other in others)


def test_the_check_of_the_loss_names_the_softmax(commands: Commands) -> None:
    choice = own_model(commands.folder, f"{__name__}.Model")
    outcome = commands.type("check", *choice, "+model.how=softmax", "data.limit=96", "only=initial_loss")
    advice = "initial_loss: The scores are between 0 and 1 and sum to 1, but the loss expects scores before a softmax; "
    assert (outcome.code, f"{advice}remove the softmax from the model.\n" in outcome.out) == (1, True), outcome.out


def test_a_sigmoid_before_the_loss_of_labels(commands: Commands) -> None:
    choice = own_model(commands.folder, f"{__name__}.Model")
    words = (*SMALL[3:], "data=topics", "training.epochs=0")
    told = "the scores come from a sigmoid, but the loss expects scores before it; remove the sigmoid from the model"
    for how, wanted in (("sigmoid", True), ("clamp", False), ("plain", False)):
        outcome = commands.train(*words, *choice, f"+model.how={how}")
        assert (outcome.code, f"warning: {told}\n" in outcome.out) == (0, wanted), (how, outcome.err)
