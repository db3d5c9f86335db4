"""Runs and checkpoints evaluated together: against sums by hand, and as one stack against one by one."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from experiments.data.batches import Split
from experiments.data.preprocess import Affine
from experiments.evaluation.loading import load
from experiments.training.averaging import refresh_statistics, soup
from experiments.training.stack import scores_together
from tests.helpers import SMALL, Commands, run, run_folders, weights
from tests.search.searches import searched

KEPT = (*SMALL, "training.epochs=6", "training.keep_checkpoints=every:2", "observers.layers.enabled=false")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of a network with BatchNorm, and of another with an average of its weights."""
    folder = tmp_path_factory.mktemp("sweep")
    average = "sweep.zip=[[model.batch_norm,training.ema],[true,null],[false,0.9]]"
    assert run(folder, "-m", *KEPT, average, "seed=1,2").code == 0
    return run_folders(folder)[0].parent


def copied(commands: Commands, sweep: Path, *numbers: int) -> list[Path]:
    """Copies of runs of the sweep, by their numbers."""
    found = [next(sweep.glob(f"{number:02d}_*")) for number in numbers]
    return [Path(shutil.copytree(path, commands.folder / path.name)) for path in found]


def evaluated(commands: Commands, *words: object) -> tuple[dict[str, Any], np.ndarray, str]:
    """Evaluate together; returns what is written, the probabilities, and what is printed."""
    outcome = commands.type("evaluate", *map(str, words))
    assert outcome.code == 0, outcome.err
    (written,) = re.findall(r"written\s+(\S+)", outcome.out)
    table = pd.read_csv(commands.folder / written / "predictions.csv")
    found = json.loads((commands.folder / written / "evaluation.json").read_text())
    return found, table.filter(like="p(").to_numpy(), outcome.out


def test_the_kept_checkpoints_of_a_run(commands: Commands, sweep: Path) -> None:
    (folder,) = copied(commands, sweep, 0)
    found, mean, said = evaluated(commands, folder, "ensemble=mean")
    members = [load(folder, checkpoint=f"epoch_{epoch:03d}.pt") for epoch in (2, 4, 6)]
    split = members[0].data.splits["test"]
    probabilities = [torch.cat([s for s, _ in member.batches(split)]).double().softmax(1) for member in members]
    np.testing.assert_allclose(mean, torch.stack(probabilities).mean(0), atol=1e-6)
    assert [member["epoch"] for member in found["members"]] == [2, 4, 6]
    for member, own in zip(found["members"], probabilities, strict=True):
        assert member["accuracy"] == (own.argmax(1) == split.y).double().mean().item()
        assert member["loss"] == pytest.approx(nn.functional.nll_loss(own.log(), split.y).item(), rel=1e-6)
    for name in ("epoch 2", "mean of the members", "ensemble", "uniform soup", "best epoch", r"last epoch \(6\)"):
        assert re.search(f"^{name}", said, re.MULTILINE), name
    assert found["beside"]["last epoch (6)"]["loss"] == found["members"][-1]["loss"]


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [(0,), (2,), (0, 1, 2, 3)], ids=["checkpoints", "averages", "runs"])
def test_the_loss_of_an_ensemble_is_at_most_the_mean_loss(
    commands: Commands, sweep: Path, numbers: tuple[int, ...]
) -> None:
    folders = copied(commands, sweep, *numbers)
    for split in ("test", "val", "train") if len(numbers) == 1 else ("test",):
        found, _, said = evaluated(commands, *folders, "ensemble=mean", f"split={split}")
        assert found["ensemble"]["loss"] <= found["mean_loss"]
        for name in ("loss", "accuracy"):  # Python 3.12 adds more exactly than numpy
            mean = np.mean([member[name] for member in found["members"]])
            assert found[f"mean_{name}"] == pytest.approx(mean, rel=1e-12)
    assert ("no uniform soup" in said) == ("soup" not in found) == (len(numbers) == 4)


def test_an_average_is_listed_next_to_its_weights(commands: Commands, sweep: Path) -> None:
    (folder,) = copied(commands, sweep, 2)
    found, _, _ = evaluated(commands, folder, "ensemble=mean")
    average, trained = found["beside"]["EMA (6)"], found["beside"]["last epoch (6)"]
    assert average["loss"] == found["members"][-1]["loss"] != trained["loss"]
    run = load(folder)
    run.model.load_state_dict(torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["program"]["trained"])
    split = run.data.splits["test"]
    scores = torch.cat([scores for scores, _ in run.batches(split)])
    assert trained["loss"] == pytest.approx(nn.functional.cross_entropy(scores, split.y).item(), rel=1e-5)


def test_a_soup_has_the_mean_of_the_weights(commands: Commands, sweep: Path) -> None:
    (folder,) = copied(commands, sweep, 0)
    _, probabilities, _ = evaluated(commands, folder, "ensemble=soup")
    states = [weights(folder, f"epoch_{epoch:03d}") for epoch in (2, 4, 6)]
    run = load(folder)
    for name, parameter in run.model.named_parameters():
        parameter.copy_(torch.stack([state[name] for state in states]).mean(0))
    batches = (x for x, _ in run.data.splits["train"].in_order(run.settings.eval_batch_size))
    stale = torch.cat([scores for scores, _ in run.batches(run.data.splits["test"])]).double().softmax(1)
    refresh_statistics(run.model, run.model, batches)
    expected = torch.cat([scores for scores, _ in run.batches(run.data.splits["test"])]).double().softmax(1)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert not np.allclose(probabilities, stale, atol=1e-3), "BatchNorm's statistics are computed anew"


def test_soups_of_runs_with_different_starts_are_called_useless(commands: Commands, sweep: Path) -> None:
    found, _, said = evaluated(commands, *copied(commands, sweep, 0, 1), "ensemble=mean")
    worse = found["soup"]["high"] < min(member["low"] for member in found["members"])
    assert ("worse than every member" in said) == worse


def test_a_mean_of_weights_written_out() -> None:
    models = [nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)).eval() for _ in range(3)]
    for number, model in enumerate(models):
        for tensor in [*model.parameters(), model.get_buffer("1.running_mean")]:
            tensor.data.fill_([1.0, 2.0, 6.0][number])
    before = [{name: tensor.clone() for name, tensor in model.state_dict().items()} for model in models]
    made = soup(models)
    assert [tensor.item() for tensor in made.parameters()] == pytest.approx([3, 3, 3, 3])
    assert made.get_buffer("1.running_mean").item() == pytest.approx(3)
    for model, state in zip(models, before, strict=True):
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


class Own(nn.Module):
    """Keeps a number that is neither parameter nor buffer."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number, self.linear = number, nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return (examples, 3)."""
        return self.linear(x) * self.number


def mlp(norm: bool) -> nn.Module:
    """A small network, with BatchNorm or with Dropout."""
    inner = nn.BatchNorm1d(8) if norm else nn.Dropout(0.5)
    return nn.Sequential(nn.Linear(6, 8), inner, nn.ReLU(), nn.Linear(8, 3))


def models(kind: str, count: int = 5) -> list[nn.Module]:
    """Models of one architecture with weights and statistics of their own."""
    made = []
    for number in range(count):
        torch.manual_seed(number)
        model = Own(1.0 + number) if kind == "own" else mlp(kind == "norm")
        for _ in range(3):
            model(torch.randn(20, 6))
        made.append(model.eval().requires_grad_(False))
    return made


def examples(count: int, preparations: int) -> list[Split]:
    """The same examples with preparations of their own, or as one object."""
    x, y = torch.randint(0, 255, (count, 6), dtype=torch.uint8), torch.zeros(count, dtype=torch.int64)
    made = [
        Split(x, y, Affine(torch.tensor(float(k)), torch.tensor(0.1 + k)), torch.device("cpu"))
        for k in range(preparations)
    ]
    return made if preparations > 1 else made * 5


@pytest.mark.parametrize("kind", ["mlp", "norm"])
@pytest.mark.parametrize("preparations", [1, 5])
@pytest.mark.parametrize("at_once", [1, 2**24])
def test_a_stack_gives_the_scores_of_each_member(
    kind: str, preparations: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.training.stack._evaluating.AT_ONCE", at_once)
    own, splits = models(kind), examples(23, preparations)
    together = scores_together(own, splits, size=10)
    for model, split, scores in zip(own, splits, together, strict=True):
        alone = torch.cat([model(x) for x, _ in split.in_order(10)])
        torch.testing.assert_close(scores.softmax(1), alone.softmax(1), rtol=1e-6, atol=1e-6)
        assert torch.equal(scores.argmax(1), alone.argmax(1))


def test_a_model_that_is_not_its_weights_is_not_called_as_one() -> None:
    with pytest.raises(ValueError, match="give different scores"):
        scores_together(models("own"), examples(4, 1), size=10)


@pytest.mark.slow
def test_unusable_trials_of_a_search_are_left_out_and_named(commands: Commands) -> None:
    outcome = searched(commands, "optimizer=sgd", "optimizer.lr=choice(0.1,0.2,1e30)", sampler="grid", n_trials=3)
    assert outcome.code in (0, 1), outcome.err
    folder = commands.folder / "outputs" / "s"
    broken = Path(shutil.copytree(next(folder.glob("00_*")), folder / "9_failed"))
    shutil.rmtree(broken / "checkpoints")
    found, _, said = evaluated(commands, folder, "ensemble=mean")
    assert len(found["members"]) == 2
    named = " ".join(said.split())
    assert re.search(r"left out '?\S*9_failed'? cannot be evaluated: it has no checkpoint", named)
    assert re.search(r"1e\+?30.*it has not finished an epoch", named)


@pytest.mark.parametrize(
    ("numbers", "words", "said"),
    [
        ((0, 2), ("ensemble=soup",), "have different architectures; a mean of weights needs the same"),
        ((0, 1), ("ensemble=mean", "split=val"), "with different seeds only split=test is the same"),
        ((0,), ("ensemble=maen",), "did you mean 'ensemble=mean'?"),
    ],
)
def test_impossible_ensembles_are_refused(
    commands: Commands, sweep: Path, numbers: tuple[int, ...], words: tuple[str, ...], said: str
) -> None:
    outcome = commands.type("evaluate", *map(str, copied(commands, sweep, *numbers)), *words)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert said in outcome.err
    assert not list(commands.folder.rglob("evaluation"))


def test_one_run_without_kept_checkpoints(commands: Commands, sweep: Path) -> None:
    (folder,) = copied(commands, sweep, 0)
    for path in sorted((folder / "checkpoints").glob("epoch_*"))[1:]:
        path.unlink()
    outcome = commands.type("evaluate", str(folder), "ensemble=mean")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "training.keep_checkpoints=every:5" in outcome.err
    assert outcome.err.strip().endswith("is one run with 1 kept checkpoint")


@pytest.mark.slow
def test_other_classes(commands: Commands, sweep: Path) -> None:
    other = commands.trained("data=moons", *[word for word in SMALL if "limit" not in word])
    outcome = commands.type("evaluate", *map(str, [*copied(commands, sweep, 0), other]), "ensemble=mean")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "have different classes" in outcome.err
