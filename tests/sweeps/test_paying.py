"""When runs are trained as a stack."""

from collections.abc import Mapping

import pytest

from experiments.sweeps import _paying
from experiments.sweeps._paying import MEASURED, kind_of, smallest_stacks
from experiments.sweeps._plan import Planned, described, labels_of, plan
from tests.helpers import SMALL, Commands, composed, run_folders, summary

REASON = "fewer than 5 runs are faster one after another"


PAYING = {
    "fully connected": 2,
    "fully connected, normalised": 2,
    "fully connected, by autograd": 3,
    "fully connected, normalised, by autograd": 3,
    "convolutional": 3,
    "convolutional, normalised": 4,
}
"""The smallest stacks that pay, written out."""
FIVE = {"fully connected": 5, "fully connected, normalised": 7}
"""Other smallest stacks, as an earlier version has written them into `sweep.yaml`."""


def smallest_of(row: Mapping[int, float]) -> int:
    """Return the first size from which the stack is faster."""
    return next(size for size, times in sorted(row.items()) if times > 1)


def test_the_smallest_stacks_are_those_of_the_table() -> None:
    assert {kind: smallest_of(row) for kind, row in MEASURED.items()} == PAYING


@pytest.mark.parametrize(
    ("devices", "cuda", "on_cpu"),
    [
        ({"cpu"}, True, True),
        ({"auto"}, False, True),
        ({"auto", "cpu"}, False, True),
        ({"auto"}, True, False),
        ({"cuda:1"}, True, False),
    ],
)
def test_it_depends_on_the_device(monkeypatch: pytest.MonkeyPatch, devices: set[str], cuda: bool, on_cpu: bool) -> None:
    monkeypatch.setattr(_paying, "SMALLEST", PAYING)
    assert smallest_stacks(devices, cuda=cuda) == (PAYING if on_cpu else {})


KINDS: dict[str | None, list[tuple[str, ...]]] = {
    "fully connected": [(), ("penalty=max_norm",), ("model.activation=LeakyReLU",)],
    "fully connected, normalised": [("model.batch_norm=true",), ("model.norm=layer",)],
    "fully connected, normalised, by autograd": [("model.norm=rms",)],
    "fully connected, by autograd": [
        ("penalty=l2",),
        ("model.activation=mish",),
        ("training.precision=bf16",),
        ("freeze=[features]",),
    ],
    "convolutional": [("model=cnn", "penalty=l2"), ("model=cnn",)],
    "convolutional, normalised": [("model=cnn", "model.batch_norm=true")],
    None: [("model=rnn",)],
}


@pytest.mark.parametrize(("kind", "words"), [(kind, words) for kind, cases in KINDS.items() for words in cases])
def test_it_depends_on_the_network(words: tuple[str, ...], kind: str | None) -> None:
    assert kind_of(composed(*words)) == kind


def test_few_runs_are_planned_one_after_another_and_the_plan_says_so() -> None:
    seeds = [composed("model.hidden=[8]", f"seed={seed}") for seed in range(7)]
    planned = plan(seeds, 5, FIVE)
    assert planned == [Planned(tuple(range(5))), Planned((5,), REASON), Planned((6,), REASON)]
    assert described(planned, seeds) == [
        "7 runs in 1 stack and 2 on their own",
        "  stack 1: 5 runs, #0 to #4",
        f"  on their own: #5, #6, {REASON}",
    ]
    assert labels_of(planned) == ["stack 1/1", "", ""]
    assert described(planned[1:], seeds[5:], 5)[0] == "2 runs, one after another"
    assert plan(seeds[:4], 64) == [Planned(tuple(range(4)))]
    assert plan(seeds[:1], 64, FIVE) == [Planned((0,))]
    assert plan(seeds[:2], 64, PAYING) == [Planned((0, 1))]


def test_a_stack_is_as_large_as_each_of_its_runs_needs() -> None:
    plain = [composed("model.hidden=[8]", f"seed={seed}") for seed in range(2)]
    penalized = composed("model.hidden=[8]", "penalty=l2")
    fewest = {"fully connected": 2, "fully connected, by autograd": 4}
    assert [planned.jobs for planned in plan(plain, 64, fewest)] == [(0, 1)]
    assert [planned.jobs for planned in plan([*plain, penalized], 64, fewest)] == [(0,), (1,), (2,)]
    assert [planned.jobs for planned in plan([penalized] * 4, 64, FIVE)] == [(0,), (1,), (2,), (3,)]


@pytest.mark.parametrize(("words", "together"), [((), None), (("hydra.launcher.max_stack=64",), 2)], ids=str)
def test_a_number_of_runs_in_a_stack_is_obeyed(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], together: int | None
) -> None:
    monkeypatch.setattr(_paying, "SMALLEST", FIVE)
    outcome = commands.train("-m", *SMALL, "seed=1,2", *words)
    assert outcome.code == 0
    assert (REASON in outcome.out) == (together is None)
    assert [summary(folder).get("trained_together") for folder in run_folders(commands.folder)] == [together] * 2
