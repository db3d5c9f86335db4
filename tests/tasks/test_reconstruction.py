"""Reconstructions: autoencoders, plain and variational, through the verbs, alone and in stacks."""

import csv
import json

import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.decomposition import PCA
from torch import Tensor, nn

from experiments import losses
from experiments.evaluation.loading import load
from experiments.lessons.autoencoding import projected
from experiments.models.autoencoder import Autoencoder
from experiments.tasks import Reconstruction
from experiments.training.criterion import Criterion
from tests.helpers import NO_PICTURES, Commands, metrics, own_model, run_folders, summary, weights

QUICK = ("data=digits", "task=reconstruction", "data.limit=200", NO_PICTURES, "observers.tensorboard.enabled=false")
SMALL = ("model=autoencoder", "model.hidden=[16]", "data.preprocess=scale", "training.epochs=2")


class Terms(nn.Module):
    """A model of the user that returns pictures and two terms of the loss."""

    def __init__(self, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.linear, self.shape = nn.Linear(outputs, outputs), input_shape

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        size = self.linear.weight.square().sum()
        return {
            "output": self.linear(x.flatten(1)).view(-1, *self.shape),
            "size": 0 * size + 2.0,
            "each": x[:, 0, 0, 0],
        }


def test_a_run_reports_errors_in_the_units_of_the_prepared_inputs(commands: Commands) -> None:
    folder = commands.trained(*QUICK, *SMALL)
    last = metrics(folder)[-1]
    assert {"train/r2", "val/r2", "val/mse", "val/loss"} <= last.keys()
    assert_allclose(float(last["val/mse"]), float(last["val/loss"]), rtol=1e-6)
    assert summary(folder)["objective"] == "val/loss"
    run = load(folder)
    split = run.data.splits["test"]
    x = split.first(len(split))[0].flatten(1)
    assert torch.equal(split.y, x)
    assert 0 <= float(x.min()) < float(x.max()) <= 1
    answers = run.answers(split.raw())
    assert answers.shape == x.shape
    assert_allclose((answers - x).square().mean(), summary(folder)["metrics"]["test/mse"], rtol=1e-6)
    assert run.classes == []


@pytest.mark.slow
def test_evaluate_writes_the_error_of_each_example_and_a_picture(commands: Commands) -> None:
    folder = commands.trained(*QUICK, *SMALL)
    printed = commands.type("evaluate", f"run={folder}")
    assert printed.code == 0
    assert "accuracy" not in printed.out
    assert "class" not in printed.out
    out = folder / "evaluation" / "test"
    assert (out / "reconstructions.png").exists()
    rows = list(csv.DictReader((out / "predictions.csv").read_text().splitlines()))
    assert_allclose(
        sum(float(row["mse"]) for row in rows) / len(rows), summary(folder)["metrics"]["test/mse"], rtol=1e-5
    )
    assert json.loads((out / "evaluation.json").read_text())["metrics"].keys() == {"r2", "mse"}


@pytest.mark.slow
def test_checks_and_export(commands: Commands) -> None:
    checked = commands.type("check", *QUICK, *SMALL)
    assert checked.code == 0, checked.out
    assert "class" not in checked.out
    folder = commands.trained(*QUICK, *SMALL)
    assert commands.type("export", f"run={folder}", "format=torch").code == 0
    assert json.loads((folder / "export" / "model.json").read_text())["output"]["shape"] == ["batch", 64]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_a_stack_agrees_with_separate_runs(commands: Commands, precision: str) -> None:
    words = (*QUICK, *SMALL, f"training.precision={precision}", "data.preprocess=standardize")
    assert commands.train("-m", *words, "seed=0,1").code == 0
    for folder in run_folders(commands.folder):
        assert torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["program"]["stacked"]
        seed = summary(folder)["seed"]
        alone = commands.trained(*words, f"seed={seed}")
        for name, value in weights(alone).items():
            allowed = 1e-5 if precision == "fp32" else 1e-8
            assert_allclose(weights(folder)[name], value, rtol=0, atol=allowed)
        for column in ("train/r2", "val/r2", "val/mse"):
            assert_allclose(float(metrics(folder)[-1][column]), float(metrics(alone)[-1][column]), rtol=1e-4)


def test_a_variational_one_adds_its_divergence_and_draws_from_the_stream_of_the_run(commands: Commands) -> None:
    words = (*QUICK, *SMALL, "model.variational=true", "loss=binary_cross_entropy")
    one, other = commands.trained(*words), commands.trained(*words)
    assert metrics(one) == metrics(other)
    run = load(one)
    split = run.data.splits["test"]
    x, y = split.first(50)
    task = run.task
    with torch.no_grad():
        scores = run.model(x)
    assert scores.shape == (50, 65)
    assert isinstance(run.model, Autoencoder)
    found = run.model.encoder(x.flatten(1))
    assert run.model.log_variance is not None
    mean, spread = run.model.code(found), run.model.log_variance(found)
    wanted = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (spread / 2).exp()), torch.distributions.Normal(0, 1)
    ).sum(1)
    assert_allclose(scores[:, 64], wanted / 64, rtol=1e-4)
    assert_allclose(task.answer(scores), scores[:, :64].double().sigmoid())
    own = Criterion(losses.binary_cross_entropy, task=task).in_units(scores, y, reduction="none")
    expected = nn.functional.binary_cross_entropy_with_logits(scores[:, :64], y, reduction="none").mean(1) + wanted / 64
    assert_allclose(own, expected, rtol=1e-5)


def test_terms_of_a_model_of_the_user_are_added(commands: Commands) -> None:
    words = own_model(commands.folder, f"{__name__}.Terms")
    folder = commands.trained(*QUICK, *words, "data.preprocess=scale", "training.epochs=1")
    last = metrics(folder)[-1]
    assert_allclose(float(last["val/loss"]), float(last["val/mse"]) + 2, atol=0.01)


def test_some_classes_may_be_chosen(commands: Commands) -> None:
    folder = commands.trained(*QUICK, *SMALL, "data.keep_classes=[0,1]", "data.limit=null")
    assert "reconstruction of 64 inputs" in (folder / "train.log").read_text()
    assert commands.type("evaluate", f"run={folder}").code == 0


def test_principal_components_are_those_of_scikit_learn() -> None:
    x = torch.randn(60, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    own = PCA(3, svd_solver="full").fit(x[:40])
    assert_allclose(projected(x[:40], x[40:], 3), own.inverse_transform(own.transform(x[40:])), rtol=1e-8)


def test_the_loss_of_a_model_that_knows_nothing_is_that_of_the_mean() -> None:
    y = torch.rand(100, 5, generator=torch.Generator().manual_seed(0))
    task = Reconstruction()
    task.use(losses.mse)
    task.fit("abcde", y)
    assert_allclose(task.chance(losses.mse, y), y.var(0, correction=0).mean(), rtol=1e-5)
    assert task.running(task.score(task.mean.float().expand_as(y), y).mean().item()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("loss=cross_entropy",), "loss=cross_entropy does not fit task=reconstruction; choose from auto, mse"),
        (("data.label_noise=0.1",), "data.label_noise=0.1 is for task=classification, not for reconstruction"),
        (("loss=binary_cross_entropy", "data.preprocess=standardize"), "needs inputs from 0 to 1, but these are from"),
        (("metrics=[auroc]",), "'auroc' is a metric of classification and multilabel, not of reconstruction"),
    ],
)
def test_refusals(commands: Commands, words: tuple[str, ...], sentence: str) -> None:
    result = commands.train(*QUICK, *SMALL, *words)
    assert sentence in result.refusal()
