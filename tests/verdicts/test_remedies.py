"""The table of remedies: every verdict has one, each composes, and each changes the run."""

import ast
import math
import re
from typing import Any

import pytest

from experiments.cli.overrides import spelled_out
from experiments.common.keys import flattened, settings
from experiments.verdicts.remedies import (
    LIMITED,
    RANGE_TEST,
    REMEDIES,
    TABLE,
    Facts,
    conflicts,
    decay,
    merged,
    remedies,
    replaced,
)
from experiments.verdicts.story import Reading
from tests.helpers import REPOSITORY, composed, sampled


def facts(*overrides: str, steps: int = 1000, suggested: float | None = 0.01) -> Facts:
    """The facts of a run of 1,000 updates; one whose overrides choose workers has read its data with one."""
    own = settings(composed(*overrides))
    reading = Reading(9.0, 0.5, workers=1, cores=4, fits=True) if "data.workers" in own else None
    return Facts(own, steps, suggested, reading)


RUNS: dict[str, tuple[str, ...]] = {
    "default": (),
    "sgd": ("optimizer=sgd", "optimizer.lr=0.5", "optimizer.weight_decay=1", "optimizer.lr_scale={head:0.1}"),
    "regularised": ("model.dropout=0.7", "penalty=l2", "loss=cross_entropy", "loss.label_smoothing=0.2"),
    "tanh": ("model.activation=tanh", "init=small_normal", "init.bias=-3", "training.batch_size=500"),
    "cnn": ("model=cnn", "data.preprocess=none"),
    "numbers": ("data=diabetes", "task=regression", "loss=mse"),
    "read by workers": ("++data.workers=1",),
}


@pytest.mark.slow
@pytest.mark.parametrize("run", sampled(RUNS, {"default", "numbers"}))
def test_every_remedy_of_a_run_composes_and_changes_something(run: str) -> None:
    own = flattened(composed(*RUNS[run]))
    tried = 0
    for name, remedy in REMEDIES.items():
        overrides = remedy(facts(*RUNS[run]))
        if overrides is not None:
            changed = flattened(composed(*spelled_out(merged(RUNS[run], overrides))))
            assert changed != own, name
            tried += 1
    assert tried >= 10


def test_every_remedy_is_used_and_known() -> None:
    assert {name for names in TABLE.values() for name in names} == set(REMEDIES)


def test_every_remedy_applies_to_a_run() -> None:
    applied = {name for run in RUNS.values() for name, remedy in REMEDIES.items() if remedy(facts(*run)) is not None}
    assert applied == set(REMEDIES)


def test_first_remedies_of_all_verdicts_come_first() -> None:
    found = remedies(["overfitting", "still improving"], facts())
    assert [one.name for one in found[:2]] == ["weight decay", "twice as long"]
    assert found[0].verdicts == ("overfitting",)
    assert len(remedies(["overfitting", "still improving"], facts(), most=3)) == 3


@pytest.mark.parametrize(
    ("verdict", "rate", "tried"),
    [
        ("learning rate too low", 0.1, True),
        ("learning rate too low", 1e-4, False),
        ("learning rate too high", 1e-4, True),
        ("learning rate too high", 0.1, False),
        ("underfitting", 1e-4, True),
    ],
)
def test_a_rate_from_the_range_test_goes_the_right_way(verdict: str, rate: float, tried: bool) -> None:
    names = [one.name for one in remedies([verdict], facts(suggested=rate))]
    assert (RANGE_TEST in names) == tried


@pytest.mark.parametrize(("activation", "first"), [("relu", "init=he"), ("tanh", "init=xavier")])
def test_the_weights_for_the_activation_come_first(activation: str, first: str) -> None:
    own = facts(f"model.activation={activation}", "init=zeros")
    assert [remedies([name], own)[0].overrides for name in ("symmetry", "vanishing gradients")] == [(first,)] * 2


@pytest.mark.parametrize(("bias", "tried"), [("-3", True), ("normal", True), ("0", False), ("torch", False)])
def test_biases_that_are_small_are_not_set_to_zero(bias: str, tried: bool) -> None:
    found = [one.overrides for one in remedies(["stuck"], facts(f"init.bias={bias}"))]
    assert (("init.bias=0",) in found) == tried


def test_no_remedy_of_the_default_run_is_what_it_has() -> None:
    own = facts()
    found = {word for verdict in TABLE for one in remedies([verdict], own) for word in one.overrides}
    assert not found & {"init=xavier", "init=xavier_or_torch", "init.bias=0", "optimizer=adam"}


def test_rates_of_single_layers_are_made_equal() -> None:
    first, *_ = remedies(["updates too small"], facts("optimizer.lr_scale={features:1e-4,head:1}"))
    assert (first.name, first.overrides) == ("equal rates", ("optimizer.lr_scale=null",))
    assert "equal rates" not in {one.name for one in remedies(["updates too small"], facts())}


def test_a_verdict_without_a_remedy_that_applies_gives_none() -> None:
    assert remedies(["class imbalance"], facts("data.balance=class_weights")) == []
    assert remedies(["unknown"], facts()) == []


@pytest.mark.parametrize("strength", [1.0, 10.0])
@pytest.mark.parametrize("run", ["default", "sgd"])
def test_a_decay_shrinks_the_weights_as_much_as_it_should(strength: float, run: str) -> None:
    given: Any = facts(*RUNS[run])
    overrides = decay(strength)(given)
    assert overrides is not None
    value = float(overrides[-1].partition("=")[2])
    assert given.rate * value * given.steps == pytest.approx(strength, rel=0.05)
    assert math.exp(-strength) < 0.4


def test_a_choice_replaces_the_settings_of_the_one_before() -> None:
    words = ["init=normal", "init.std=2", "optimizer.lr=3", "+data.draw=1"]
    assert merged(words, ["init=he"]) == ["optimizer.lr=3", "+data.draw=1", "init=he"]
    assert merged(["init.bias=-2", "init.gain=2"], ["init=he"]) == ["init.bias=-2", "init=he"]
    assert merged(["optimizer.lr_scale={head:2}", "optimizer.eps=1"], ["optimizer=adamw"]) == [
        "optimizer.lr_scale={head:2}",
        "optimizer=adamw",
    ]
    assert replaced(words, ["init=he"]) == ["init.std=2"]
    assert merged(words, ["optimizer.lr=1"]) == ["init=normal", "init.std=2", "+data.draw=1", "optimizer.lr=1"]


@pytest.mark.parametrize(
    ("one", "other", "keys"),
    [
        (["optimizer.lr=1"], ["optimizer.lr=2"], ["optimizer.lr"]),
        (["optimizer.lr=1"], ["optimizer.lr=1"], []),
        (["optimizer.lr=1"], ["optimizer=adam", "optimizer.lr=1"], ["optimizer"]),
        (["optimizer=adam"], ["optimizer.lr=1"], ["optimizer"]),
        (["init=he"], ["model.dropout=0.5"], []),
    ],
)
def test_conflicts_are_named(one: list[str], other: list[str], keys: list[str]) -> None:
    assert conflicts(one, other) == keys


def test_the_table_has_the_verdict_that_nothing_helps() -> None:
    assert LIMITED in TABLE


def test_settings_are_advised_in_one_place() -> None:
    tree = ast.parse((REPOSITORY / "src" / "experiments" / "verdicts" / "judges.py").read_text())
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    named = [found for text in texts for found in re.findall(r"\b[a-z_]+(?:\.[a-z_]+)+=\S*", text)]
    assert named == ["data.augment=crop_flip"], "the remedies are in the table"
    given = {text for node in ast.walk(tree) if isinstance(node, ast.Call) and called(node) == "Verdict"
             for text in [getattr(node.args[0], "value", None)] if text}  # fmt: skip
    assert len(given) >= 15
    assert given <= set(TABLE)


def called(node: ast.Call) -> str:
    """The name of the function that is called."""
    return getattr(node.func, "id", "")
