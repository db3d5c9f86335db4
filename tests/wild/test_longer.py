"""A run that is resumed with more epochs than planned: its learning rate does not jump unless that is asked for."""

from pathlib import Path

import pytest

from experiments import schedules
from experiments.folders.run import RunFolder
from experiments.runs.job import Job
from experiments.runs.together import train_together
from experiments.training.stop import Stop
from tests.helpers import NO_PICTURES, Commands, composed, metrics, run_folders, summary

TINY = (
    "data.limit=40",
    "training.batch_size=8",
    "model.hidden=[6]",
    "observers.tensorboard.enabled=false",
    NO_PICTURES,
)
STEPS, RATE, PLANNED, LONGER = 5, 0.1, 4, 7
"""Updates per epoch, the rate before the schedule, and the epochs of the first and of the resumed command."""
CURVES = {
    "cosine": schedules.cosine,
    "linear": schedules.linear,
    "one_cycle": schedules.one_cycle,
    "step": lambda progress: schedules.step(progress, every=0.3333333333),
    "multistep": schedules.multistep,
    "exponential": schedules.exponential,
}
FLOORS = {"cosine": 0.0, "linear": 0.0, "one_cycle": 1e-5, "step": 1e-3, "multistep": 1e-3, "exponential": 1e-3}
"""The rate after the planned end."""


def rates(folder: Path) -> list[float]:
    """The rate of the last update of each epoch."""
    assert metrics(folder)[0]["step"] == str(STEPS)
    return [float(row["lr"]) for row in metrics(folder)]


def expected(schedule: str, epochs: int) -> list[float]:
    """The same rates of a run that was asked for this many epochs at first."""
    return [RATE * CURVES[schedule]((epoch * STEPS - 1) / (epochs * STEPS)) for epoch in range(1, epochs + 1)]


def begun(commands: Commands, *words: str) -> Path:
    """A run that has ended as planned."""
    return commands.trained(*TINY, f"optimizer.lr={RATE}", f"training.epochs={PLANNED}", *words)


@pytest.mark.parametrize(
    "schedule", [*list(CURVES)[:4], *(pytest.param(c, marks=pytest.mark.slow) for c in list(CURVES)[4:])]
)
def test_the_planned_schedule_keeps_its_last_rate(commands: Commands, schedule: str) -> None:
    folder = begun(commands, f"scheduler={schedule}")
    assert rates(folder) == pytest.approx(expected(schedule, PLANNED), rel=1e-12)
    longer = commands.train(f"resume={folder}", f"training.epochs={LONGER}")
    assert longer.code == 0, longer.err
    floor = [FLOORS[schedule]] * (LONGER - PLANNED)
    assert rates(folder) == pytest.approx([*expected(schedule, PLANNED), *floor], rel=1e-9)
    stretched = RATE * CURVES[schedule](PLANNED / LONGER)
    nothing = " (nothing is learnt)" if FLOORS[schedule] == 0 else ""
    assert (
        f"The schedule of the learning rate was planned for 4 epochs; after them it stays at {FLOORS[schedule]:.3g}"
        f"{nothing}; scheduler.horizon=stretched fits it to 7, with a rate of {stretched:.3g} now"
    ) in longer.out
    again = commands.train(f"resume={folder}", "training.epochs=8")
    assert rates(folder)[PLANNED:] == pytest.approx([*floor, FLOORS[schedule]], rel=1e-9), again.out


@pytest.mark.parametrize(
    "schedule", ["cosine", "one_cycle", *(pytest.param(c, marks=pytest.mark.slow) for c in ("step", "linear"))]
)
def test_a_stretched_schedule_fits_the_new_number_of_epochs(commands: Commands, schedule: str) -> None:
    folder = begun(commands, f"scheduler={schedule}")
    longer = commands.train(f"resume={folder}", f"training.epochs={LONGER}", "scheduler.horizon=stretched")
    assert longer.code == 0, longer.err
    assert rates(folder) == pytest.approx(
        [*expected(schedule, PLANNED), *expected(schedule, LONGER)[PLANNED:]], rel=1e-12
    )
    now, last = RATE * CURVES[schedule](PLANNED / LONGER), expected(schedule, LONGER)[-1]
    assert (
        f"The schedule of the learning rate was planned for 4 epochs and is stretched to 7: "
        f"the rate changes from {expected(schedule, PLANNED)[-1]:.3g} to {now:.3g} now, and ends at {last:.3g}"
    ) in longer.out
    again = commands.train(f"resume={folder}", "training.epochs=9", "scheduler.horizon=planned")
    assert again.code == 0, again.err
    assert ("was planned for 7 epochs; after them it stays at" in again.out) is (schedule != "step")  # the same rate
    floor = FLOORS[schedule]
    assert rates(folder)[LONGER:] == pytest.approx([floor, floor], rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("words", [("scheduler=constant",), ("scheduler=plateau", "scheduler.patience=1")])
def test_nothing_is_said_of_a_rate_that_does_not_depend_on_the_epochs(
    commands: Commands, words: tuple[str, ...]
) -> None:
    folder = begun(commands, *words)
    longer = commands.train(f"resume={folder}", f"training.epochs={LONGER}")
    assert longer.code == 0, longer.err
    assert "The schedule of the learning rate" not in longer.out
    assert len(rates(folder)) == LONGER


def test_a_warm_up_and_a_checkpoint_without_the_horizon(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a run before there was a horizon: the number of epochs is that of its configuration."""
    from experiments.training import engine

    real = engine.state_of
    monkeypatch.setattr(engine, "state_of", lambda *given: {k: v for k, v in real(*given).items() if k != "horizon"})
    folder = begun(commands, "scheduler=cosine", "scheduler.warmup=0.25")
    monkeypatch.undo()
    monkeypatch.chdir(commands.folder)
    before = rates(folder)
    longer = Commands(commands.folder, commands._capture, monkeypatch).train(f"resume={folder}", "training.epochs=6")
    assert longer.code == 0, longer.err
    assert rates(folder) == [*before, 0.0, 0.0]


@pytest.mark.slow
@pytest.mark.parametrize("horizon", ["planned", "stretched"])
def test_the_same_in_a_stack(commands: Commands, horizon: str) -> None:
    words = (*TINY, "scheduler=cosine", f"optimizer.lr={RATE}")
    assert commands.train("-m", *words, f"training.epochs={PLANNED}", "seed=1,2").code == 0
    folders = run_folders(commands.folder)
    jobs = []
    for seed, folder in enumerate(folders, 1):
        own = [*words, f"seed={seed}", f"training.epochs={LONGER}", f"scheduler.horizon={horizon}"]
        off = ["observers.regions.enabled=false"]
        jobs.append(Job({**composed(*own, *off), "resume": str(folder)}, RunFolder(folder), {}, own))
    ended: list[str] = []
    train_together(jobs, Stop(), lambda run: ended.append(str(run.error)), print)
    assert ended == ["None", "None"]
    rest = [0.0] * 3 if horizon == "planned" else expected("cosine", LONGER)[PLANNED:]
    for folder in folders:
        assert summary(folder)["trained_together"] == 2
        assert rates(folder) == pytest.approx([*expected("cosine", PLANNED), *rest], rel=1e-12)
        assert "The schedule of the learning rate was planned for 4 epochs" in (folder / "train.log").read_text()


def test_a_horizon_that_does_not_exist(commands: Commands) -> None:
    outcome = commands.train("scheduler.horizon=stretch")
    assert outcome.code == 2
    assert "scheduler.horizon='stretch' should be 'planned' or 'stretched'" in outcome.err
    assert "did you mean 'scheduler.horizon=stretched'?" in outcome.err
