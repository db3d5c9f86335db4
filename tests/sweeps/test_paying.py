"""When runs are trained as a stack."""

import pytest

from experiments.sweeps._paying import MEASURED, SMALLEST, smallest_stack
from experiments.sweeps._plan import Planned, described, plan
from tests.helpers import SMALL, Commands, composed, run_folders, summary

REASON = "fewer than 8 runs are faster one after another"


def test_the_table_gives_the_smallest_stack_that_is_faster() -> None:
    assert [size for size, times in MEASURED.items() if times > 1] == [8]


@pytest.mark.parametrize(
    ("devices", "cuda", "kind"),
    [
        ({"cpu"}, True, "cpu"),
        ({"auto"}, False, "cpu"),
        ({"auto", "cpu"}, False, "cpu"),
        ({"auto"}, True, "cuda"),
        ({"cuda:1"}, True, "cuda"),
    ],
)
def test_it_depends_on_the_device(monkeypatch: pytest.MonkeyPatch, devices: set[str], cuda: bool, kind: str) -> None:
    monkeypatch.setitem(SMALLEST, "cpu", 8)
    assert smallest_stack(devices, cuda=cuda) == {"cpu": 8, "cuda": 1}[kind]


def test_few_runs_are_planned_one_after_another_and_the_plan_says_so() -> None:
    seeds = [composed(*SMALL, f"seed={seed}") for seed in range(10)]
    planned = plan(seeds, 8, 8)
    assert planned == [Planned(tuple(range(8))), Planned((8,), REASON), Planned((9,), REASON)]
    assert described(planned, seeds) == [
        "10 runs in 1 stack and 2 on their own",
        "  stack 1: 8 runs, #0 to #7",
        f"  on their own: #8, #9, {REASON}",
    ]
    assert plan(seeds[:5], 64) == [Planned(tuple(range(5)))]
    assert plan(seeds[:1], 64, 8) == [Planned((0,))]


@pytest.mark.parametrize(("words", "together"), [((), None), (("hydra.launcher.max_stack=64",), 2)], ids=str)
def test_a_number_of_runs_in_a_stack_is_obeyed(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], together: int | None
) -> None:
    monkeypatch.setitem(SMALLEST, "cpu", 8)
    outcome = commands.train("-m", *SMALL, "seed=1,2", *words)
    assert outcome.code == 0
    assert (REASON in outcome.out) == (together is None)
    assert [summary(folder).get("trained_together") for folder in run_folders(commands.folder)] == [together] * 2
