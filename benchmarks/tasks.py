"""What networks reach on real and made data of each task: compared with scikit-learn on the same splits."""

import io
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from .measure import Settings
from .report import Line, Target, tabulated

FOLDS = 5
QUIET = ("observers.pictures.enabled=false", "observers.tensorboard.enabled=false", "observers.layers.enabled=false",
         "observers.histograms.enabled=false", "observers.progress.enabled=false")  # fmt: skip
SMALL = ("model.hidden=[100]", "optimizer=adamw", "training.epochs=60")
Predict = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Training inputs and targets, and inputs to predict for -> predictions."""


def run(settings: Settings, console: Console) -> None:
    """Print the table."""
    del settings  # every figure needs all folds
    from sklearn import datasets, metrics
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    warnings.filterwarnings("ignore", module="sklearn")
    x, y = datasets.load_diabetes(return_X_y=True)
    console.print(f"Tasks: {FOLDS} folds of scikit-learn's KFold; the test part of each fold is used once")
    lines = compared(
        "diabetes, R^2", x, y, metrics.r2_score, "test/r2", ("task=regression", *SMALL, "optimizer.weight_decay=1"),
        {"MLPRegressor": fitted(MLPRegressor, max_iter=2000), "Ridge": fitted(Ridge)}, "MLPRegressor",
    )  # fmt: skip
    x, y = datasets.load_breast_cancer(return_X_y=True)
    lines += compared(
        "breast cancer, AUROC", x, y, metrics.roc_auc_score, "test/auroc",
        ("metrics=[auroc]", "objective=val/loss", *SMALL, "optimizer.weight_decay=0.1"),
        {"LogisticRegression": fitted(LogisticRegression, max_iter=1000)}, Target(0.995, least=True),
    )  # fmt: skip
    x, y = datasets.make_multilabel_classification(n_samples=2000, n_features=20, n_classes=5, random_state=0)
    lines += compared(
        "made labels, micro-F1", x, y, micro_f1, "test/f1", (*SMALL, "optimizer.weight_decay=0.1"),
        {"MLPClassifier": fitted(MLPClassifier, max_iter=500)}, "MLPClassifier",
    )  # fmt: skip
    console.print(tabulated("", lines))


def micro_f1(true: np.ndarray, predicted: np.ndarray) -> float:
    """Return the F1 of all labels of all examples."""
    from sklearn.metrics import f1_score

    return float(f1_score(true, predicted > 0.5, average="micro"))


def fitted(kind: type, **settings: Any) -> Predict:
    """Return what trains a model of scikit-learn on standardized inputs, and predicts."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def predict(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
        seeded = {**settings, **({"random_state": 0} if "MLP" in kind.__name__ else {})}
        model = make_pipeline(StandardScaler(), kind(**seeded)).fit(x, y)
        if not hasattr(model, "predict_proba"):
            return model.predict(new)
        probabilities = model.predict_proba(new)
        return probabilities if y.ndim == 2 else probabilities[:, 1]

    return predict


def compared(
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    score: Callable[[np.ndarray, np.ndarray], float],
    metric: str,
    words: Sequence[str],
    peers: dict[str, Predict],
    aim: str | Target,
) -> list[Line]:
    """Return lines with the mean score over the folds, of a network and of its peers on the same splits.

    Args:
        name: of the data set and the score.
        x, y: the data set.
        score: of true values and predictions.
        metric: the same, of a run.
        words: the overrides of the run.
        peers: others, by name.
        aim: the target, or the peer whose score is the target.
    """
    from sklearn.model_selection import KFold

    ours: list[float] = []
    theirs: dict[str, list[float]] = {peer: [] for peer in peers}
    for train, test in KFold(FOLDS, shuffle=True, random_state=0).split(x):
        ours.append(trained(x, y, train, test, words)[metric])
        for peer, predict in peers.items():
            theirs[peer].append(score(y[test], predict(x[train], y[train], x[test])))
    means = {peer: float(np.mean(values)) for peer, values in theirs.items()}
    target = Target(round(means[aim], 4), least=True) if isinstance(aim, str) else aim
    lines = [Line(f"{name}: this", ours, "mean over the folds", [float(np.mean(ours))], target=target)]
    return lines + [Line(peer, values, "mean over the folds", [means[peer]]) for peer, values in theirs.items()]


def trained(
    x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray, words: Sequence[str]
) -> dict[str, float]:
    """Return the metrics of a run on a fold, whose best epoch is chosen on a fifth of the training part."""
    from experiments.runs.library import compose
    from experiments.runs.library import train as start

    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "fold.npz")
        np.savez(path, x_train=x[train], y_train=y[train], x_test=x[test], y_test=y[test])
        override = f"hydra.run.dir={temporary}/run"
        config = compose("data=npz", f"data.path={path}", *QUIET, *words, override)
        with redirect_stdout(io.StringIO()):
            return start(config).summary["metrics"]
