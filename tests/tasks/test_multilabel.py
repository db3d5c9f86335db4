"""Labels: tables and arrays of them, against scikit-learn, through the verbs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import f1_score, roc_auc_score

from experiments import losses
from experiments.data.planes import topics
from experiments.evaluation.loading import load
from tests.helpers import NO_PICTURES, Commands, metrics, summary, weights

QUICK = (NO_PICTURES, "observers.tensorboard.enabled=false", "model.hidden=[32]", "training.epochs=4")


def made(folder: Path, *, labels: int = 5) -> tuple[str, np.ndarray, np.ndarray]:
    """The file of a data set of scikit-learn, and its test part."""
    x, y = make_multilabel_classification(n_samples=600, n_features=20, n_classes=labels, random_state=0)
    path = folder / "labels.npz"
    np.savez(path, x_train=x[:480], y_train=y[:480], x_test=x[480:], y_test=y[480:])
    return str(path), x[480:], y[480:]


def test_topics_are_those_of_scikit_learn() -> None:
    source = topics(examples=50, words=8, labels=3, draw=2)
    x, y = make_multilabel_classification(100, n_features=8, n_classes=3, random_state=2)
    assert_allclose(torch.cat([source.x_train, source.x_test]), x)
    assert_allclose(torch.cat([source.y_train, source.y_test]), y)
    assert source.kind == "labels"


def test_binary_cross_entropy_is_that_of_torch() -> None:
    draw = torch.Generator().manual_seed(0)
    scores, targets = torch.randn(20, 3, generator=draw), torch.randint(0, 2, (20, 3), generator=draw).float()
    for weight in (1.0, 3.0):
        wanted = torch.nn.functional.binary_cross_entropy_with_logits(
            scores, targets, pos_weight=torch.full((3,), weight)
        )
        assert_allclose(losses.binary_cross_entropy(scores, targets, positive_weight=weight), wanted, rtol=1e-6)


def test_labels_of_an_array_are_found_and_learnt(commands: Commands) -> None:
    path, x, y = made(commands.folder)
    folder = commands.trained("data=npz", f"data.path={path}", *QUICK, "metrics=[f1,auroc]")
    found = summary(folder)["metrics"]
    own = load(folder).predict(x).probabilities
    assert_allclose(found["test/f1"], f1_score(y, own > 0.5, average="micro"), atol=1e-6)
    assert_allclose(found["test/auroc"], roc_auc_score(y, own), atol=1e-6)
    assert_allclose(found["test/accuracy"], ((own > 0.5) == y).mean(), atol=1e-6)
    described = json.loads((folder / "data.json").read_text())
    assert (described["kind"], described["targets"]) == ("labels", ["y1", "y2", "y3", "y4", "y5"])
    assert "multilabel of 5 labels" in (folder / "train.log").read_text()


@pytest.mark.slow
def test_every_verb_takes_labels(commands: Commands) -> None:
    path, x, _ = made(commands.folder)
    words = ("data=npz", f"data.path={path}", *QUICK)
    folder = commands.trained(*words)
    for verb, more in (
        ("check", words[:2]), ("evaluate", (f"run={folder}",)), ("export", (f"run={folder}", "format=torch")),
        ("compare", (str(folder), "metric=val/f1")),
    ):  # fmt: skip
        outcome = commands.type(verb, *more)
        assert outcome.code == 0, (verb, outcome.err, outcome.out)
    program = torch.export.load(str(folder / "export" / "model.pt2")).module()
    own = load(folder).predict(x[:9]).probabilities
    assert_allclose(program(torch.tensor(x[:9]).float()).detach().numpy(), own, atol=1e-5)


@pytest.mark.slow
def test_members_of_a_stack_agree_with_runs_on_their_own(commands: Commands) -> None:
    path, _, _ = made(commands.folder)
    words = ("data=npz", f"data.path={path}", *QUICK, "optimizer=sgd")
    assert commands.train("-m", "loss=binary_cross_entropy", "loss.positive_weight=1,2", *words).code == 0
    for weight in (1, 2):
        (together,) = commands.folder.glob(f"outputs/train/*/*weight={weight}*")
        assert summary(together)["trained_together"] == 2
        alone = commands.trained("loss=binary_cross_entropy", f"loss.positive_weight={weight}", *words)
        for one, other in zip(metrics(together), metrics(alone), strict=True):
            assert_allclose([float(v) for v in one.values()], [float(v) for v in other.values()], atol=1e-5, rtol=1e-4)
        for name, tensor in weights(together).items():
            assert_allclose(tensor.numpy(), weights(alone)[name].numpy(), atol=1e-5, err_msg=name)


def test_labels_of_a_table_are_columns(commands: Commands) -> None:
    rows = "\n".join(f"{i % 11},{i % 3},{'yes' if i % 11 > 5 else 'no'},{int(i % 3 == 0)}" for i in range(99))
    (commands.folder / "own.csv").write_text(f"a,b,tall,round\n{rows}\n")
    folder = commands.trained(
        "data=csv", "data.path=own.csv", "data.target=[tall,round]", *QUICK, "training.epochs=60", "optimizer.lr=0.01"
    )
    assert summary(folder)["metrics"]["test/f1"] > 0.95
    assert json.loads((folder / "data.json").read_text())["targets"] == ["tall", "round"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "loss=cross_entropy",
            "loss=cross_entropy does not fit task=multilabel; choose from auto, binary_cross_entropy",
        ),
        ("metrics=[mcc]", "metrics: 'mcc' is a metric of classification, not of multilabel"),
        ("task=classification", "expected one class per example"),
    ],
)
def test_what_does_not_fit_labels_is_refused(commands: Commands, words: str, said: str) -> None:
    path, _, _ = made(commands.folder)
    assert said in commands.train("data=npz", f"data.path={path}", *QUICK, words).refusal()
