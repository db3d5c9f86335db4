"""Metrics: equal to scikit-learn's on the same predictions, in their edge cases, and as columns of a run."""

import json
import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from numpy.testing import assert_allclose
from scipy.stats import spearmanr

from experiments.common.metrics import Metric, declare, objective_of
from experiments.tasks.metrics import OF_CLASSES, OF_LABELS, OF_NUMBERS
from tests.helpers import NO_PICTURES, SMALL, Commands, metrics, summary


def classified(classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities, of two classes with many ties, and classes."""
    draw = np.random.default_rng(classes)
    y = draw.integers(0, classes, 300)
    scores = draw.normal(size=(300, classes))
    scores[np.arange(300), y] += 1
    return torch.tensor(scores.round(1) if classes == 2 else scores).softmax(1), torch.tensor(y)


def expected(p: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """What scikit-learn gives."""
    answer, two = p.argmax(1), p.shape[1] == 2
    average = "binary" if two else "macro"
    one_hot = np.eye(p.shape[1])[y]
    return {
        "accuracy": sk.accuracy_score(y, answer),
        "balanced_accuracy": sk.balanced_accuracy_score(y, answer),
        "f1": sk.f1_score(y, answer, average=average),
        "precision": sk.precision_score(y, answer, average=average),
        "recall": sk.recall_score(y, answer, average=average),
        "auroc": sk.roc_auc_score(y, p[:, 1] if two else p, multi_class="ovr"),
        "average_precision": sk.average_precision_score(y, p[:, 1]) if two else sk.average_precision_score(one_hot, p),
        "log_loss": sk.log_loss(y, p),
        "brier": sk.brier_score_loss(y, p[:, 1]) if two else np.square(p - one_hot).sum(1).mean(),
        "mcc": sk.matthews_corrcoef(y, answer),
        "top_k": 1.0 if p.shape[1] <= 5 else sk.top_k_accuracy_score(y, p, k=5),
    }


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_metrics_of_classes_are_those_of_scikit_learn(classes: int) -> None:
    p, y = classified(classes)
    wanted = expected(p.numpy(), y.numpy())
    assert {*wanted, "ece"} == set(OF_CLASSES)
    for name, value in wanted.items():
        assert_allclose(OF_CLASSES[name](p, y), value, atol=1e-6, rtol=0, err_msg=name)


def test_the_calibration_error_is_that_of_evaluate() -> None:
    from experiments.evaluation._scores import calibration_error, reliability

    p, y = classified(10)
    assert_allclose(OF_CLASSES["ece"](p, y), calibration_error(reliability(p.numpy(), y.numpy())), atol=1e-12)


def test_metrics_of_numbers_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    y = draw.normal(size=(200, 3)) * [3, 100, 1e6]
    own = y + draw.normal(size=(200, 3)) * [1, 50, 1e6]
    wanted = {
        "r2": sk.r2_score(y, own),
        "mse": sk.mean_squared_error(y, own),
        "rmse": sk.root_mean_squared_error(y, own),
        "mae": sk.mean_absolute_error(y, own),
        "spearman": np.mean([spearmanr(y[:, k], own[:, k])[0] for k in range(3)]),
    }
    assert set(wanted) == set(OF_NUMBERS)
    for name, value in wanted.items():
        assert_allclose(OF_NUMBERS[name](torch.tensor(own), torch.tensor(y)), value, rtol=1e-6, err_msg=name)


def test_metrics_of_labels_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, (200, 4))
    p = 1 / (1 + np.exp(-draw.normal(size=(200, 4)) - y))
    answer = (p > 0.5).astype(int)
    wanted = {
        "accuracy": (answer == y).mean(),
        "f1": sk.f1_score(y, answer, average="micro"),
        "precision": sk.precision_score(y, answer, average="micro"),
        "recall": sk.recall_score(y, answer, average="micro"),
        "auroc": sk.roc_auc_score(y, p),
        "average_precision": sk.average_precision_score(y, p),
        "log_loss": np.mean([sk.log_loss(y[:, k], p[:, k]) for k in range(4)]),
        "brier": np.mean([sk.brier_score_loss(y[:, k], p[:, k]) for k in range(4)]),
    }
    assert set(wanted) == set(OF_LABELS)
    for name, value in wanted.items():
        assert_allclose(OF_LABELS[name](torch.tensor(p), torch.tensor(y).double()), value, atol=1e-6, err_msg=name)


def test_what_examples_do_not_define_is_nan() -> None:
    p, y = torch.tensor([[0.3, 0.7]] * 3), torch.ones(3, dtype=torch.int64)
    assert math.isnan(OF_CLASSES["auroc"](p, y))
    assert math.isnan(OF_NUMBERS["r2"](torch.zeros(1, 1), torch.ones(1, 1)))
    assert math.isnan(OF_NUMBERS["r2"](torch.zeros(3, 1), torch.ones(3, 1)))


def test_directions_and_names() -> None:
    rising = {name for name in (*OF_CLASSES, *OF_NUMBERS, *OF_LABELS) if Metric(f"val/{name}").larger_is_better}
    assert {*OF_CLASSES, *OF_NUMBERS, *OF_LABELS} - rising == {"log_loss", "brier", "ece", "mse", "rmse", "mae"}
    assert not Metric("val/loss").larger_is_better
    assert Metric("val/balanced_accuracy").label == "validation balanced accuracy (%)"
    declare([{"_target_": "mine.BadnessScore", "larger_is_better": False}, {"name": "joy", "larger_is_better": True}])
    assert (Metric("val/badness_score").larger_is_better, Metric("val/joy").larger_is_better) == (False, True)


def test_the_objective_follows_the_task() -> None:
    regression = "experiments.tasks.regression.Regression"
    assert objective_of({"objective": "auto"}) == "val/accuracy"
    assert objective_of({"objective": "auto", "task": {"_target_": regression}}) == "val/loss"
    assert objective_of({"objective": "auto", "task._target_": regression}) == "val/loss"
    assert objective_of({"objective": "val/r2", "task._target_": regression}) == "val/r2"


@pytest.mark.slow
def test_metrics_are_columns_objectives_and_stopping_rules(commands: Commands) -> None:
    """They choose the best epoch, stop the training, reach the summary and the observers, and can be compared."""
    folder = commands.trained(
        *SMALL, "training.epochs=4", "metrics=[auroc,f1,brier]", "objective=val/auroc",
        "training.early_stopping={metric:val/brier,patience:3}",
    )  # fmt: skip
    rows = metrics(folder)
    assert [*rows[0]] == [
        "epoch", "step", "lr", "train/loss", "train/accuracy", "val/loss", "val/accuracy",
        "val/auroc", "val/f1", "val/brier",
    ]  # fmt: skip
    own = summary(folder)
    values = [float(row["val/auroc"]) for row in rows]
    assert (own["objective"], own["best_epoch"]) == ("val/auroc", values.index(max(values)) + 1)
    assert {"test/auroc", "test/f1", "test/brier"} < set(own["metrics"])
    compared = commands.type("compare", str(folder), "metric=test/f1")
    assert (compared.code, compared.out.startswith("test/f1 of 1 run")) == (0, True), compared.err


@pytest.mark.slow
def test_evaluate_shows_metrics_with_intervals_and_thresholds(commands: Commands) -> None:
    folder = commands.trained("data=breast_cancer", *SMALL[3:], "training.epochs=2", "metrics=[auroc,f1]")
    outcome = commands.type("evaluate", f"run={folder}")
    assert outcome.code == 0, outcome.err
    found = json.loads((folder / "evaluation" / "test" / "evaluation.json").read_text())
    auroc = found["metrics"]["auroc"]
    assert_allclose(auroc["value"], summary(folder)["metrics"]["test/auroc"], atol=1e-12)
    assert auroc["low"] <= auroc["value"] <= auroc["high"] <= 1
    assert f"auroc  {auroc['value']:.4g} (95 % {auroc['low']:.4g} to {auroc['high']:.4g})" in outcome.out
    assert (folder / "evaluation" / "test" / "thresholds.png").is_file()


def test_a_metric_that_is_never_finite_chooses_no_epoch(commands: Commands, own_module: str) -> None:
    words = [*SMALL, "name=never", f"metrics=[{{_target_:{own_module}.never}}]", "objective=val/never"]
    stopping = "training.early_stopping={metric:val/never,patience:2}"
    outcome = commands.type("train", *words, "training.epochs=3", stopping)
    assert outcome.code == 0, outcome.err
    (folder,) = (commands.folder / "outputs" / "never").iterdir()
    assert [row["val/never"] for row in metrics(folder)] == ["", ""]
    own = summary(folder)
    assert (own["status"], own["best_epoch"], "val/never" in own["metrics"]) == ("stopped", None, False)
    lasting = "val/never was not a finite number in any of the 2 epochs: it chooses no epoch, and the weights are "
    assert own["warnings"] == [f"{lasting}those of the last one"]
    assert f"warning: {own['warnings'][0]}\n" in outcome.out
    assert outcome.out.count("warning: val/never is not a finite number in epoch 1: its cell in metrics.csv") == 1
    assert "no improvement for 2 epochs; val/never was not a finite number in 2 of them\n" in outcome.out
    assert "by val/never" not in outcome.out
    refused = commands.type("evaluate", f"run={folder}", "best=1").refusal()
    assert "best=1 cannot rank these runs: none has val/never" in refused


def test_an_epoch_without_the_objective_is_not_the_best_one(commands: Commands, own_module: str) -> None:
    entry = f"metrics=[{{_target_:{own_module}.late,larger_is_better:false}}]"
    folder = commands.trained(*SMALL, "training.epochs=4", entry, "objective=val/late")
    assert [row["val/late"] == "" for row in metrics(folder)] == [True, True, False, False]
    own = summary(folder)
    assert own["best_epoch"] == 3
    assert own["warnings"] == ["val/late was not a finite number in 2 of the 4 epochs, which cannot be the best"]


def test_a_table_that_is_too_wide_has_a_row_for_each_metric(commands: Commands) -> None:
    wide = "metrics=[auroc,f1,average_precision,mcc,brier,log_loss,ece]"
    outcome = commands.train("data=breast_cancer", *SMALL[3:], "training.epochs=1", wide)
    lines = [line.split() for line in outcome.out.splitlines()]
    start = lines.index(["train", "val", "test"])
    named = [line[0] for line in lines[start + 1 : start + 10]]
    assert named == ["loss", "accuracy", "auroc", "f1", "average_precision", "mcc", "brier", "log_loss", "ece"]
    assert {len(line) for line in lines[start + 1 : start + 10]} == {4}


def test_a_run_with_metrics_has_the_same_weights_and_numbers(commands: Commands) -> None:
    plain, more = (commands.trained(*SMALL, *own) for own in ((), ("metrics=[auroc,ece]",)))
    columns = [*metrics(plain)[0]]
    assert [{name: row[name] for name in columns} for row in metrics(more)] == metrics(plain)


OWN = '''
def spread(answers, targets):
    """The mean largest probability."""
    return answers.max(1).values.mean()


def broken(answers, targets):
    return answers.nothing


def text(answers, targets):
    return "much"


def vector(answers, targets):
    return answers.mean(0)


def never(answers, targets):
    return float("nan")


calls = 0


def late(answers, targets):
    """Infinite in the first epochs."""
    global calls
    calls += 1
    return float("inf") if calls < 4 else calls
'''


@pytest.fixture
def own_module(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user with metrics."""
    (commands.folder / "my_metrics.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(commands.folder))
    return "my_metrics"


@pytest.mark.slow
def test_own_metrics_and_those_of_torchmetrics(commands: Commands, own_module: str) -> None:
    entries = (
        f"{{_target_:{own_module}.spread,larger_is_better:false}},"
        "{_target_:torchmetrics.classification.MulticlassF1Score,name:macro_f1,average:macro}"
    )
    folder = commands.trained(*SMALL, f"metrics=[f1,{entries}]", "objective=val/spread")
    row = metrics(folder)[-1]
    assert_allclose(float(row["val/macro_f1"]), float(row["val/f1"]), atol=1e-6)
    values = [float(row["val/spread"]) for row in metrics(folder)]
    assert summary(folder)["best_epoch"] == values.index(min(values)) + 1
    compared = commands.type("compare", str(folder), "metric=val/macro_f1")
    assert compared.code == 0, compared.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("metrics=[auroc,f2]", "unknown metric 'f2' in metrics; choose from accuracy, balanced_accuracy, top_k"),
        (
            "metrics=[rmse]",
            "metrics: 'rmse' is a metric of regression and reconstruction, not of classification; choose from",
        ),
        ("metrics=[f1,f1]", "has 'f1' twice; name each metric once"),
        ("metrics=3", "metrics=3 should be auto, or a list such as [accuracy]"),
        ("objective=val/f1", "objective='val/f1' is not measured; add 'metrics=[f1]'"),
        (
            "objective=val/loss_of_face",
            "objective='val/loss_of_face' is not measured; choose from val/accuracy, val/loss",
        ),
        ("metrics=[{_target_:my_metrics.broken}]", "metrics[0]: my_metrics.broken raised AttributeError"),
        ("metrics=[{_target_:my_metrics.text}]", "metrics[0]: my_metrics.text returns a str, expected one number"),
        (
            "metrics=[{_target_:my_metrics.spred}]",
            "'my_metrics.spred' cannot be imported: my_metrics has no 'spred'; did you mean 'spread'?",
        ),
        (
            "metrics=[{_target_:my_metric.spread}]",
            "'my_metric.spread' cannot be imported: Python cannot find a module 'my_metric'",
        ),
        ("metrics=[{_target_:my_metrics.vector}]", "returns a Tensor of shape (10,) on cpu, expected one number"),
    ],
)
def test_metrics_that_cannot_be_used_are_refused(commands: Commands, own_module: str, words: str, said: str) -> None:
    assert own_module
    assert said in commands.train(*SMALL, *words.split(" ")).refusal()


@pytest.mark.slow
def test_a_stack_measures_what_a_run_on_its_own_measures(commands: Commands) -> None:
    words = (*SMALL, "metrics=[auroc,log_loss]")
    assert commands.train("-m", "seed=0,1", *words).code == 0
    for number in (0, 1):
        (together,) = commands.folder.glob(f"outputs/train/*/*seed={number}*")
        alone = commands.trained(f"seed={number}", *words)
        for one, other in zip(metrics(together), metrics(alone), strict=True):
            assert_allclose([float(v) for v in one.values()], [float(v) for v in other.values()], rtol=1e-4)


@pytest.mark.slow
def test_a_search_finds_the_best_by_any_metric(commands: Commands) -> None:
    outcome: Any = commands.train(
        "-m", *SMALL, NO_PICTURES, "metrics=[auroc]", "objective=val/auroc", "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=2", "optimizer.lr=interval(0.0001,0.01)",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "val/auroc" in outcome.out
