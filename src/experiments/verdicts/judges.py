"""What a run's numbers mean, in words, and what to try.

A verdict is a pure function of what the run folder holds: the metrics, the layers and a few facts of the
configuration. Every number that decides is in `THRESHOLDS`, with where it comes from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ._thresholds import FEWEST_EPOCHS, FEWEST_UPDATES, at
from .story import Story

FINDER = "python -m experiments.check with the same overrides and only=lr_range finds one"


@dataclass(frozen=True)
class Verdict:
    """A finding about a run.

    Args:
        name: such as `overfitting`.
        finding: what is the matter, a sentence.
        evidence: the numbers that show it.
        where: epoch and layer, where there is one.
        advice: one or two things to try.
    """

    name: str
    finding: str
    evidence: str
    where: str
    advice: Sequence[str]


Judge = Callable[[Story], Verdict | None]


def verdicts(story: Story) -> list[Verdict]:
    """Return what there is to say about a run, causes before what follows from them."""
    found: list[Verdict] = []
    for judge in JUDGES:
        verdict = judge(story)
        if verdict is not None and not any(verdict.name in EXPLAINS.get(cause.name, ()) for cause in found):
            found.append(verdict)
    if found or not story.history:
        return found
    return [healthy(story)]


def as_dict(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict for `summary.json`."""
    return {**vars(verdict), "advice": list(verdict.advice)}


def as_text(found: Sequence[Verdict]) -> str:
    """Return verdicts in Markdown, for TensorBoard."""
    return "\n\n".join(
        f"**{verdict.name}** ({verdict.where}). {verdict.finding} In numbers: {verdict.evidence}.\n\n"
        + "\n".join(f"- try {advice}" for advice in verdict.advice)
        for verdict in found
    )


def symmetry(story: Story) -> Verdict | None:
    """All units of a hidden layer have the same weights."""
    hidden = list(story.ends("twins").items())[:-1]
    alike = {layer: values for layer, values in hidden if values[max(values)] >= at("twins") and max(values) > 0}
    if not alike:
        return None
    values = next(iter(alike.values()))
    return Verdict(
        "symmetry",
        "The units of a layer are equal, so that it is no better than a single unit.",
        f"{values[max(values)]:.0%} of the units have the weights of another one",
        f"epoch {max(values)}, {', '.join(alike)}",
        ["draw the weights at random: init=he for ReLU, init=xavier for tanh", "biases may begin at zero"],
    )


def initial_loss(story: Story) -> Verdict | None:
    """The loss before training is far above that of equal scores."""
    first, spreads = story.initial_loss, list(story.ends("activation_std").values())
    wide = spreads and spreads[-1].get(0, 0.0) > at("wide_scores")
    if first is None or not wide or first <= at("initial_loss") * story.chance:
        return None
    return Verdict(
        "initial loss off",
        "The loss begins far above that of a network that knows nothing: it is sure of wrong answers.",
        f"{first:.3g} before training, {story.chance:.3g} expected",
        "epoch 0",
        [
            "smaller initial weights: init=he or init=xavier; inputs of size 1: data.preprocess=standardize",
            "python -m experiments.check with the same overrides says by which factor",
        ],
    )


def rate_too_high(story: Story) -> Verdict | None:
    """The loss diverges, rises or swings."""
    if story.settled and story.status != "diverged":
        return None
    if story.status == "diverged":
        where, evidence = f"step {story.diverged_at}", f"the loss is not finite at step {story.diverged_at}"
        if story.diverged_at == 1:
            return None
    elif story.history and story.initial_loss and story.first > at("rise") * max(story.initial_loss, story.chance):
        where, evidence = "epoch 1", f"the loss rose from {story.initial_loss:.3g} to {story.first:.3g}"
    elif story.long_enough and story.losses[-1] > at("rise") * min(story.losses):
        best = story.losses.index(min(story.losses)) + 1
        where = f"epochs {best} to {len(story.losses)}"
        evidence = f"the training loss rose from {min(story.losses):.3g} to {story.losses[-1]:.3g}"
    else:
        pairs = list(zip(story.losses, story.losses[1:], strict=False))
        up = [n for n, (one, two) in enumerate(pairs, 2) if two > one * (1 + at("swing"))]
        if not story.long_enough or len(up) < at("swinging_epochs") * len(pairs):
            return None
        where = f"epochs {', '.join(map(str, up[:5]))}"
        evidence = f"the training loss rose by more than {at('swing'):.0%} in {len(up)} of {len(pairs)} epochs"
    return Verdict(
        "learning rate too high",
        "The updates are so large that they undo one another.",
        f"{evidence}; lr={story.rate:g}",
        where,
        [
            f"optimizer.lr={story.rate / 10:g}; {FINDER}",
            "training.clip_norm=1 or scheduler.warmup=0.1 where only the beginning is too steep",
        ],
    )


def rate_too_low(story: Story) -> Verdict | None:
    """The loss falls steadily and slowly, with tiny updates."""
    ratios = [value for values in story.weight_ratios.values() for value in values]
    if not story.long_enough or (ratios and median(ratios) >= at("slow_ratio")):
        return None
    first = story.initial_loss or story.losses[0]
    falling = sum(two < one for one, two in zip(story.losses, story.losses[1:], strict=False))
    left = story.losses[-1] / first if first > 0 else 0.0
    still = bool(ratios) and median(ratios) < at("low_ratio")
    if left < at("slow_fall") or not (still or falling >= 0.9 * (len(story.losses) - 1)):
        return None
    small = f"; a weight changes by {median(ratios):.1e} of itself an update (1e-3 is healthy)" if ratios else ""
    return Verdict(
        "learning rate too low",
        "The loss falls so slowly, if at all, that most of the way is still to go.",
        f"{first:.3g} before training, {story.losses[-1]:.3g} after {len(story.losses)} epochs{small}; "
        f"lr={story.rate:g}",
        "all epochs",
        [f"optimizer.lr={story.rate * 10:g}; {FINDER}"],
    )


def stuck(story: Story) -> Verdict | None:
    """The loss does not move away from that of equal scores."""
    if not story.history:
        return None
    shares = [count / story.examples for count in story.class_counts if count]
    informed = story.last["train/accuracy"] > story.majority + at("stuck")
    moved = max(abs(loss - story.chance) for loss in story.losses) > at("stuck") * story.chance
    if informed or moved or len(shares) < 2:
        return None
    return Verdict(
        "stuck",
        "The loss does not change: the network gives all classes the same score, and learns nothing.",
        f"{story.losses[-1]:.4g} after {len(story.losses)} epochs, {story.chance:.4g} knows nothing; accuracy "
        f"{story.last['train/accuracy']:.3f}, always the commonest class {story.majority:.3f}",
        "all epochs",
        [
            "initial weights that are neither equal nor tiny: init=he, or model.batch_norm=true",
            "python -m experiments.check tries each part by itself; then optimizer.lr",
        ],
    )


def one_class(story: Story) -> Verdict | None:
    """Nearly all examples are given the same answer."""
    shares = story.ends("top_class").get("model", {})
    if not shares or max(shares) == 0 or shares[max(shares)] < at("one_class") or story.majority > 0.8:
        return None
    return Verdict(
        "one class",
        "Nearly every example is given the same answer.",
        f"{shares[max(shares)]:.0%} of the probe; the commonest class makes up {story.majority:.0%} of the data",
        f"epoch {max(shares)}",
        ["a smaller optimizer.lr, or other initial weights", "data.balance=class_weights where classes are uneven"],
    )


def class_imbalance(story: Story) -> Verdict | None:
    """Some classes have many more examples than others."""
    present = [count for count in story.class_counts if count]
    if len(present) < 2 or story.weighted or max(present) < at("imbalance") * min(present):
        return None
    return Verdict(
        "class imbalance",
        "Some classes are so rare that accuracy says little about them.",
        f"{max(present):,} examples of the commonest class, {min(present):,} of the rarest; always the commonest "
        f"would be {story.majority:.1%} right",
        "the training split",
        ["data.balance=class_weights", "look at the confusion matrix, pictures/confusion.png"],
    )


def dead_units(story: Story) -> Verdict | None:
    """Many units are zero for every example."""
    found = beyond(story, "dead", at("dead"))
    if not found:
        return None
    return Verdict(
        "dead units",
        "Many units are zero for every example: no gradient reaches them, and they cannot come back.",
        listed(found, "{:.0%}"),
        place(story, found),
        ["a smaller optimizer.lr, or init=he", "model.activation=leaky_relu, or model.batch_norm=true"],
    )


def saturation(story: Story) -> Verdict | None:
    """Most outputs of a layer lie where its activation is flat."""
    found = beyond(story, "saturated", at("saturated"))
    if not found:
        return None
    return Verdict(
        "saturation",
        "Most outputs lie where the activation is flat, and hardly any gradient passes.",
        listed(found, "{:.0%}"),
        place(story, found),
        ["smaller initial weights (init=xavier), or a smaller optimizer.lr", "model.batch_norm=true, or ReLU"],
    )


def vanishing(story: Story) -> Verdict | None:
    """The gradient gets lost on the way to the first layer."""
    ratios = story.ends("signal_ratio").get("model", {})
    if 0 not in ratios:
        return None
    found = {"epoch 0": ratios[0]}
    if not beyond(story, "dead", at("dead")):  # which is a cause of its own
        found[f"median of {len(ratios)} epochs"] = median(ratios.values())
    low = {when: ratio for when, ratio in found.items() if ratio < 1 / at("signal")}
    if not low:
        return None
    return Verdict(
        "vanishing gradients",
        "The gradient gets lost on its way back: the first layers hardly learn.",
        f"at the first hidden layer it is {min(low.values()):.1e} of that at the last one",
        " and ".join(low),
        ["init=he for ReLU, init=xavier for tanh; ReLU in place of sigmoid", "model.batch_norm=true"],
    )


def exploding(story: Story) -> Verdict | None:
    """The gradient grows on the way to the first layer."""
    ratios = story.ends("signal_ratio").get("model", {})
    found = {"epoch 0": ratios[0], f"median of {len(ratios)} epochs": median(ratios.values())} if 0 in ratios else {}
    high = {when: ratio for when, ratio in found.items() if ratio > at("signal")}
    if not high:
        return None
    return Verdict(
        "exploding gradients",
        "The gradient grows on its way back: the first layers are torn to and fro.",
        f"at the first hidden layer it is {max(high.values()):.1e} times that at the last one",
        " and ".join(high),
        ["smaller initial weights: init=he or init=xavier", "training.clip_norm=1, or model.batch_norm=true"],
    )


def updates_too_large(story: Story) -> Verdict | None:
    """Weights change by a large part of themselves at each update."""
    found = {name: median(values) for name, values in story.weight_ratios.items()}
    high = {name: value for name, value in found.items() if value > at("high_ratio")}
    if not high:
        return None
    return Verdict(
        "updates too large",
        "An update changes weights by a large part of themselves.",
        listed(high, "{:.1e}") + " (1e-3 is healthy)",
        f"median over {len(story.history)} epochs",
        [f"optimizer.lr={story.rate / 10:g}", "a schedule that lets the rate fall: scheduler=cosine"],
    )


def updates_too_small(story: Story) -> Verdict | None:
    """Weights hardly change in any epoch."""
    found = {name: max(values) for name, values in story.weight_ratios.items()}
    low = {name: value for name, value in found.items() if value < at("low_ratio")}
    if not low or story.settled:
        return None
    return Verdict(
        "updates too small",
        "Some layers hardly change.",
        listed(low, "{:.1e}") + " at most (1e-3 is healthy)",
        f"all {len(story.history)} epochs",
        [f"optimizer.lr={story.rate * 10:g}", "optimizer=adam, whose updates do not depend on the gradient's size"],
    )


def overfitting(story: Story) -> Verdict | None:
    """Training is well above validation."""
    few = not story.history or story.last["step"] < FEWEST_UPDATES
    if few or story.gap < max(at("gap"), 2 * story.gap_error):
        return None
    return Verdict(
        "overfitting",
        "The network knows the training examples much better than others.",
        f"accuracy {story.last['train/accuracy']:.3f} in training, {story.last['val/accuracy']:.3f} in validation",
        f"epoch {len(story.history)}",
        [
            "more data, or variations of it: data.augment=crop_flip for photographs",
            "model.dropout=0.3, optimizer.weight_decay=0.01 (with optimizer=adamw), or a smaller network",
        ],
    )


def low_everywhere(story: Story) -> Verdict | None:
    """Training and validation are both low, and have stopped improving."""
    low = story.long_enough and story.skill < at("low_skill") and story.gap < at("gap")
    # Weights for rare classes cost accuracy on the common ones; a handful of updates says nothing.
    if not low or story.weighted or story.last["step"] < FEWEST_UPDATES or still_improving(story) is not None:
        return None
    evidence = f"training accuracy {story.last['train/accuracy']:.3f}"
    if "val/accuracy" in story.last:
        evidence += f", validation {story.last['val/accuracy']:.3f}"
    way = "fell" if story.fall >= 0 else "rose"
    evidence += f"; the loss {way} by {abs(story.fall):.1%} in the last quarter of the epochs"
    where = f"epoch {len(story.history)}"
    if story.parameters >= at("capacity") * story.examples and not story.regularization:
        return Verdict(
            "data suspect",
            "The network is large enough to learn the examples by heart, and does not: the inputs may not tell "
            "the classes apart, or labels are wrong.",
            f"{evidence}; {story.parameters:,} parameters for {story.examples:,} examples",
            where,
            ["look at the examples: pictures/worst.png", "python -m experiments.check only=examples"],
        )
    held = [f"less regularisation than {', '.join(story.regularization)}"] if story.regularization else []
    return Verdict(
        "underfitting",
        "The network is not able to learn even the training examples.",
        evidence,
        where,
        [*held, "a bigger network or another architecture: model.hidden=[200,200], model=cnn", "longer training"][:2],
    )


def still_improving(story: Story) -> Verdict | None:
    """The run ended while it was getting better."""
    if not story.long_enough or story.status != "finished" or story.losses[-1] < at("solved") * story.chance:
        return None
    watched = story.watched
    quarter = max(1, len(watched) // 4)
    fall = 1 - watched[-1] / watched[-1 - quarter] if watched[-1 - quarter] > 0 else 0.0
    if fall < at("improving") or watched[-1] > min(watched) * 1.01:
        return None
    return Verdict(
        "still improving",
        "Training ended while the network was getting better.",
        f"the {'validation' if 'val/loss' in story.last else 'training'} loss fell by {fall:.0%} in the last "
        + (f"{quarter} epochs" if quarter > 1 else "epoch"),
        f"epoch {len(watched)}",
        [f"training.epochs={2 * len(watched)} with resume= and this run's folder, or a larger optimizer.lr"],
    )


def best_long_past(story: Story) -> Verdict | None:
    """The validation loss was lowest long before the end."""
    losses = [row["val/loss"] for row in story.history if "val/loss" in row]
    if len(losses) < FEWEST_EPOCHS:
        return None
    best = losses.index(min(losses)) + 1
    if best > at("past") * len(losses) or losses[-1] < at("worse") * losses[best - 1]:
        return None
    return Verdict(
        "best epoch long past",
        "The validation loss was lowest long before the end; what came later did harm to it.",
        f"{losses[best - 1]:.3g} after epoch {best}, {losses[-1]:.3g} after epoch {len(losses)}",
        f"epoch {best}",
        ["training.early_stopping.patience=5", "more regularisation: model.dropout=0.3 or optimizer=adamw"],
    )


def large_batch(story: Story) -> Verdict | None:
    """There are hardly any updates in an epoch."""
    if story.whole_batch or story.batch_size <= at("batch") * story.examples:
        return None
    return Verdict(
        "large batch",
        "A batch holds most of the training examples, so that an epoch has hardly any updates.",
        f"{story.batch_size:,} of {story.examples:,} examples",
        "all epochs",
        [f"training.batch_size={max(1, min(128, story.examples // 20))}"],
    )


def healthy(story: Story) -> Verdict:
    """Say that nothing was found, and on what grounds."""
    numbers = [f"training loss {story.initial_loss or story.losses[0]:.3g} -> {story.losses[-1]:.3g}"]
    if "val/accuracy" in story.last:
        numbers.append(f"accuracy {story.last['train/accuracy']:.3f}, validation {story.last['val/accuracy']:.3f}")
    ratios = [value for values in story.weight_ratios.values() for value in values]
    if ratios:
        numbers.append(f"update : weight {median(ratios):.1e}")
    dead = [values[max(values)] for values in story.ends("dead").values()]
    if dead:
        numbers.append(f"at most {max(dead):.0%} of a layer's units dead")
    unseen = "" if story.layers else " The layers were not recorded."
    unseen += "" if story.long_enough else f" Curves of fewer than {FEWEST_EPOCHS} epochs are not judged."
    return Verdict(
        "healthy", f"Nothing is wrong that these numbers could show.{unseen}", "; ".join(numbers), "all epochs", []
    )


def beyond(story: Story, quantity: str, limit: float) -> dict[str, float]:
    """Return the layers in which a quantity is at or beyond a limit at the end of training, with its value."""
    ends = {layer: values[max(values)] for layer, values in story.ends(quantity).items() if max(values) > 0}
    return {layer: value for layer, value in ends.items() if value >= limit}


def place(story: Story, found: dict[str, float]) -> str:
    """Say when and in which layers."""
    return f"epoch {len(story.history)}, {', '.join(found)}"


def listed(found: dict[str, float], shape: str) -> str:
    """Return values by layer for people, the first three of them."""
    shown = [f"{layer} {shape.format(value)}" for layer, value in list(found.items())[:3]]
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ", ".join(shown) + more


JUDGES: tuple[Judge, ...] = (
    symmetry,
    initial_loss,
    rate_too_high,
    vanishing,
    exploding,
    dead_units,
    saturation,
    rate_too_low,
    stuck,
    one_class,
    class_imbalance,
    updates_too_large,
    updates_too_small,
    overfitting,
    low_everywhere,
    best_long_past,
    still_improving,
    large_batch,
)

LOW = ("underfitting", "data suspect")
EXPLAINS: dict[str, tuple[str, ...]] = {
    "symmetry": ("stuck", "dead units", "one class", *LOW),
    "learning rate too high": (
        "learning rate too low",
        "stuck",
        "dead units",
        "saturation",
        "vanishing gradients",
        "exploding gradients",
        "one class",
        "updates too large",
        "updates too small",
        "overfitting",
        "best epoch long past",
        *LOW,
    ),
    "learning rate too low": ("stuck", "updates too small", "still improving", *LOW),
    "stuck": ("one class", "updates too small", *LOW),
    "one class": LOW,
    "dead units": ("learning rate too low", "updates too small", *LOW),
    "class imbalance": LOW,
    "saturation": LOW,
    "vanishing gradients": ("learning rate too low", "updates too small", *LOW),
    "exploding gradients": LOW,
    "overfitting": ("best epoch long past",),
}
"""What is not said besides, because it follows from what was said."""
