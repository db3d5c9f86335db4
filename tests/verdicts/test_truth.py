"""Verdicts that were wrong: like is compared with like, curves are long enough to judge, advice has an effect."""

import math
import re
from collections.abc import Sequence
from typing import Any

import pytest

from experiments.common import keys
from experiments.folders.run import LayerRow, Row
from experiments.verdicts._tail import tail_of
from experiments.verdicts.judges import verdicts
from experiments.verdicts.remedies import LIMITED
from experiments.verdicts.story import Reading, Reference, Story
from tests.helpers import composed


def rows(
    train: Sequence[float], val: Sequence[float], accuracy: float = 0.8, val_accuracy: float = 0.8, steps: int = 50
) -> list[Row]:
    """The metrics of epochs with these losses."""
    return [
        {"epoch": n, "step": steps * n, "lr": 1e-3, "train/loss": one, "train/accuracy": accuracy, "val/loss": other,
         "val/accuracy": val_accuracy}
        for n, (one, other) in enumerate(zip(train, val, strict=True), 1)
    ]  # fmt: skip


def probe(*losses: float) -> list[LayerRow]:
    """The loss of the probe before training and after each epoch."""
    return [LayerRow(n, 50 * n, "model", "loss", loss) for n, loss in enumerate(losses)]


def settings(*overrides: str) -> dict[str, Any]:
    """The configuration of a run, with dotted keys."""
    return keys.settings(composed(*overrides))


def story(history: Sequence[Row], **more: Any) -> Story:
    """The facts of a run of Adam on two classes."""
    facts: dict[str, Any] = {
        "layers": [], "status": "finished", "chance": math.log(2), "class_counts": [500, 500], "batch_size": 20,
        "parameters": 900, "rate": 1e-3, "val_examples": 200, "settings": settings(),
    }  # fmt: skip
    return Story(history=history, **(facts | more))


def names(facts: Story) -> set[str]:
    """The names of its verdicts."""
    return {verdict.name for verdict in verdicts(facts)}


def known(score: float, chance: float = 0.5, examples: int = 200) -> dict[str, Any]:
    """A simple model with this score."""
    error = math.sqrt(score * (1 - score) / examples)
    return {"reference": lambda: Reference({"logistic regression": score}, chance, error, examples)}


FLAT = [0.5] * 12


def test_a_network_as_good_as_a_simple_model_is_limited_by_the_data() -> None:
    low = rows(FLAT, FLAT, 0.72, 0.7)
    assert names(story(low, **known(0.72))) == {LIMITED}
    assert names(story(low, **known(0.95))) == {"underfitting"}


def test_a_larger_network_is_advised_only_if_a_simple_model_is_better() -> None:
    low = rows(FLAT, FLAT, 0.72, 0.7)
    (limited,) = verdicts(story(low, **known(0.72)))
    assert not any(advice.startswith("a larger network: ") for advice in limited.advice)
    (behind,) = verdicts(story(low, **known(0.95)))
    assert behind.advice[0] == "a larger network: 'model.hidden=[400,400]'"
    assert "logistic regression 0.950 on the same split" in behind.evidence


@pytest.mark.parametrize(("accuracy", "name"), [(0.95, "overfitting"), (0.52, LIMITED)])
def test_labels_that_nothing_explains_are_suspect(accuracy: float, name: str) -> None:
    useless = rows(FLAT, FLAT, accuracy, 0.5)
    assert names(story(useless, **known(0.53))) == {"data suspect"}
    assert "data suspect" not in names(story(useless, **known(0.8)))
    assert name == LIMITED or name in names(story(useless, **known(0.8)))


@pytest.mark.parametrize("fall", [0.93, 0.9])
def test_a_loss_that_still_falls_is_no_underfitting(fall: float) -> None:
    falling = [0.69 * fall**n for n in range(1, 13)]
    assert names(story(rows(falling, falling, 0.6, 0.57), **known(0.95))) == {"still improving"}


def test_noise_is_no_trend() -> None:
    jagged = [0.5 + 0.02 * (-1) ** n for n in range(12)]
    trend = tail_of(jagged)
    assert trend is not None
    assert trend.least_fall(1) < 0 < trend.most_fall(1)
    assert "still improving" not in names(story(rows(jagged, jagged), **known(0.8)))


def test_the_trend_of_an_exponential_curve_is_its_rate() -> None:
    trend = tail_of([math.exp(-0.1 * n) for n in range(20)])
    assert trend is not None
    assert trend.fall(1) == pytest.approx(1 - math.exp(-0.1))
    assert trend.half == pytest.approx(0, abs=1e-9)
    assert trend.epochs == 7


@pytest.mark.parametrize("curve", [[1.0, 0.5, 0.4], [1.0, 0.5, 0.0, 0.0], []])
def test_a_curve_without_a_trend(curve: list[float]) -> None:
    assert tail_of(curve) is None


def test_training_examples_are_not_compared_with_a_few_of_the_validation_split() -> None:
    val = [1.63, 1.6, 1.5, 1.45]
    facts = story(rows([1.2, 1.0, 0.9, 0.8], val), layers=probe(1.25, 1.1, 0.95, 0.85, 0.8), val_examples=5)
    assert "learning rate too high" not in names(facts)
    risen = story(rows([3.2, 2.0, 2.0, 2.0], val), layers=probe(1.25, 2.1, 2.0, 2.0, 2.0), val_examples=5)
    (verdict,) = [verdict for verdict in verdicts(risen) if verdict.name == "learning rate too high"]
    assert verdict.evidence == "the loss of training examples rose from 1.25 to 3.2; lr=0.001"


def test_one_epoch_above_the_lowest_of_many_is_no_rise() -> None:
    noisy = [0.3, 0.2, *[0.1, 0.097, 0.094, 0.091, 0.088] * 4]
    assert "learning rate too high" not in names(story(rows([*noisy, 0.078, 0.084, 0.084, 0.094], [0.5] * 26)))
    (verdict,) = [
        verdict
        for verdict in verdicts(story(rows([*noisy, 0.13, 0.14, 0.13, 0.14, 0.15], [0.5] * 27)))
        if verdict.name == "learning rate too high"
    ]
    assert verdict.evidence == "the training loss rose from 0.088 to 0.15; lr=0.001"


@pytest.mark.parametrize(
    ("last_loss", "last_score", "given"),
    [
        (0.28, 0.92, False),  # twice the loss, but the score is as good
        (0.28, 0.9, False),  # four of 200 examples
        (0.28, 0.84, True),
        (0.16, 0.84, False),  # the loss of 200 examples may be that much higher by chance
        (0.6, 0.92, True),  # four times
    ],
)
def test_a_loss_that_rises_while_the_score_stays_is_no_fault_unless_it_rises_far(
    last_loss: float, last_score: float, given: bool
) -> None:
    history = rows([0.2] * 10, [0.2, 0.14, *[last_loss] * 8], 0.87, 0.92)
    for row in history[2:]:
        row["val/accuracy"] = last_score
    facts = story(history)
    assert ("best epoch long past" in names(facts)) == given
    if names(facts) == {"healthy"}:
        (verdict,) = verdicts(facts)
        certainty = f"validation loss 0.14 after epoch 2, {last_loss:g} at the end"
        assert (certainty in verdict.evidence) == (last_loss > 0.16)


@pytest.mark.parametrize(
    ("waited", "share", "given"), [(12.0, 0.6, True), (1.5, 0.21, True), (12.0, 0.19, False), (0.9, 0.9, False)]
)
def test_a_run_that_waits_for_its_examples_is_named_unless_little_time_is_lost(
    waited: float, share: float, given: bool
) -> None:
    own = story(rows(FLAT, FLAT), reading=Reading(waited, share, workers=2, cores=8, fits=True))
    assert ("waiting for data" in names(own)) == given
    assert "waiting for data" not in names(story(rows(FLAT, FLAT)))


@pytest.mark.parametrize(
    ("workers", "cores", "fits", "words"),
    [
        (2, 8, True, ["data.workers=4", "data.gather=true"]),
        (0, 8, False, ["data.workers=2"]),
        (4, 6, False, ["data.workers=6"]),
        (8, 8, True, ["data.gather=true"]),
        (0, 1, False, ["data.workers=1"]),
        (2, 2, False, []),
    ],
)
def test_only_workers_that_have_a_core_and_data_that_fit_are_advised(
    workers: int, cores: int, fits: bool, words: list[str]
) -> None:
    own = story(rows(FLAT, FLAT), reading=Reading(9.0, 0.5, workers, cores, fits))
    (found,) = (verdict for verdict in verdicts(own) if verdict.name == "waiting for data")
    assert [line.partition(": ")[2] for line in found.advice[:-1]] == words
    whom = {0: "the training process reads", 8: "8 workers read"}.get(workers)
    assert found.evidence.startswith("updates waited 50% of the time, 9.0 s, for examples that ")
    assert whom is None or found.evidence.endswith(whom)


def test_strong_dropout_is_compared_with_a_simple_model_even_if_the_score_is_not_low() -> None:
    good = rows(FLAT, FLAT, 0.86, 0.87)
    dropped = {"regularization": ["model.dropout=0.9"]}
    assert names(story(good, **known(0.97))) == {"healthy"}
    assert names(story(good, **known(0.97), **dropped)) == {"underfitting"}
    assert names(story(good, **known(0.87), **dropped)) == {"healthy"}
    assert names(story(good, **dropped)) == {"healthy"}, "nothing to compare with"
    falling = [0.69 * 0.93**n for n in range(1, 13)]
    assert names(story(rows(falling, falling, 0.86, 0.87), **known(0.97), **dropped)) == {"still improving"}


def test_a_few_examples_may_swing() -> None:
    swinging = [0.5, 0.6] * 6
    assert "learning rate too high" in names(story(rows(swinging, FLAT), class_counts=[5000, 5000]))
    assert "learning rate too high" not in names(story(rows(swinging, FLAT), class_counts=[20, 20]))


@pytest.mark.parametrize("steps", [20, 500])
@pytest.mark.parametrize(
    ("optimizer", "choice"), [("adam", "optimizer=adamw optimizer.lr=0.001 "), ("adamw", ""), ("sgd", "")]
)
def test_an_advised_decay_changes_the_weights(optimizer: str, choice: str, steps: int) -> None:
    own = settings(f"optimizer={optimizer}", "optimizer.lr=0.001")
    over = story(rows(FLAT, FLAT, 0.99, 0.7, steps), settings=own, planned_steps=steps * len(FLAT))
    (verdict,) = [verdict for verdict in verdicts(over) if verdict.name == "overfitting"]
    found = re.fullmatch(rf"weight decay: {choice}optimizer\.weight_decay=(\S+)", verdict.advice[0])
    assert found
    left = (1 - over.rate * float(found[1])) ** over.last["step"]
    assert 0.2 < left < 0.6


def test_dropout_that_was_advised_is_not_advised_against() -> None:
    low = rows(FLAT, FLAT, 0.72, 0.7)
    own = {"regularization": ["model.dropout=0.3"], "settings": settings("model.dropout=0.3")}
    (mild,) = verdicts(story(low, **own, **known(0.95)))
    assert not any("model.dropout" in advice for advice in mild.advice)
    own = {"regularization": ["model.dropout=0.8"], "settings": settings("model.dropout=0.8")}
    (strong,) = verdicts(story(rows(FLAT, FLAT, 0.7, 0.9), **own, **known(0.99)))
    assert (strong.name, strong.advice[0]) == ("underfitting", "no Dropout: model.dropout=0")


@pytest.mark.parametrize(
    ("objective", "advised"), [("auto", True), ("val/accuracy", True), ("val/f1", False), ("val/loss", False)]
)
def test_an_objective_that_counts_rare_classes_is_advised(objective: str, advised: bool) -> None:
    chosen = {**settings(), "objective": objective}
    facts = story(rows([0.1] * 5, [0.1] * 5, 0.97, 0.97), class_counts=[960, 40], settings=chosen)
    (verdict,) = [verdict for verdict in verdicts(facts) if verdict.name == "class imbalance"]
    words = ": 'metrics=[balanced_accuracy]' objective=val/balanced_accuracy"
    assert any(advice.endswith(words) for advice in verdict.advice) == advised
