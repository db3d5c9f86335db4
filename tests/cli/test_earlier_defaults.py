"""Runs and sweeps that were started with the defaults of an earlier version keep them."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from experiments import compose
from experiments.cli.resuming import resumed_command_line, saved_overrides
from experiments.common.keys import earlier_choices, flattened
from tests.helpers import NO_PICTURES, REPOSITORY, Commands, composed, metrics, table

EARLIER = ("init=he", "optimizer=adam")
SMALL = ("data.limit=64", "model.hidden=[4]", "training.epochs=1", NO_PICTURES, "observers.tensorboard.enabled=false")
OLD_RUN = REPOSITORY / "tests" / "fixtures" / "before_packages" / "run"


def losses(sweep: Path) -> list[float]:
    """Return the losses of the runs of a sweep, by seed."""
    return [float(metrics(run)[-1]["val/loss"]) for run in sorted(sweep.glob("*_seed=*"))]


def forget(path: Path) -> None:
    """Remove the choices from saved overrides, as if they had been the defaults."""
    kept = [line for line in path.read_text().splitlines() if line.removeprefix("- ") not in EARLIER]
    path.write_text("\n".join(kept) + "\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (EARLIER, list(EARLIER)),
        (("init=he", "optimizer=adam", "optimizer.lr=0.01"), ["init=he"]),
        (("init=xavier", "optimizer=adam"), ["optimizer=adam"]),
        (("init=he", "optimizer=sgd"), ["init=he"]),
        (("init=xavier_biases", "optimizer=adam_short"), ["init=xavier_biases"]),
        ((), []),
    ],
)
def test_a_configuration_shows_the_earlier_defaults(words: Sequence[str], expected: list[str]) -> None:
    assert earlier_choices(flattened(composed(*words)), []) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["init"], ["optimizer=adam"]),
        (["init._target_"], ["optimizer=adam"]),
        (["optimizer.lr", "init.gain"], ["init=he"]),
        (["experiment"], []),
    ],
)
def test_what_was_typed_is_not_replaced(given: list[str], expected: list[str]) -> None:
    assert earlier_choices(flattened(composed(*EARLIER)), given) == expected


def test_a_run_of_an_earlier_version_is_composed_as_it_was(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(OLD_RUN, tmp_path / "run"))
    words = resumed_command_line([f"resume={folder}"])
    assert words[:2] == ["init=he", "optimizer=adam"]
    assert saved_overrides(folder)[:2] == ["init=he", "optimizer=adam"]
    saved = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())
    config = compose(f"resume={folder}").plain()
    assert {**config["init"], **config["optimizer"]} == {**saved["init"], **saved["optimizer"]}


@pytest.mark.slow
@pytest.mark.parametrize("resume", ["folder", "latest"])
def test_a_sweep_of_an_earlier_version_is_resumed(commands: Commands, resume: str) -> None:
    command = ("-m", *SMALL, "seed=1,2")
    assert commands.train(*command, *EARLIER).code == 0
    (folder,) = Path("outputs/train").iterdir()
    before = losses(folder)
    for path in [folder / "sweep.yaml", *folder.glob("*/.hydra/overrides.yaml")]:
        forget(path)
    (lost,) = folder.glob("*_seed=2")
    shutil.rmtree(lost)
    for _ in range(2):  # the second time, the choices are among the noted ones
        outcome = commands.train(*command, f"resume={folder if resume == 'folder' else 'latest'}")
        assert outcome.code == 0, outcome.err
        assert losses(folder) == pytest.approx(before, rel=1e-5), "one of them was in a stack"
        assert [row["overrides"] for row in table(folder / "sweep.csv")] == ["seed=1", "seed=2"]
    assert commands.train(*command, "init=xavier", f"resume={folder}").code == 2


@pytest.mark.slow
def test_a_sweep_of_these_defaults_is_resumed_with_them(commands: Commands) -> None:
    command = ("-m", *SMALL, "seed=1,2", "optimizer.lr=0.001")
    assert commands.train(*command).code == 0
    (folder,) = Path("outputs/train").iterdir()
    before = (folder / "sweep.yaml").read_text()
    assert commands.train(*command, "resume=latest").code == 0
    assert (folder / "sweep.yaml").read_text() == before
