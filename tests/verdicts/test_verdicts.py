"""Each verdict is given to a real training that has the fault, and to none that does not."""

import math
import shlex
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch

from experiments.folders.run import LayerRow, RunFolder
from experiments.runs.alone import train
from experiments.verdicts._thresholds import THRESHOLDS
from experiments.verdicts.judges import EXPLAINS, JUDGES, verdicts
from experiments.verdicts.remedies import LIMITED, merged
from experiments.verdicts.story import Story
from tests.helpers import Commands, composed, own_model, run_folders, summary, thinned

UNSEEN = [f"observers.{name}.enabled=false" for name in ("progress", "tensorboard", "histograms", "pictures")]

TABLE: dict[str, set[str]] = {
    # The default run, and others that do well.
    "": {"healthy"},
    "training.epochs=40": {"healthy"},
    "optimizer=sgd optimizer.lr=0.1": {"healthy"},
    "optimizer=momentum scheduler=cosine": {"healthy"},
    "scheduler=one_cycle": {"healthy"},
    "optimizer=adamw training.early_stopping.patience=3": {"healthy"},
    "data.val_fraction=0": {"healthy"},
    "loss=hinge": {"healthy"},
    "init=xavier model.activation=tanh": {"healthy"},
    "init=xavier model.activation=tanh model.hidden=[50,50,50,50,50]": {"healthy"},
    "data=blobs training.epochs=12": {"healthy"},
    "data=spiral training.epochs=100": {"healthy"},
    "init=zeros model.hidden=[] optimizer=sgd optimizer.lr=1": {"healthy"},
    "optimizer=lbfgs training.epochs=3": {"healthy"},
    # The learning rate.
    "optimizer=sgd optimizer.lr=1000": {"learning rate too high"},
    "optimizer=sgd optimizer.lr=3": {"learning rate too high"},
    "optimizer=sgd optimizer.lr=2": {"learning rate too high"},
    "optimizer=momentum optimizer.lr=0.2": {"learning rate too high"},
    "optimizer.lr=0.5": {"learning rate too high"},
    "optimizer=sgd optimizer.lr=1e-5": {"learning rate too low"},
    "optimizer=sgd optimizer.lr=1e-4": {"learning rate too low"},
    "optimizer.lr=1e-5": {"learning rate too low"},
    "optimizer=sgd optimizer.lr=0.001": {"still improving"},
    "training.epochs=4 optimizer=sgd optimizer.lr=0.01": {"still improving"},
    "optimizer=sgd optimizer.lr=1 init=unit_normal": {"initial loss off", "learning rate too high"},
    "optimizer=rprop training.batch_size=100": {"learning rate too high"},
    "optimizer=sgd optimizer.lr=1e-6 init=small_normal model.activation=tanh": {"learning rate too low"},
    "optimizer=sgd optimizer.lr=0.1 optimizer.weight_decay=3": {"stuck", "dead units", "updates too large"},
    "optimizer.lr_scale={features:1e-4,head:1}": {"updates too small", "still improving"},
    "optimizer=adagrad optimizer.lr=0.2": {"dead units"},
    # The initial weights.
    "init=zeros": {"symmetry"},
    "init=constant init.value=0.05": {"symmetry"},
    "init=unit_normal": {"initial loss off", "overfitting", "still improving"},
    "init=unit_normal init.std=0.2 model.activation=tanh": {"healthy"},
    "init=unit_normal model.activation=tanh": {"initial loss off", "saturation", "overfitting", "still improving"},
    "init=unit_normal model.hidden=[50,50,50,50,50,50] training.epochs=5": {
        "initial loss off", "exploding gradients", "still improving",
    },
    "init=small_normal model.activation=tanh model.hidden=[50,50,50,50,50] training.epochs=6": {"vanishing gradients"},
    "init=small_normal model.hidden=[50,50,50,50,50,50,50,50] optimizer=sgd optimizer.lr=0.1": {
        "stuck", "vanishing gradients", "dead units",
    },
    "init.bias=-3 optimizer=sgd optimizer.lr=0.01": {"stuck", "vanishing gradients", "dead units"},
    "data=moons data.imbalance=3 init=small_normal optimizer=sgd optimizer.lr=0.05 training.epochs=5": {"one class"},
    # The network and its data.
    "data.limit=60 training.epochs=60": {"overfitting"},
    "data.limit=60 training.epochs=100 training.batch_size=60": {"overfitting", "large batch"},
    "training.batch_size=1000 training.epochs=150": {"large batch"},
    "data=circles model.hidden=[]": {"underfitting"},
    "model.dropout=0.9": {"underfitting"},
    "data=circles data.noise=0.4 model.hidden=[200,200] training.epochs=60": {"data suspect"},
    "data=moons data.label_noise=0.45 model.hidden=[200,200] training.epochs=40": {"data suspect"},
    "data=blobs data.imbalance=20": {"class imbalance"},
    "data=blobs data.imbalance=20 data.balance=class_weights": {"healthy"},
    "data=moons data.imbalance=20 data.balance=class_weights": {"healthy"},
    "training.accumulate=50 training.epochs=3": {"large batch"},
    "data.preprocess=none training.epochs=3": {"initial loss off"},
    "data.label_noise=0.5 training.epochs=15": {"healthy"},
    "data.limit=20 training.epochs=10": {"large batch"},
    "optimizer=lbfgs training.epochs=10": {"best epoch long past"},
    # As good as can be, too early to judge, unrelated labels, and comparisons of a few examples.
    "data=two_gaussians data.distance=1.68": {LIMITED},
    "training.epochs=5 optimizer.lr=1e-4": {"still improving"},
    "data.label_noise=0.9": {"data suspect"},
    "model.dropout=0.8": {"underfitting", "still improving"},
    "data.limit=25 training.epochs=12 optimizer.lr=0.0001": {"large batch"},
    "model=cnn data.limit=180 training.epochs=1": {"healthy"},
}  # fmt: skip
"""Command lines, and all that is true of them, with the seeds 0 to 4 too: none is on an edge."""

CHOSEN = ("init=he", "optimizer=adam")
"""What these trainings have instead of the defaults, which change."""
DEFAULTS = (
    "init=xavier_or_torch optimizer=adam_short",
    "init=xavier_or_torch optimizer=adam_short training.epochs=40",
    "init=xavier_or_torch optimizer=adam_short data=blobs training.epochs=12",
)
"""Command lines with the defaults that are healthy."""
OF_REGRESSIONS = {"outliers", "uneven errors"}
"""The verdicts of test_regression.py."""
OF_FEW_UPDATES = {"not better than a constant", "not finite"}
"""Those of test_regression.py and of a test below, which need no long training."""
OF_MODELS = "questionable model"
"""That of test_models.py."""
OF_TEXTS = {"not better than the bigram table"}
"""Those of tests/tasks/test_sequence.py."""
OF_WORKERS = {"waiting for data"}
"""Those of test_truth.py and tests/assembly/test_streamed.py."""
NAMES = {
    "symmetry", "initial loss off", "learning rate too high", "learning rate too low", "stuck", "vanishing gradients",
    "exploding gradients", "dead units", "saturation", "one class", "class imbalance", "updates too large",
    "updates too small", "overfitting", "underfitting", "data suspect", "best epoch long past", "still improving",
    "large batch", "healthy", LIMITED,
}  # fmt: skip


@cache
def summary_of(command_line: str) -> dict[str, Any]:
    """The summary of a training."""
    words = merged(CHOSEN, shlex.split(command_line))
    return train(composed(*words, *UNSEEN), RunFolder(Path(mkdtemp())))


def names(command_line: str) -> set[str]:
    """The names of its verdicts."""
    return {verdict["name"] for verdict in summary_of(command_line)["verdicts"]}


@pytest.mark.slow
@pytest.mark.parametrize("command_line", thinned(TABLE, 3))
def test_a_training_gets_the_verdicts_that_are_true_of_it(command_line: str) -> None:
    assert names(command_line) == TABLE[command_line]


@pytest.mark.slow
@pytest.mark.parametrize("command_line", DEFAULTS)
def test_the_defaults_are_healthy(command_line: str) -> None:
    assert names(command_line) == {"healthy"}


@pytest.mark.parametrize("verdict", sorted(NAMES))
def test_every_verdict_is_shown_by_one_training_and_not_by_another(verdict: str) -> None:
    assert {verdict in given for given in TABLE.values()} == {True, False}


def test_a_doubt_about_the_data_is_first_and_needs_no_network() -> None:
    story = Story(history=[{"epoch": 1, "step": 9, "lr": 0.1, "train/loss": 0.1, "train/accuracy": 1.0}], layers=[],
                  status="finished", chance=0.7, class_counts=[50, 50], batch_size=10, parameters=10, rate=0.1,
                  questions=["column 'n': it counts the rows"])  # fmt: skip
    first, *others = verdicts(story)
    assert (first.name, first.evidence) == ("questionable data", "column 'n': it counts the rows")
    assert "healthy" not in {verdict.name for verdict in others}
    assert "questionable data" not in {verdict.name for verdict in verdicts(replace(story, questions=[]))}


@pytest.mark.parametrize("pictures", [True, False])
def test_augmentation_is_advised_for_pictures_only(*, pictures: bool) -> None:
    row = {"epoch": 1, "step": 900, "lr": 0.1, "train/loss": 0.1, "train/accuracy": 1.0, "val/accuracy": 0.6}
    story = Story(history=[row], layers=[], status="finished", chance=0.7, class_counts=[50, 50], batch_size=10,
                  parameters=10, rate=0.1, val_examples=100, pictures=pictures)  # fmt: skip
    (advice,) = [verdict.advice[-1] for verdict in verdicts(story) if verdict.name == "overfitting"]
    assert advice == ("more data, or augmentation for photographs: data.augment=crop_flip" if pictures else "more data")


def test_the_explanation_of_a_verdict_is_a_verdict() -> None:
    assert {
        name for cause, others in EXPLAINS.items() for name in (cause, *others)
    } <= NAMES | OF_TEXTS | OF_FEW_UPDATES
    everywhere = {*NAMES, *OF_REGRESSIONS, *OF_FEW_UPDATES, *OF_TEXTS, *OF_WORKERS, "questionable data", OF_MODELS}
    assert len(everywhere) == len(JUDGES) + 2  # one judge gives three names; no fault: healthy


@pytest.mark.parametrize(
    ("layers", "word"),
    [
        ([LayerRow(0, 0, "model", "loss", 2.3), LayerRow(0, 0, "model", "top_class", 0.2)], "loss"),
        ([LayerRow(0, 0, "act", "activation_std", 1.0), LayerRow(1, 9, "model", "top_class", 1.0)], "output"),
        ([], "loss"),
    ],
)
def test_what_is_nan_from_the_start_is_not_one_class(layers: list[LayerRow], word: str) -> None:
    story = Story(history=[], layers=layers, status="diverged", chance=2.3, class_counts=[50, 50], batch_size=10,
                  parameters=10, rate=0.1, diverged_at=1)  # fmt: skip
    (verdict,) = verdicts(story)
    assert verdict.name == "not finite"
    assert verdict.finding == f"The {word} of the network is NaN or infinite from the start, so nothing is learnt."


class Unbounded(torch.nn.Module):
    """A model of a user whose scores are not numbers."""

    def __init__(self, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(math.prod(input_shape), outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) / 0


def test_scores_that_are_not_finite_have_no_top_class(commands: Commands) -> None:
    choice = own_model(commands.folder, f"{__name__}.Unbounded")
    assert commands.train(*choice, "training.steps=1", "data.limit=96", "observers.pictures.enabled=false").code == 1
    (folder,) = run_folders(commands.folder)
    assert "top_class" not in (folder / "layers.csv").read_text()
    (verdict,) = summary(folder)["verdicts"]
    assert verdict["name"] == "not finite"
    assert verdict["evidence"] == "scores of the probe are not finite before the first update"


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_every_threshold_has_a_source(threshold: str) -> None:
    assert len(THRESHOLDS[threshold].source) > 20


def test_a_verdict_names_the_problem_the_evidence_and_a_remedy() -> None:
    (verdict,) = summary_of("optimizer=sgd optimizer.lr=1000")["verdicts"]
    assert verdict["evidence"] == "the loss is not finite at step 4; lr=1000"
    assert verdict["where"] == "step 4"
    assert verdict["advice"] == [
        "Adam: optimizer=adam optimizer.lr=0.001",
        "a tenth of the rate: optimizer.lr=100",
        "a check that suggests a rate: python -m experiments.check only=lr_range",
    ]
    (dead,) = summary_of("optimizer=adagrad optimizer.lr=0.2")["verdicts"]
    assert "features.hidden1.activation" in dead["where"]


@pytest.mark.slow
def test_verdicts_are_printed_and_kept(commands: Commands) -> None:
    folder = commands.trained("init=zeros", "training.epochs=2", "observers.pictures.enabled=false")
    (verdict,) = summary(folder)["verdicts"]
    printed = (folder / "train.log").read_text()
    for text in (verdict["name"], verdict["finding"], verdict["evidence"], *verdict["advice"]):
        assert " ".join(text.split()) in " ".join(printed.split())


@pytest.mark.slow
def test_without_layers_there_are_still_verdicts(commands: Commands) -> None:
    folder = commands.trained("data.limit=60", "training.epochs=60", *UNSEEN, "observers.layers.enabled=false")
    assert [verdict["name"] for verdict in summary(folder)["verdicts"]] == ["overfitting"]
    assert not (folder / "layers.csv").exists()


def test_a_run_without_epochs_gets_no_verdict() -> None:
    assert verdicts(Story([], [], "finished", 2.3, [5, 5], 2, 10, 0.1)) == []
