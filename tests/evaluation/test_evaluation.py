"""What a trained run is worth: the numbers against references, the files, and folders that are not to be trusted."""

import json
import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, top_k_accuracy_score
from statsmodels.stats.proportion import proportion_confint

from experiments.evaluation._scores import BINS, calibration_error, reliability, top, wilson
from experiments.evaluation.loading import configuration, load
from tests.helpers import Commands, summary, thinned

SMALL = ("training.epochs=2", "data.limit=200", "model.hidden=[20]", "observers.pictures.enabled=false")


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_equals_wilsons(counts: tuple[int, int]) -> None:
    right, examples = counts
    low, high = wilson(right, examples)
    expected = proportion_confint(right, examples, method="wilson")
    assert (low, high) == pytest.approx(expected, abs=1e-12)
    assert 0 <= low <= right / examples <= high <= 1


def drawn(examples: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities, and classes that are drawn by them: a network that is calibrated."""
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(classes, 0.4), examples)
    y = np.array([generator.choice(classes, p=row) for row in probabilities])
    return probabilities, y


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_is_that_of_scikit_learn(k: int) -> None:
    probabilities, y = drawn(500, 5)
    assert top(probabilities, y, k) == pytest.approx(top_k_accuracy_score(y, probabilities, k=k))


def test_the_calibration_error_is_the_weighted_gap() -> None:
    probabilities, y = drawn(4000, 4)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == y
    gap = 0.0
    for low in np.arange(BINS) / BINS:
        inside = (confidence > low) & (confidence <= low + 1 / BINS)
        if inside.any():
            gap += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(reliability(probabilities, y)) == pytest.approx(gap)
    assert gap < 0.03, "what is drawn by the probabilities is calibrated"
    sharper = probabilities**4 / (probabilities**4).sum(1, keepdims=True)
    assert calibration_error(reliability(sharper, y)) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", thinned([("model.batch_norm=true",), (), ("training.ema=0.9",), ("seed=3",), ("loss=mse",)])
)
def test_the_scores_are_those_of_the_run(commands: Commands, more: tuple[str, ...]) -> None:
    folder = commands.trained(*SMALL, *more)
    said = summary(folder)
    for split in ("test", "val"):
        outcome = commands.type("evaluate", f"run={folder}", f"split={split}", "device=cpu")
        assert outcome.code == 0, outcome.err
        found = json.loads((folder / "evaluation" / split / "evaluation.json").read_text())
        assert found["accuracy"] == pytest.approx(said["metrics"][f"{split}/accuracy"])
        assert found["loss"] == pytest.approx(said["metrics"][f"{split}/loss"], rel=1e-5)
        assert found["epoch"] == said["best_epoch"]
        table = pd.read_csv(folder / "evaluation" / split / "predictions.csv", dtype={"target": str, "prediction": str})
        assert len(table) == found["examples"]
        assert (table["target"] == table["prediction"]).mean() == pytest.approx(found["accuracy"])
        probabilities = table.filter(like="p(").to_numpy()
        assert probabilities.sum(1) == pytest.approx(np.ones(len(table)), abs=1e-4)
        if not more:
            names = [column[2:-1] for column in table.columns if column.startswith("p(")]
            assert log_loss(table["target"], probabilities, labels=names) == pytest.approx(found["loss"], rel=1e-4)
        assert {path.name for path in (folder / "evaluation" / split).iterdir()} == {
            "evaluation.json", "predictions.csv", "confusion.png", "calibration.png", "worst.png",
        }  # fmt: skip
    assert f"{found['accuracy']:.2%}" in outcome.out


@pytest.mark.slow
def test_the_best_of_a_sweep_are_chosen(commands: Commands) -> None:
    assert commands.train("-m", *SMALL, "optimizer=sgd,adam", "seed=1,2").code == 0
    (sweep,) = (commands.folder / "outputs" / "train").iterdir()
    table = pd.read_csv(sweep / "sweep.csv")
    best = table.sort_values("val/accuracy", ascending=False)["folder"].tolist()[:2]
    assert commands.type("evaluate", str(sweep), "best=2").code == 0
    assert {path.parent.name for path in sweep.glob("*/evaluation")} == set(best)


@pytest.mark.slow
def test_an_ensemble_is_the_mean_of_its_members(commands: Commands) -> None:
    assert commands.train("-m", *SMALL, "seed=1,2,3").code == 0
    (sweep,) = (commands.folder / "outputs" / "train").iterdir()
    assert commands.type("evaluate", f"run={sweep}").code == 0
    outcome = commands.type("evaluate", f"run={sweep}", "ensemble=mean")
    assert outcome.code == 0, outcome.err
    tables = [pd.read_csv(path / "evaluation" / "test" / "predictions.csv") for path in sorted(sweep.glob("0[0-2]_*"))]
    mean = np.mean([table.filter(like="p(").to_numpy() for table in tables], axis=0)
    written = pd.read_csv(sweep / "evaluation" / "ensemble_test" / "predictions.csv")
    np.testing.assert_allclose(written.filter(like="p(").to_numpy(), mean, atol=1e-8)
    found = json.loads((sweep / "evaluation" / "ensemble_test" / "evaluation.json").read_text())
    assert found["ensemble"]["accuracy"] == pytest.approx((mean.argmax(1) == tables[0]["target"]).mean())
    assert found["mean_accuracy"] == pytest.approx(np.mean([(t["target"] == t["prediction"]).mean() for t in tables]))
    assert found["ensemble"]["loss"] == pytest.approx(log_loss(tables[0]["target"], mean, labels=range(10)), rel=1e-6)
    assert re.search(r"^mean of the members .*\nensemble ", outcome.out, re.MULTILINE)
    other = commands.type("evaluate", f"run={sweep}", "ensemble=mean", "split=val")
    assert other.code == 2
    assert "only split=test is the same" in other.err
    one = commands.type("evaluate", f"run={sweep}", "ensemble=mean", "best=1")
    assert one.code == 2
    assert "needs two runs" in one.err


ATTACKS = {
    "os.system": {"model": {"_target_": "os.system", "command": "touch HIT"}},
    "builtins.exec": {"optimizer": {"_target_": "builtins.exec", "source": "open('HIT', 'w')"}},
    "a way out of torch": {"init": {"_target_": "torch.nn.init.math.sqrt"}},
    "in a list": {"data": {"augment": [{"_target_": "subprocess.call", "args": ["touch", "HIT"]}]}},
    "what writes elsewhere": {
        "data": {"_target_": "experiments.data.packed._publish", "finished": "outputs", "folder": "HIT", "facts": {}}
    },
    "pictures for a model": {
        "model": {"_target_": "experiments.data.pictures.image_folder", "path": ".", "size": 8, "cache": "HIT"}
    },
    "a private name": {"loss": {"_target_": "torch.nn.functional._pad", "input": 1, "pad": [1]}},
    "out of the package": {"model": {"_target_": "experiments.models.mlp.math.sqrt"}},
    "no text": {"model": {"_target_": ["os.system"]}},
    "environment": {"name": "${oc.env:HOME}"},
    "environment in a list": {"trust": ["${oc.env:HOME}"]},
    "trusts itself": {"trust": ["os"], "model": {"_target_": "os.system", "command": "touch HIT"}},
}


@pytest.mark.parametrize("planted", ATTACKS.values(), ids=ATTACKS.keys())
def test_a_strangers_configuration_cannot_name_code(
    commands: Commands, copied: Path, planted: dict[str, object]
) -> None:
    folder = copied
    path = folder / ".hydra" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    for key, value in planted.items():
        config[key] = (
            {**config[key], **value} if isinstance(config.get(key), dict) and isinstance(value, dict) else value
        )
    path.write_text(yaml.safe_dump(config))
    outcome = commands.type("evaluate", f"run={folder}")
    assert outcome.code == 2
    assert outcome.err.startswith("Error: ")
    assert outcome.err.count("\n") == 1
    assert not list(commands.folder.rglob("HIT"))
    assert not (folder / "evaluation").exists()


def test_a_tagged_object_is_not_created(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text(
        f"seed: !!python/object/apply:os.system ['touch {tmp_path}/HIT']\n"
    )
    with pytest.raises(Exception, match=r"is not a run folder: it has no readable \.hydra/config\.yaml"):
        configuration(tmp_path)
    assert not (tmp_path / "HIT").exists()


class Planted:
    """Unpickles as a call."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path(self.path),)


def test_a_checkpoint_runs_no_code(commands: Commands, copied: Path) -> None:
    folder = copied
    hit = commands.folder / "HIT"
    for name in ("best.pt", "last.pt"):
        path = folder / "checkpoints" / name
        path.unlink()
        torch.save({"program": Planted(str(hit))}, path)
    outcome = commands.type("evaluate", f"run={folder}")
    assert outcome.code == 2
    assert "cannot be evaluated" in outcome.err
    assert not hit.exists()


def test_a_checkpoint_takes_no_more_memory_than_it_has_bytes(commands: Commands, copied: Path) -> None:
    for name in ("best.pt", "last.pt"):
        path = copied / "checkpoints" / name
        path.unlink()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("best/data.pkl", pickle.dumps({}))
            archive.writestr("best/data/0", bytes(2**24))
    outcome = commands.type("evaluate", f"run={copied}")
    assert outcome.code == 2
    assert "best.pt cannot be used" in outcome.err
    assert "compressed entries" in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("name", ["data.json", ".hydra/config.yaml", "checkpoints/best.pt"])
def test_a_pipe_in_a_folder_is_not_waited_for(commands: Commands, copied: Path, name: str) -> None:
    path = copied / name
    path.unlink()
    os.mkfifo(path)
    outcome = commands.type("evaluate", f"run={copied}")
    assert outcome.code == (0 if name == "checkpoints/best.pt" else 2), "last.pt is there still"
    assert outcome.err.count("\n") <= 1


@pytest.mark.slow
def test_the_cache_of_a_strangers_configuration_is_not_written(
    commands: Commands, copied: Path, tmp_path: Path
) -> None:
    folder = copied
    path = folder / ".hydra" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["data"] = {
        **{k: v for k, v in config["data"].items() if k != "_target_"},
        "_target_": "experiments.data.pictures.image_folder",
        "path": str(tmp_path / "pictures"),
        "size": 8,
        "cache": str(tmp_path / "elsewhere"),
    }
    path.write_text(yaml.safe_dump(config))
    assert commands.type("evaluate", f"run={folder}").code == 2
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), ""),
        (("run=nowhere",), "'nowhere' does not exist"),
        (("run={empty}",), "is not a run folder, and contains none"),
        (("run={run}", "split=tset"), "did you mean 'split=test'?"),
        (("run={run}", "splt=test"), "did you mean 'split'?"),
        (("run={run}", "best=0"), "best=0 should"),
        (("run={none}", "split=val"), "it has train, test"),
        (("run={bare}",), "it has no checkpoint"),
    ],
)
def test_folders_that_cannot_be_evaluated_are_refused(
    commands: Commands, copied: Path, arguments: tuple[str, ...], said: str
) -> None:
    run = copied
    none = (
        commands.trained(*SMALL, "data.val_fraction=0", "objective=train/loss") if "{none}" in str(arguments) else run
    )
    bare, empty = commands.folder / "bare", commands.folder / "empty"
    shutil.copytree(run, bare)
    shutil.rmtree(bare / "checkpoints")
    empty.mkdir()
    words = [word.format(run=run, none=none, bare=bare, empty=empty) for word in arguments]
    outcome = commands.type("evaluate", *words)
    assert outcome.code == 2
    assert said in (outcome.err or outcome.out)


@pytest.mark.parametrize("link", ["evaluation", "evaluation/test"])
def test_a_link_is_not_written_through(commands: Commands, copied: Path, tmp_path: Path, link: str) -> None:
    folder, elsewhere = copied, tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / link).parent.mkdir(exist_ok=True)
    (folder / link).symlink_to(elsewhere)
    outcome = commands.type("evaluate", f"run={folder}")
    assert outcome.code == 2
    assert "is a link" in outcome.err
    assert not list(elsewhere.iterdir())


@pytest.fixture
def best_lost(copied: Path) -> Path:
    """A run whose best epoch is 1 of 2, and whose checkpoint of it is cut to half."""
    last, best = (copied / "checkpoints" / f"{name}.pt" for name in ("last", "best"))
    state = torch.load(last, weights_only=True)
    rows = json.loads(state["history"])
    rows[0]["val/accuracy"], rows[1]["val/accuracy"] = 0.9, 0.1
    content = last.read_bytes()
    best.unlink()
    best.write_bytes(content[: len(content) // 2])
    last.unlink()
    torch.save({**state, "history": json.dumps(rows)}, last)
    return copied


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["evaluate", "evaluate input", "export"])
def test_a_broken_best_checkpoint_is_reported(commands: Commands, best_lost: Path, verb: str) -> None:
    verb, *more = verb.split()
    if more:
        np.savez("x.npz", x=np.zeros((2, 1, 8, 8), np.uint8))
    words = (f"run={best_lost}", *("input=x.npz" for _ in more), *(["format=torch"] if verb == "export" else []))
    outcome = commands.type(verb, *words)
    assert outcome.code == 0, outcome.err
    said = " ".join(outcome.out.split())
    assert "warning: copied: best.pt of epoch 1, the best one, cannot be used (" in said
    assert "; last.pt is used instead, with weights of epoch 2" in said
    if verb == "export":
        assert "weights of epoch 2" in json.loads((best_lost / "export" / "model.json").read_text())["note"]
    elif not more:
        written = json.loads((best_lost / "evaluation" / "test" / "evaluation.json").read_text())
        assert (written["epoch"], "weights of epoch 2" in written["note"]) == (2, True)
    strict = commands.type(verb, *words, "strict=true")
    assert (strict.code, strict.err.count("\n")) == (1, 1)
    assert "without strict=true these weights are used" in strict.err


def test_a_missing_best_checkpoint_is_reported_too(best_lost: Path) -> None:
    (best_lost / "checkpoints" / "best.pt").unlink()
    with pytest.warns(UserWarning, match=r"best\.pt of epoch 1, the best one, is missing; last\.pt is used instead"):
        assert load(best_lost).epoch == 2


def test_there_is_no_warning_if_the_last_checkpoint_is_the_best(copied: Path) -> None:
    state = torch.load(copied / "checkpoints" / "last.pt", weights_only=True)
    rows = json.loads(state["history"])
    rows[0]["val/accuracy"], rows[1]["val/accuracy"] = 0.1, 0.9
    torch.save({**state, "history": json.dumps(rows)}, copied / "checkpoints" / "last.pt")
    (copied / "checkpoints" / "best.pt").unlink(missing_ok=True)
    assert load(copied, strict=True).note is None
