"""Regressions: all verbs in the units of the data, on real and on made data, and refusals."""

import csv as csv_module
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from experiments import losses
from experiments.data.embedded import breast_cancer, diabetes, iris, linnerud, wine
from experiments.data.planes import sine, two_gaussians
from experiments.evaluation.loading import load
from experiments.tasks.regression import Regression
from experiments.training.criterion import Criterion
from tests.helpers import NO_PICTURES, Commands, assert_equal_weights, metrics, run_folders, summary, thinned, weights

QUICK = (NO_PICTURES, "observers.tensorboard.enabled=false", "model.hidden=[16]", "training.epochs=3")


def test_embedded_data_sets_are_those_of_scikit_learn() -> None:
    from sklearn import datasets

    for own, load_theirs in (
        (diabetes, lambda: datasets.load_diabetes(scaled=False)), (linnerud, datasets.load_linnerud),
        (iris, datasets.load_iris), (wine, datasets.load_wine), (breast_cancer, datasets.load_breast_cancer),
    ):  # fmt: skip
        source, theirs = own(), load_theirs()
        x = torch.cat([source.x_train, source.x_test]).numpy()
        y = torch.cat([source.y_train, source.y_test]).numpy().reshape(len(x), -1)
        rows = np.concatenate([x, y], 1)
        wanted = np.concatenate([theirs.data, theirs.target.reshape(len(x), -1)], 1)
        assert_allclose(rows[np.lexsort(rows.T)], wanted[np.lexsort(wanted.T)], rtol=1e-6)
        assert list(source.classes or source.targets) == list(getattr(theirs, "target_names", source.targets))


def test_made_data_sets() -> None:
    source = sine(examples=4000, noise=0.2)
    error = source.y_train - torch.sin(2 * torch.pi * source.x_train.double())
    assert_allclose(error.std().item(), 0.2, rtol=0.05)
    clouds = two_gaussians(examples=20_000, distance=2, dimensions=5)
    right = (clouds.x_train.sum(1) > 0) == (clouds.y_train == 1)
    assert_allclose(right.double().mean().item(), 0.8413, atol=0.01)


LOSSES: dict[str, Any] = {
    "mse": losses.mse,
    "mae": losses.mae,
    "huber": losses.huber,
    "gaussian": losses.gaussian,
    "poisson": losses.poisson,
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_in_units_is_that_of_the_unscaled_numbers(name: str) -> None:
    """What is reported is the loss of predictions and targets in the units of the data; its gradient differs by a
    factor, so training is the same."""
    draw = torch.Generator().manual_seed(0)
    y = torch.rand(50, 2, generator=draw, dtype=torch.float64) * 20 + torch.tensor([0.0, 100.0])
    task, loss = Regression(), LOSSES[name]
    task.use(loss)
    task.fit(["a", "b"], y)
    encoded = task.encode(y).double()
    scores = torch.randn(50, task.outputs, generator=draw, dtype=torch.float64) / 3
    reported = Criterion(loss, task=task).in_units(scores, encoded, reduction="mean")
    answers = task.answer(scores)
    wanted = {
        "mse": (answers - y).square().mean(),
        "mae": (answers - y).abs().mean(),
        "huber": torch.stack(
            [
                torch.nn.functional.huber_loss(a, b, delta=unit)
                for a, b, unit in zip(answers.T, y.T, y.std(0, correction=0).tolist(), strict=True)
            ]
        ).mean(),
        "gaussian": torch.nn.functional.gaussian_nll_loss(
            answers, y, (scores[:, 2:].exp() * y.var(0, correction=0)), full=True
        ) if task.outputs == 4 else None,
        "poisson": torch.nn.functional.poisson_nll_loss(answers, y, log_input=False, eps=0),
    }[name]  # fmt: skip
    assert wanted is not None
    assert_allclose(reported.item(), wanted.item(), rtol=1e-5)
    each = loss(scores, encoded, reduction="none")
    assert each.shape == (50,)
    assert_allclose(each.mean().item(), loss(scores, encoded).item(), rtol=1e-12)
    assert_allclose(each.sum().item(), loss(scores, encoded, reduction="sum").item(), rtol=1e-12)


def test_the_loss_of_knowing_nothing_is_the_variance() -> None:
    y = diabetes().y_train
    task = Regression()
    task.fit(["y"], y)
    assert_allclose(Criterion(losses.mse, task=task).chance(task.encode(y)), y.var(correction=0).item(), rtol=1e-5)
    assert_allclose(task.decode(task.encode(y)).numpy(), y.numpy(), rtol=1e-6)


@pytest.fixture
def folder(commands: Commands) -> Path:
    """A run on the diabetes data."""
    return commands.trained("data=diabetes", *QUICK)


def predictions(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """True values and predictions of a table."""
    with path.open() as file:
        head, *rows = csv_module.reader(file)
    table = np.array(rows, float)[:, 1:]
    half = table.shape[1] // 2
    assert [name[:4] for name in head[1:]] == ["true"] * half + ["pred"] * half
    return table[:, :half], table[:, half:]


def test_a_regression_is_reported_in_the_units_of_the_data(commands: Commands, folder: Path) -> None:
    evaluated = commands.type("evaluate", f"run={folder}")
    assert evaluated.code == 0, evaluated.err
    true, own = predictions(folder / "evaluation" / "test" / "predictions.csv")
    found = summary(folder)["metrics"]
    assert_allclose(found["test/r2"], r2_score(true, own), atol=1e-6)
    assert_allclose(found["test/rmse"], root_mean_squared_error(true, own), rtol=1e-6)
    assert_allclose(found["test/loss"], np.square(true - own).mean(), rtol=1e-5)
    assert sorted(true[:, 0]) == sorted(diabetes().y_test[:, 0].tolist())
    about = json.loads((folder / "evaluation" / "test" / "evaluation.json").read_text())
    assert_allclose(about["metrics"]["mae"]["value"], mean_absolute_error(true, own), rtol=1e-6)
    assert about["metrics"]["r2"]["low"] < about["metrics"]["r2"]["value"] < about["metrics"]["r2"]["high"]
    for words in (evaluated.out, (folder / "train.log").read_text()):
        assert "accuracy" not in words
        assert "class" not in words
    assert {"predicted.png", "residuals.png"} <= {path.name for path in (folder / "evaluation" / "test").iterdir()}


def test_the_epoch_with_the_lowest_validation_loss_is_the_best(folder: Path) -> None:
    losses_of = [float(row["val/loss"]) for row in metrics(folder)]
    found = summary(folder)
    assert (found["objective"], found["best_epoch"]) == ("val/loss", losses_of.index(min(losses_of)) + 1)
    assert [*metrics(folder)[0]] == [
        "epoch", "step", "lr", "train/loss", "train/r2", "val/loss", "val/r2", "val/rmse",
    ]  # fmt: skip


@pytest.mark.slow
def test_training_metrics_are_those_of_the_predictions(commands: Commands) -> None:
    """With one batch per epoch and a rate of nearly 0, what is measured in training is what is measured afterwards."""
    folder = commands.trained(
        "data=linnerud", *QUICK, "training.batch_size=1000", "optimizer.lr=1e-12", "data.val_fraction=0"
    )
    assert commands.type("evaluate", f"run={folder}", "split=train").code == 0
    true, own = predictions(folder / "evaluation" / "train" / "predictions.csv")
    last = metrics(folder)[-1]
    assert_allclose(float(last["train/r2"]), r2_score(true, own), rtol=1e-4)
    assert_allclose(float(last["train/loss"]), np.square(true - own).mean(), rtol=1e-4)


def test_a_resumed_regression_has_the_bits_of_an_uninterrupted_one(commands: Commands, folder: Path) -> None:
    longer = commands.trained("data=diabetes", *QUICK, "training.epochs=5")
    assert commands.train(f"resume={folder}", "training.epochs=5").code == 0
    assert metrics(folder) == metrics(longer)
    assert_equal_weights(weights(folder), weights(longer))


@pytest.mark.slow
@pytest.mark.parametrize("loss", thinned(LOSSES))
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp64", 1e-8)])
def test_members_of_a_stack_agree_with_runs_on_their_own(
    commands: Commands, loss: str, precision: str, tolerance: float
) -> None:
    words = (
        "data=linnerud",
        f"loss={loss}",
        *QUICK,
        f"training.precision={precision}",
        "optimizer=sgd",
        "optimizer.lr=0.01",
    )
    assert commands.train("-m", "seed=0,1", *words).code == 0
    for seed in (0, 1):
        (together,) = commands.folder.glob(f"outputs/train/*/*seed={seed}*")
        assert summary(together)["trained_together"] == 2
        alone = commands.trained(f"seed={seed}", *words)
        for one, other in zip(metrics(together), metrics(alone), strict=True):
            assert [*one] == [*other]
            pairs = [(float(one[name]), float(other[name])) for name in one]
            assert_allclose([a for a, _ in pairs], [b for _, b in pairs], rtol=10 * tolerance, atol=tolerance)
        ours, theirs = weights(together), weights(alone)
        for name, tensor in ours.items():
            assert_allclose(tensor.numpy(), theirs[name].numpy(), rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.slow
def test_every_verb_takes_a_regression(commands: Commands, folder: Path) -> None:
    for verb, words in (
        ("check", ("data=diabetes", "model.hidden=[16]")),
        ("evaluate", (f"run={folder}", "split=val")),
        ("compare", (str(folder), "metric=val/r2")),
        ("export", (f"run={folder}",)),
        ("surface", ("surface=ravine",)),
    ):
        outcome = commands.type(verb, *words)
        assert outcome.code in (0, 1) if verb == "check" else outcome.code == 0, (verb, outcome.err, outcome.out)
        if verb != "surface":
            assert "accuracy" not in outcome.out, verb
    program = torch.export.load(str(folder / "export" / "model.pt2")).module()
    x = diabetes().x_test[:5]
    assert_allclose(program(x).detach().numpy(), load(folder).predict(x.numpy()).probabilities, rtol=1e-5)
    exported = json.loads((folder / "export" / "model.json").read_text())
    assert (exported["output"]["name"], exported["targets"]) == ("predictions", ["progression"])


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["mae", "gaussian", "poisson"])
def test_a_sound_regression_passes_the_checks(commands: Commands, loss: str) -> None:
    outcome = commands.type("check", "data=diabetes", f"loss={loss}", "only=[initial_loss,overfit,baseline]")
    assert outcome.code == 0, outcome.out


@pytest.mark.slow
def test_regressions_are_evaluated_together(commands: Commands) -> None:
    assert commands.train("-m", "seed=0,1,2", "data=linnerud", *QUICK).code == 0
    top = run_folders(commands.folder)[0].parent
    outcome = commands.type("evaluate", f"run={top}", "ensemble=mean")
    assert outcome.code == 0, outcome.err
    each = [load(folder).predict(linnerud().x_test.numpy()).probabilities for folder in run_folders(commands.folder)]
    _, own = predictions(top / "evaluation" / "ensemble_test" / "predictions.csv")
    assert_allclose(own, np.mean(each, axis=0), rtol=1e-5)


@pytest.mark.slow
def test_a_search_minimizes_the_loss_of_a_regression(commands: Commands) -> None:
    outcome = commands.train(
        "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "data=diabetes", *QUICK,
        "optimizer.lr=interval(0.0001,0.01)",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    (found,) = commands.folder.glob("outputs/train/*/search.json")
    best = json.loads(found.read_text())
    losses_of = [summary(folder)["metrics"]["val/loss"] for folder in run_folders(commands.folder)]
    assert (best["objective"], best["best"]["value"]) == ("val/loss", min(losses_of))


@pytest.mark.slow
def test_a_search_of_an_own_table_of_numbers_minimizes_the_loss(commands: Commands) -> None:
    path = table(commands.folder, *FRACTIONS)
    words = (
        "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "data=csv", f"data.path={path}", *QUICK,
        "data.target=y1", "optimizer.lr=interval(0.0001,0.01)",
    )  # fmt: skip
    outcome = commands.train(*words)
    assert outcome.code == 0, outcome.err
    (found,) = commands.folder.glob("outputs/train/*/search.json")
    assert json.loads(found.read_text())["objective"] == "val/loss"


def table(folder: Path, *rows: str) -> str:
    """A csv file with two numbers to predict."""
    path = folder / "own.csv"
    path.write_text("a,b,y1,y2\n" + "\n".join(rows) + "\n")
    return str(path)


def test_a_table_with_two_numbers_to_predict(commands: Commands) -> None:
    draw = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{2 * a + b:.4f},{100 * b:.2f}" for a, b in draw.normal(size=(120, 2))]
    path = table(commands.folder, *rows)
    folder = commands.trained(
        "data=csv", f"data.path={path}", "data.target=[y1,y2]", *QUICK, "training.epochs=30", "optimizer.lr=0.02"
    )
    assert summary(folder)["metrics"]["test/r2"] > 0.95
    described = json.loads((folder / "data.json").read_text())
    assert (described["targets"], described["classes"]) == (["y1", "y2"], [])
    (commands.folder / "new.csv").write_text("a,b\n1,1\n-1,0.5\n")
    outcome = commands.type("evaluate", f"run={folder}", f"input={commands.folder / 'new.csv'}")
    assert outcome.code == 0, outcome.err
    with (folder / "evaluation" / "input_new.csv" / "predictions.csv").open() as file:
        head, first, _ = csv_module.reader(file)
    assert head == ["example", "predicted(y1)", "predicted(y2)"]
    assert_allclose([float(first[1]), float(first[2])], [3, 100], rtol=0.2)


WHOLE = [f"{i % 7},{i % 5},{i % 9},{i}" for i in range(60)]
FRACTIONS = [f"{i % 7},{i % 5},{i / 4},{i}" for i in range(60)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "words", "said"),
    [
        (WHOLE, "data.target=y1", None),
        (FRACTIONS, "data.target=y1 task=classification", "only one example of class '0.0'"),
        ([*FRACTIONS, "1,2,much,3"], "data.target=y1 task=regression", "has 'much' in row 61 of the target 'y1'"),
        ([*FRACTIONS, "1,2,much,3"], "data.target=[y1,y2]", "has 'much' in row 61 of the target 'y1'"),
        ([*FRACTIONS, "1,2,,3"], "data.target=y1 task=regression", "target='y1' is missing in row 61"),
        ([f"{i},2,2.5,1" for i in range(30)], "data.target=y1", "the target 'y1' is 2.5 in every training example"),
        (FRACTIONS, "data.target=y1 loss=cross_entropy", "loss=cross_entropy does not fit task=regression"),
        (FRACTIONS, "data.target=y1 loss.label_smoothing=0.1", "loss.label_smoothing=0.1 is for task=classification"),
        (FRACTIONS, "data.target=y1 metrics=[f1]", "'f1' is a metric of classification and multilabel"),
        (FRACTIONS, "data.target=y1 objective=val/accuracy", "objective='val/accuracy' is not measured"),
        (FRACTIONS, "data.target=y1 data.balance=class_weights", "data.balance='class_weights' is for task="),
        (FRACTIONS, "data.target=y1 data.label_noise=0.1", "data.label_noise=0.1 is for task=classification"),
        ([*FRACTIONS, "1,2,-0.5,3"] * 3, "data.target=y1 loss=poisson", "loss=poisson is for counts, but the target"),
        (WHOLE, "data.target=[a,b,y1,y2]", "leaves no column but the target"),
        (WHOLE, "data.target=[y1,y1]", "should be a column or a list of different columns"),
        (WHOLE, "data.target=[y1,y3]", "target='y3' is not a column"),
    ],
)  # fmt: skip
def test_targets_that_do_not_fit_are_refused(commands: Commands, rows: list[str], words: str, said: str | None) -> None:
    path = table(commands.folder, *rows)
    outcome = commands.train("data=csv", f"data.path={path}", *QUICK, *words.split())
    if said is None:
        assert outcome.code == 0, outcome.err
    else:
        assert said in outcome.refusal()


def test_a_task_that_does_not_fit_the_data_set_is_refused(commands: Commands) -> None:
    said = commands.train("data=digits", "task=regression", *QUICK).refusal()
    assert "task=regression needs numbers, but the targets of this data set are a class for each example" in said
    said = commands.train("data=diabetes", "task=classification", *QUICK).refusal()
    assert "try task=regression" in said


OWN_TASK = '''
import torch
from experiments.tasks.regression import Regression


class LogRegression(Regression):
    """Learns the logarithm of positive numbers."""

    name = "log_regression"

    def fit(self, names, y):
        super().fit(names, y.log())

    def encode(self, y):
        return super().encode(y.log())

    def decode(self, y):
        return super().decode(y).exp()
'''


@pytest.mark.slow
def test_a_task_of_the_user(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    (commands.folder / "own_task.py").write_text(OWN_TASK)
    monkeypatch.syspath_prepend(str(commands.folder))
    (commands.folder / "own" / "task").mkdir(parents=True)
    (commands.folder / "own" / "task" / "log.yaml").write_text("_target_: own_task.LogRegression\n")
    folder = commands.trained("--config-dir", "own", "task=log", "data=diabetes", *QUICK, "training.epochs=10")
    assert commands.type("evaluate", f"run={folder}", "trust=own_task").code == 0
    true, own = predictions(folder / "evaluation" / "test" / "predictions.csv")
    assert sorted(true[:, 0].round(3)) == sorted(diabetes().y_test[:, 0].tolist())
    assert (own > 0).all()
    assert_allclose(summary(folder)["metrics"]["test/r2"], r2_score(true, own), atol=1e-5)


@pytest.mark.slow
def test_a_network_learns_a_sine_to_its_noise(commands: Commands) -> None:
    folder = commands.trained(
        "data=sine", NO_PICTURES, "model.activation=tanh", "optimizer.lr=0.01", "training.epochs=60",
        "scheduler=cosine",
    )  # fmt: skip
    assert summary(folder)["metrics"]["test/rmse"] < 0.12  # the noise has a standard deviation of 0.1
