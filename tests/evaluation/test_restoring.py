"""A trained run is restored from its folder alone: the same numbers to the bit, without its data set."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from experiments import assembly
from experiments.assembly._datasets import Splitting, loaded
from experiments.assembly.run import assembled
from experiments.assembly.targets import divided
from experiments.common.errors import UserError
from experiments.common.screen import Screen
from experiments.data.sources import Source
from experiments.evaluation.evaluating import evaluated
from experiments.evaluation.loading import Restored, configuration, load
from experiments.folders.run import RunFolder
from tests.helpers import SMALL, Commands, summary, thinned

CPU = torch.device("cpu")


def own_scores(folder: Path, split: str = "test") -> torch.Tensor:
    """Return the scores by the objects that the run was trained with, its preparation fitted anew."""
    config = configuration(folder)
    general, settings, run = assembly.general(config), assembly.training(config), RunFolder(folder)
    parts = assembled(config, general, settings, CPU, run, Screen(quiet=True))
    parts.program.load_model(0, run.load(run.best if run.best.exists() else run.last)["program"])
    return parts.program.scores(0, split)


def raw(run: Restored) -> Source:
    """Return a run's data set as it came."""
    _, own = divided(run.config["data"], Splitting)
    return loaded(own)


@pytest.fixture
def fruit(tmp_path: Path) -> Path:
    """A table with texts, truths, and cells that are missing."""
    draw = np.random.default_rng(0)
    kinds, truths, sizes = ["b", "a", "c"], ["true", "False"], draw.normal(size=200)
    lines = ["size,kind,sweet,weight,species"]
    for number, size in enumerate(sizes):
        kind = "" if number % 17 == 3 else kinds[number % 3]
        sweet = "" if number % 19 == 4 else truths[number % 2]
        shown = "NA" if number % 23 == 5 else f"{size:.6f}"
        lines.append(f"{shown},{kind},{sweet},{draw.normal():.6f},{'pear' if size > 0 else 'apple'}")
    path = tmp_path / "own.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


PARITY = {
    "mlp with BatchNorm": ("model.batch_norm=true",),
    "cnn": ("model=cnn", "model.batch_norm=true", "model.dropout=0.3", "training.channels_last=true"),
    "zca": ("data.preprocess=zca",),
    "pca_whiten": ("data.preprocess=pca_whiten", "training.eval_batch_size=100"),
    "scale": ("data.preprocess=scale",),
    "none": ("data.preprocess=none",),
    "pixel_mean, fp64": ("data.preprocess=pixel_mean", "training.precision=fp64"),
    "zca, fp64": ("data.preprocess=zca", "training.precision=fp64"),
    "bf16": ("training.precision=bf16",),
    "ema": ("training.ema=0.9", "model.batch_norm=true"),
    "swa": ("training.swa=1", "model.batch_norm=true"),
    "lsuv": ("init=lsuv", "model.activation=tanh"),
    "points": ("data=moons", "data.examples=300"),
}


@pytest.mark.slow
@pytest.mark.parametrize("more", thinned(PARITY.values()), ids=PARITY.keys())
def test_the_scores_have_the_bits_of_the_run(commands: Commands, more: tuple[str, ...]) -> None:
    small = [word for word in SMALL if not (word.startswith("model.hidden") and "model=cnn" in more)]
    folder = commands.trained(*small, *more)
    run = load(folder, device="cpu")
    assert (folder / "data.json").exists()
    assert torch.equal(run.scores(raw(run).x_test), own_scores(folder))
    for split in ("test", "val"):
        found, scores, probabilities = evaluated(run, split)
        assert torch.equal(probabilities, scores.double().softmax(1))
        assert found.loss == summary(folder)["metrics"][f"{split}/loss"]
        assert found.accuracy == summary(folder)["metrics"][f"{split}/accuracy"]


@pytest.mark.slow
def test_a_table_with_gaps_is_restored_without_it(commands: Commands, fruit: Path) -> None:
    folder = commands.trained(*SMALL, "data=csv", f"data.path={fruit}", "data.target=species", "data.missing=mean")
    own, x = own_scores(folder), raw(load(folder)).x_test
    fruit.unlink()
    assert x.isnan().any()
    assert torch.equal(load(folder, device="cpu").scores(x), own)


@pytest.mark.slow
def test_a_single_example_is_classified_as_in_a_batch(commands: Commands) -> None:
    run = load(commands.trained(*SMALL, "model.batch_norm=true"), device="cpu")
    x = raw(run).x_test[:8]
    torch.testing.assert_close(run.scores(x[:1]), run.scores(x)[:1], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_another_checkpoint_is_restored_by_its_name(commands: Commands) -> None:
    folder = commands.trained(*SMALL, "training.epochs=3")
    last = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
    (folder / "checkpoints" / "last.pt").rename(folder / "checkpoints" / "epoch_003.pt")
    run = load(folder, checkpoint="epoch_003.pt")
    assert run.epoch == 3
    for name, weight in run.model.state_dict().items():
        assert torch.equal(weight, last["program"]["model"][name])
    for name, said in (
        ("epoch_004.pt", "no checkpoint 'epoch_004.pt'"),
        ("../summary.json", "is not the name of a file in checkpoints/"),
    ):
        with pytest.raises(UserError, match=said):
            load(folder, checkpoint=name)


@pytest.mark.slow
def test_an_old_run_without_a_description_is_restored(commands: Commands) -> None:
    folder = commands.trained(*SMALL, "data.preprocess=zca")
    own = own_scores(folder)
    (folder / "data.json").unlink()
    run = load(folder, device="cpu")
    assert torch.equal(run.scores(raw(run).x_test), own)


@pytest.mark.slow
def test_a_users_preparation_is_fitted_again(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    (commands.folder / "own_preparation.py").write_text(
        "class Halved:\n"
        "    def __init__(self, x): self.scale = self.shift = x.float().mean()\n"
        "    def __call__(self, x): return (x.float() - self.scale) / 2\n"
        "    def state_dict(self): return {'shift': self.shift, 'scale': self.scale}\n"
    )
    monkeypatch.syspath_prepend(str(commands.folder))
    folder = commands.trained(*SMALL, "data.preprocess={_target_:own_preparation.Halved}")
    with pytest.raises(UserError, match="add trust=own_preparation"):
        load(folder)
    run = load(folder, trust=["own_preparation"], device="cpu")
    assert type(run.prepare).__name__ == "Halved"
    assert run.scores(raw(run).x_test).argmax(1).eq(raw(run).y_test).double().mean().item() == pytest.approx(
        summary(folder)["metrics"]["test/accuracy"]
    )


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("shape", [1, 4, 4], "another architecture"),
        ("shape", [64], "another shape"),
        ("shape", [1, 100_000, 100_000], "values"),
        ("shape", "wide", "data.json is damaged"),
        ("classes", ["0", "1"], "another architecture"),
        ("form", {"kind": "os.system"}, "data.json is damaged"),
    ],
)
def test_a_description_that_is_not_the_runs_is_refused(copied: Path, key: str, value: object, said: str) -> None:
    path = copied / "data.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(UserError, match=said) as error:
        load(copied)
    assert "\n" not in str(error.value)


def test_a_model_larger_than_its_checkpoint_takes_no_memory(copied: Path) -> None:
    path = copied / ".hydra" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"]["hidden"] = [300_000, 300_000]  # 360 GB
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match="it has another architecture"):
        load(copied)
