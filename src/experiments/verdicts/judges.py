"""What a run's numbers mean in words, and what to try.

A verdict is a pure function of the run folder: the metrics, the layers and a few facts of the configuration.
Every number that decides is in `THRESHOLDS`, with its source.
"""

import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from ._tail import Tail
from ._thresholds import FEWEST_EPOCHS, FEWEST_UPDATES, at
from .remedies import CONSTANT, LIMITED, LONGER, NOT_ADVISED, REMEDIES, Facts, remedies, replaced
from .story import COMMAND, MEANS, Reference, Story

ADVISED = 2
"""The remedies that the advice names; `remedy` tries more."""


@dataclass(frozen=True)
class Verdict:
    """A finding about a run.

    Args:
        name: such as `overfitting`.
        finding: the problem in one sentence.
        evidence: the numbers that show it.
        where: the epoch, and the layer if there is one.
        advice: what to try; each completes 'try ...', and ends with a colon and what can be pasted, if there is
            something: settings, or a command. A judge gives only advice without a setting, such as a look at the
            examples or a check; `verdicts` adds the first remedies of the table.
    """

    name: str
    finding: str
    evidence: str
    where: str
    advice: Sequence[str]


PICTURES = {
    "classes": "in pictures/worst.png",
    "numbers": "in pictures/residuals.png",
    "inputs": "in pictures/reconstructions.png",
}
"""Where examples are shown, by the form of the targets."""

MORE_PICTURES = "more data, or augmentation for photographs: data.augment=crop_flip"

Judge = Callable[[Story], Verdict | None]


def verdicts(story: Story) -> list[Verdict]:
    """Return the verdicts on a run with their advice, causes before their consequences."""
    return [replace(one, advice=[*settings_for(one.name, story), *one.advice]) for one in given_to(story)]


def settings_for(verdict: str, story: Story) -> list[str]:
    """Return the first remedies of a verdict that apply: the meaning, a colon and the words of a command line."""
    if verdict in NOT_ADVISED or story.faults:
        return []
    found = remedies([verdict], Facts(story.settings, story.planned_steps, reading=story.reading), ADVISED)
    return [f"{one.name}{instead(story.command, one.overrides)}: {shlex.join(one.overrides)}" for one in found]


def instead(command: Sequence[str], overrides: Sequence[str]) -> str:
    """Return the words of a command that do not fit a remedy, to follow its name; empty if there are none."""
    without = replaced(command, overrides)
    return f", and leave out {shlex.join(without)}" if without else ""


def given_to(story: Story) -> list[Verdict]:
    """Return the verdicts on a run, each with the advice of its judge."""
    if story.faults:
        return [unsuitable_inputs(story)]
    given: list[Verdict] = []
    for judge in JUDGES:
        if judge in OF_RATIOS and not story.ratios and story.status != "diverged":
            continue
        verdict = judge(story)
        if verdict is not None and not any(verdict.name in EXPLAINS.get(cause.name, ()) for cause in given):
            given.append(verdict)
    if given or not story.history:
        return given
    return [healthy(story)]


def as_dict(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as `summary.json` holds it."""
    return {**vars(verdict), "advice": list(verdict.advice)}


def as_text(given: Sequence[Verdict]) -> str:
    """Return verdicts in Markdown, for TensorBoard."""
    shown = [
        f"**{verdict.name}** ({verdict.where}). {verdict.finding} In numbers: {verdict.evidence}.\n\n"
        + "\n".join(f"- try {as_code(advice)}" for advice in verdict.advice)
        for verdict in given
    ]
    return "\n\n".join([*shown, *to_add(given)])


def as_code(advice: str) -> str:
    """Return advice in Markdown, in which the words to paste stay as they are."""
    meaning, colon, words = advice.partition(": ")
    return f"{meaning}: `{words}`" if colon else advice


def to_add(given: Sequence[Verdict]) -> list[str]:
    """Return the sentence about the settings among the advice, with the first ones; none if there are no settings."""
    pasted = [advice.partition(": ")[2] for verdict in given for advice in verdict.advice]
    settings = [words for words in pasted if words and not words.startswith(COMMAND)]
    return [f"To try settings such as {settings[0]}, add them to the command of the run."] if settings else []


def unsuitable_inputs(story: Story) -> Verdict:
    """Nothing can be learnt from the inputs, so no number is a finding about the network."""
    return Verdict(
        "questionable data",
        "Nothing can be learnt from these inputs, so the other numbers say nothing about the network.",
        "; ".join(story.questions),
        "epoch 0",
        [story.check("looks at the inputs", "only=examples")],
    )


def questionable_data(story: Story) -> Verdict | None:
    """Something in the data looks like a mistake, whatever the network has learnt."""
    if not story.questions or not story.history:
        return None
    return Verdict(
        "questionable data",
        "Something in the data may be a mistake, so look at it before the network.",
        "; ".join(story.questions),
        "epoch 0",
        [story.check("lists the columns", "only=examples")],
    )


def questionable_model(story: Story) -> Verdict | None:
    """Something in the model looks like a mistake, whatever the settings are."""
    if not story.doubts:
        return None
    return Verdict(
        "questionable model",
        "Something in the model may be a mistake, so look at it before the settings.",
        "; ".join(story.doubts),
        "epoch 0",
        [story.check("tests each part separately")],
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
        "The units of a layer have equal weights, so the layer can do no more than a single unit.",
        f"{values[max(values)]:.0%} of the units have the same weights as another unit",
        f"epoch {max(values)}, {', '.join(alike)}",
        [],
    )


def initial_loss(story: Story) -> Verdict | None:
    """The loss before training is far above that of equal scores."""
    first, spreads = story.initial_loss, list(story.ends("activation_std").values())
    wide = spreads and spreads[-1].get(0, 0.0) > at("wide_scores")
    if first is None or not wide or first <= at("initial_loss") * story.chance:
        return None
    return Verdict(
        "initial loss off",
        "The initial loss is far above that of equal scores: the network is confident of wrong answers.",
        f"loss {first:.3g} before training, {story.chance:.3g} {story.ignorance}",
        "epoch 0",
        [story.check("suggests smaller weights", "only=initial_loss")],
    )


def not_finite(story: Story) -> Verdict | None:
    """The output or the loss is not a number before the first update."""
    if story.status != "diverged" or story.diverged_at != 1:
        return None
    output = bool(story.layers) and 0 not in story.ends("top_class").get("model", {})
    return Verdict(
        "not finite",
        f"The {'output' if output else 'loss'} of the network is NaN or infinite from the start, so nothing is learnt.",
        f"{'scores of the probe are' if output else 'the loss is'} not finite before the first update",
        "step 1",
        [
            "a look at divisions, logarithms and roots in the model and the loss",
            story.check("tests each part separately"),
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
    elif first_loss(story) > max(at("rise"), 1 + story.noise(story.examples)) * max(
        story.initial_loss or 0, story.chance
    ):
        where = "epoch 1"
        evidence = f"the loss of training examples rose from {story.initial_loss:.3g} to {first_loss(story):.3g}"
    elif story.long_enough and risen(story) > max(at("rise"), 1 + story.noise(story.examples)):
        best = story.losses.index(min(story.losses)) + 1
        where = f"epochs {best} to {len(story.losses)}"
        evidence = f"the training loss rose from {min(story.losses):.3g} to {story.losses[-1]:.3g}"
    else:
        pairs = list(zip(story.losses, story.losses[1:], strict=False))
        swing = max(at("swing"), story.noise(story.examples))
        up = [n for n, (one, two) in enumerate(pairs, 2) if two > one * (1 + swing)]
        if not story.long_enough or len(up) < at("swinging_epochs") * len(pairs):
            return None
        where = f"epochs {', '.join(map(str, up[:5]))}"
        evidence = f"the training loss rose by more than {swing:.0%} in {len(up)} of {len(pairs)} epochs"
    return Verdict(
        "learning rate too high",
        "The updates are so large that they undo each other.",
        f"{evidence}; lr={story.rate:g}",
        where,
        [story.check("suggests a rate", "only=lr_range")],
    )


def risen(story: Story) -> float:
    """Return the training loss at the end over the lowest one.

    Each is the mean of as many epochs, a fifth of all: the lowest one of many epochs is low by chance too.
    """
    count = max(1, int(at("last_epochs") * len(story.losses)))
    means = [sum(story.losses[n - count : n]) / count for n in range(count, len(story.losses) + 1)]
    return means[-1] / min(means)


def first_loss(story: Story) -> float:
    """Return the loss of training examples in the first epoch, to be compared with that of others before training.

    It is the larger of the mean over the batches, unless Dropout adds to it, and of the probe, a fixed batch, at the
    end. A small validation split is no measure: its mean may be far from that of the training examples.
    """
    if not story.history or 0 not in story.probe_losses:
        return 0.0
    mean = 0.0 if story.dropout else story.history[0]["train/loss"]
    return max(mean, story.probe_losses.get(1, 0.0))


def rate_too_low(story: Story) -> Verdict | None:
    """The loss falls steadily but slowly, with tiny updates."""
    ratios = [value for values in story.weight_ratios.values() for value in values]
    if not story.long_enough or (ratios and median(ratios) >= at("slow_ratio")):
        return None
    if story.residuals.get("loss", 0.0) < story.residuals.get("bigram", 0.0):  # no text can be predicted without loss
        return None
    first = story.initial_loss or story.losses[0]
    falling = sum(two < one for one, two in zip(story.losses, story.losses[1:], strict=False))
    left = story.losses[-1] / first if first > 0 else 0.0
    still = bool(ratios) and median(ratios) < at("low_ratio")
    if left < at("slow_fall") or not (still or falling >= 0.9 * (len(story.losses) - 1)):
        return None
    small = f"; an update changes a weight by {median(ratios):.1e} of its size (1e-3 is healthy)" if ratios else ""
    return Verdict(
        "learning rate too low",
        "The loss falls very slowly or not at all: most of the way is still ahead.",
        f"loss {first:.3g} before training, {story.losses[-1]:.3g} after {len(story.losses)} epochs{small}; "
        f"lr={story.rate:g}",
        "all epochs",
        [story.check("suggests a rate", "only=lr_range")],
    )


def stuck(story: Story) -> Verdict | None:
    """The loss stays at that of equal scores."""
    if not story.history:
        return None
    several = story.kind != "classes" or sum(count > 0 for count in story.class_counts) > 1
    informed = story.train_score > story.majority + at("stuck")
    moved = max(abs(loss - story.chance) for loss in story.losses) > at("stuck") * abs(story.chance)
    if informed or moved or not several:
        return None
    findings = {
        "classes": "The loss does not change: the network gives all classes the same score and learns nothing.",
        "numbers": "The loss does not change: the network predicts the mean of every example and learns nothing.",
        "inputs": "The loss does not change: the network returns the mean of the inputs and learns nothing.",
    }
    ways = {
        "classes": "by always answering the most common class",
        "numbers": "by always predicting the mean",
        "inputs": "by always returning the mean",
    }
    return Verdict(
        "stuck",
        findings.get(story.kind, "The loss does not change: the network gives every example the same answer."),
        f"loss {story.losses[-1]:.4g} after {len(story.losses)} epochs, {story.chance:.4g} {story.ignorance}; "
        f"{story.noun} {story.train_score:.3f}, {story.majority:.3f} "
        f"{ways.get(story.kind, 'by always answering the same')}",
        "all epochs",
        [story.check("tests each part separately")],
    )


def one_class(story: Story) -> Verdict | None:
    """Nearly all examples get the same answer."""
    shares = story.ends("top_class").get("model", {})
    if (
        story.kind != "classes"
        or not shares
        or max(shares) == 0
        or shares[max(shares)] < at("one_class")
        or story.majority > 0.8
    ):
        return None
    return Verdict(
        "one class",
        "The network gives nearly every example the same answer.",
        f"{shares[max(shares)]:.0%} of the probe's examples; the most common class is {story.majority:.0%} of the data",
        f"epoch {max(shares)}",
        [],
    )


def class_imbalance(story: Story) -> Verdict | None:
    """Some classes have many more examples than others."""
    present = [count for count in story.class_counts if count]
    if story.kind != "classes" or len(present) < 2 or story.weighted or max(present) < at("imbalance") * min(present):
        return None
    return Verdict(
        "class imbalance",
        "Some classes are so rare that they hardly affect the accuracy.",
        f"{max(present):,} examples of the most common class, {min(present):,} of the rarest; accuracy "
        f"{story.majority:.1%} by always answering the most common class",
        "the training split",
        [*balanced(story), "a look at the confusion matrix in pictures/confusion.png"],
    )


def balanced(story: Story) -> list[str]:
    """Return the words of an objective that counts each class equally, unless the run has one."""
    objective = str(story.settings.get("objective", "auto"))
    if objective not in ("auto", "val/accuracy"):
        return []
    words = ["metrics=[balanced_accuracy]", "objective=val/balanced_accuracy"]
    return [f"the mean over the classes, instead of the examples: {shlex.join(words)}"]


def dead_units(story: Story) -> Verdict | None:
    """Many units are zero for every example."""
    return units_verdict(
        story,
        "dead",
        "dead units",
        "Many units output zero for every example: no gradient passes through them, and they cannot recover.",
    )


def saturation(story: Story) -> Verdict | None:
    """Most outputs of a layer are in the flat part of its activation."""
    return units_verdict(
        story,
        "saturated",
        "saturation",
        "Most outputs are in the flat part of the activation, where hardly any gradient passes.",
    )


def vanishing(story: Story) -> Verdict | None:
    """The gradient shrinks on its way to the first layer."""
    # Dead units shrink the gradient too, during training; they have a verdict of their own.
    ratios = gradient_ratios(story, only_before_training=bool(layers_above(story, "dead")))
    return gradient_verdict(
        "vanishing gradients",
        "The gradient shrinks on its way back: the first layers hardly learn.",
        min,
        {when: ratio for when, ratio in ratios.items() if ratio < 1 / at("signal")},
    )


def exploding(story: Story) -> Verdict | None:
    """The gradient grows on its way to the first layer."""
    return gradient_verdict(
        "exploding gradients",
        "The gradient grows on its way back: it is far too large in the first layers.",
        max,
        {when: ratio for when, ratio in gradient_ratios(story).items() if ratio > at("signal")},
    )


def updates_too_large(story: Story) -> Verdict | None:
    """Weights change by a large part of their size at each update."""
    medians = {name: median(values) for name, values in story.weight_ratios.items()}
    high = {name: value for name, value in medians.items() if value > at("high_ratio")}
    if not high:
        return None
    return Verdict(
        "updates too large",
        "Each update changes weights by a large part of their size.",
        f"update : weight {listed(high, '{:.1e}')} (1e-3 is healthy)",
        f"median over {len(story.history)} epochs",
        [],
    )


def updates_too_small(story: Story) -> Verdict | None:
    """Weights hardly change in any epoch."""
    largest = {name: max(values) for name, values in story.weight_ratios.items()}
    low = {name: value for name, value in largest.items() if value < at("low_ratio")}
    if not low or story.settled:
        return None
    return Verdict(
        "updates too small",
        "Some layers hardly change.",
        f"update : weight at most {listed(low, '{:.1e}')} (1e-3 is healthy)",
        f"all {len(story.history)} epochs",
        [],
    )


def nothing_carries_over(story: Story) -> Verdict | None:
    """The network learns the training examples, and does no better than chance on new ones; nor does a reference."""
    few = not story.history or story.last["step"] < FEWEST_UPDATES or story.val_score is None
    if few or story.train_score < story.majority + at("gap") or not at_chance(story):
        return None
    known = story.reference() if story.reference is not None else None
    return None if known is None or not useless(known) else unexplained(story, known)


def at_chance(story: Story) -> bool:
    """Whether the validation score is within its standard error of that of a model that knows nothing."""
    return story.val_score is not None and story.val_score <= story.majority + at("clear") * story.gap_error


def useless(reference: Reference) -> bool:
    """Whether no simple model is better than chance."""
    return reference.score <= reference.chance + at("clear") * reference.error


def unexplained(story: Story, reference: Reference) -> Verdict:
    """Return the verdict that nothing can be learnt from these inputs about these targets."""
    return Verdict(
        "data suspect",
        "Nothing that can be learnt from the training examples helps with new ones: "
        + ("labels may be at random, or in another order than the inputs." if story.kind == "classes" else
           "the targets may be noise, or in another order than the inputs."),
        f"{story.scores}; {story.majority:.3f} by a model that knows nothing; {compared_with(reference)}",
        f"epoch {len(story.history)}",
        [
            f"a look at the examples {PICTURES.get(story.kind, 'in pictures')}",
            story.check("compares with simple models", "only=reference"),
        ],
    )  # fmt: skip


def compared_with(reference: Reference) -> str:
    """Return the scores of the references as a phrase."""
    return ", ".join(f"{name} {score:.3f}" for name, score in reference.scores.items()) + " on the same split"


def overfitting(story: Story) -> Verdict | None:
    """The training accuracy is well above the validation accuracy."""
    few = not story.history or story.last["step"] < FEWEST_UPDATES
    if few or story.gap < max(at("gap"), at("errors") * story.gap_error):
        return None
    return Verdict(
        "overfitting",
        "The network does much better on the training examples than on new ones.",
        story.scores,
        f"epoch {len(story.history)}",
        ["more text" if story.kind == "tokens" else MORE_PICTURES if story.pictures else "more data"],
    )


def low_everywhere(story: Story) -> Verdict | None:
    """The training and validation accuracy are both low, or Dropout keeps them low, and the loss no longer falls."""
    if not story.long_enough:
        return None
    strong = story.dropout >= at("strong_dropout")
    dropped = strong and -story.gap > at("gap")
    compared = strong and story.reference is not None
    low = (story.skill < at("low_skill") or dropped or compared) and story.gap < at("gap")
    # Weights for rare classes cost accuracy on the common ones; a handful of updates shows nothing.
    if not low or story.weighted or story.last["step"] < FEWEST_UPDATES:
        return None
    if falling(story, story.monitored_tail) and not dropped:
        return None
    way = "fell" if story.fall >= 0 else "rose"
    evidence = f"{story.scores}; the loss {way} by {abs(story.fall):.1%} in the last quarter of the epochs"
    where = f"epoch {len(story.history)}"
    known = story.reference() if story.reference is not None else None
    if known is not None and at_chance(story) and useless(known):
        return unexplained(story, known)
    if known is not None and story.val_score is not None:
        evidence = f"{evidence}; {compared_with(known)}"
    behind = known is None or (story.val_score or 0.0) < known.score - at("errors") * known.error
    # Without regularisation, a network is worse on the training examples only if their labels are worse.
    mislabelled = -story.gap > max(at("dropped"), at("clear") * story.gap_error)
    skill = 1.0 if known is None else (known.score - known.chance) / max(1 - known.chance, 1e-9)
    poor = known is None or skill < at("weak") or mislabelled
    if poor and story.parameters >= at("capacity") * story.examples and not story.regularization:
        return Verdict(
            "data suspect",
            "The network is large enough to memorise the examples, but does not: the inputs may not "
            + ("separate the classes, or labels may be wrong." if story.kind == "classes" else "explain the targets."),
            f"{evidence}; {story.parameters:,} parameters for {story.examples:,} examples",
            where,
            [
                f"a look at the examples {PICTURES.get(story.kind, 'in pictures')}",
                story.check("looks at the examples", "only=examples"),
            ],
        )
    if behind and falling(story, story.tail) and not dropped:
        return None
    if not behind:
        return None if strong and story.skill >= at("low_skill") else limited(evidence, where)
    return Verdict(
        "underfitting",
        "The network does not fit even the training examples well."
        if known is None
        else "The network is behind a simple model on the same split.",
        evidence,
        where,
        [],
    )


def no_better_than_a_constant(story: Story) -> Verdict | None:
    """In no epoch are new examples predicted better than by their mean."""
    if story.kind not in MEANS or not story.history:  # other verdicts are about classes
        return None
    split = "val" if story.val_score is not None else "train"
    scores = [row[f"{split}/{story.score}"] for row in story.history if f"{split}/{story.score}" in row]
    if not scores or max(scores) > story.majority:
        return None
    return Verdict(
        CONSTANT,
        "The mean would be as good an answer to new examples: even if the loss falls, the predictions are no use yet.",
        f"{'validation' if split == 'val' else 'training'} {story.noun} at most {max(scores):.3f}, "
        f"{story.majority:.3f} by always predicting the mean",
        f"epoch {len(story.history)}",
        [story.check("compares with simple models", "only=reference")],
    )


def falling(story: Story, trend: Tail | None) -> bool:
    """Whether a loss will clearly fall over half as many epochs again, if its trend goes on: it is too early to judge.

    A loss above that of equal scores that falls to it, because the initial scores were large, teaches nothing.
    """
    if trend is None or (at_chance(story) and story.monitored[-1] > (1 - at("ends")) * story.chance):
        return False
    least = at("improving") if story.skill >= at("low_skill") else at("slowly")
    return trend.fall(story.ahead) > least and trend.least_fall(story.ahead) > at("falling")


def limited(evidence: str, where: str) -> Verdict:
    """Return the verdict that the network is as good as simple models are."""
    return Verdict(
        LIMITED,
        "The network is as good as simple models on the same split: the inputs may not tell more about the targets.",
        evidence,
        where,
        ["other inputs, or more examples", "another kind of model; a larger network only if it gains on new examples"],
    )


def still_improving(story: Story) -> Verdict | None:
    """The run ended while it was still improving."""
    if not story.long_enough or story.status != "finished" or story.losses[-1] < at("solved") * story.chance:
        return None
    losses, trend = story.monitored, story.monitored_tail
    perfect = story.val_score == 1 and story.kind == "classes"
    if trend is None or perfect or not falling(story, trend) or losses[-1] > min(losses) * 1.01:
        return None
    least, most = trend.least_fall(1), trend.most_fall(1)
    return Verdict(
        "still improving",
        "Training ended while the network was still improving.",
        f"the {'validation' if 'val/loss' in story.last else 'training'} loss fell by {trend.fall(1):.1%} per epoch "
        f"in the last {trend.epochs} epochs (95 % interval {least:.1%} to {most:.1%})",
        f"epoch {len(losses)}",
        continued(story),
    )


def continued(story: Story) -> list[str]:
    """Return the command that continues a run, twice as long; none if it is not known how to resume the run."""
    longer = REMEDIES[LONGER](Facts(story.settings, story.planned_steps))
    if not story.resuming or longer is None:
        return []
    return [f"{LONGER}, as a continuation of this run: {COMMAND}train {shlex.join([*story.resuming, *longer])}"]


def no_better_than_bigrams(story: Story) -> Verdict | None:
    """The network does not predict characters better than the bigram table does."""
    loss, table = story.residuals.get("loss"), story.residuals.get("bigram")
    if loss is None or table is None or loss < table or not story.history or story.last["step"] < FEWEST_UPDATES:
        return None
    return Verdict(
        "not better than the bigram table",
        "A table that knows only the last character predicts the next one at least as well.",
        f"{loss:.3f} nats per character on the validation split, {table:.3f} by the table",
        f"epoch {len(story.history)}",
        ["more text"],
    )


def outliers(story: Story) -> Verdict | None:
    """A few errors of a regression are far larger than the others."""
    share, largest = story.residuals.get("outliers", 0.0), story.residuals.get("largest", 0.0)
    if share < at("outliers") or largest < at("outlier_size"):
        return None
    return Verdict(
        "outliers",
        "A few examples are predicted far worse than the others, and the squared error follows them.",
        f"{share:.1%} of the errors are larger than {at('far'):g} times the usual one, the largest {largest:.0f} times",
        f"epoch {len(story.history)}",
        ["a look at them in pictures/residuals.png"],
    )


def uneven_errors(story: Story) -> Verdict | None:
    """The errors of a regression grow or shrink with the prediction."""
    trend, count = story.residuals.get("trend", 0.0), story.residuals.get("examples", 0.0)
    if abs(trend) < max(at("trend"), 4 / math.sqrt(max(count, 1))):
        return None
    way = "grow" if trend > 0 else "shrink"
    return Verdict(
        "uneven errors",
        f"The errors {way} with the prediction, so one squared error does not fit all examples.",
        f"correlation of ranks of prediction and size of the error {trend:.2f}, over {count:,.0f} examples",
        f"epoch {len(story.history)}",
        ["the logarithm of a positive target; a look at the errors in pictures/residuals.png"],
    )


def best_long_past(story: Story) -> Verdict | None:
    """The validation loss was lowest long before the end.

    If the score has not become worse since, the network only becomes too sure of the few examples that it gets wrong
    (Guo et al. 2017, section 3), so that the loss must have risen by far more.
    """
    losses = story.val_losses
    if len(losses) < FEWEST_EPOCHS:
        return None
    best = losses.index(min(losses)) + 1
    noise = 1 + story.noise(story.val_examples)
    worse = max(at("worse"), noise) if story.has_worsened(best) else at("too_sure") * noise
    solved = losses[-1] < at("settled_loss") * story.chance
    if solved or best > at("past") * len(losses) or losses[-1] < worse * losses[best - 1]:
        return None
    return Verdict(
        "best epoch long past",
        "The validation loss was lowest long before the end; the later epochs made it worse.",
        f"loss {losses[best - 1]:.3g} after epoch {best}, {losses[-1]:.3g} after epoch {len(losses)}",
        f"epoch {best}",
        [],
    )


def large_batch(story: Story) -> Verdict | None:
    """An epoch has hardly any updates."""
    if story.whole_batch or story.batch_size <= at("batch") * story.examples:
        return None
    return Verdict(
        "large batch",
        "A batch holds most of the training examples, so an epoch has hardly any updates.",
        f"{story.batch_size:,} of {story.examples:,} examples",
        "all epochs",
        [],
    )


def waiting_for_data(story: Story) -> Verdict | None:
    """Updates have waited for the examples for a good part of the time."""
    reading = story.reading
    if reading is None or reading.share <= at("waiting") or reading.waited < at("waited"):
        return None
    who = f"{reading.workers} worker{'s' * (reading.workers > 1)}" if reading.workers else "the training process"
    return Verdict(
        "waiting for data",
        "Training waits for its examples: they are read more slowly than it learns from them.",
        f"updates waited {reading.share:.0%} of the time, {reading.waited:,.1f} s, for examples that {who} "
        f"read{'' if reading.workers > 1 else 's'}",
        "all epochs",
        ["a cheaper way to read an example; or augmentation of whole batches, of data in memory, by data.augment"],
    )


def healthy(story: Story) -> Verdict:
    """Return the verdict that no problem was found, with the numbers behind it."""
    numbers = [f"training loss {story.initial_loss or story.losses[0]:.3g} -> {story.losses[-1]:.3g}"]
    if story.val_score is not None:
        numbers.append(story.scores.removeprefix("training "))
    losses = story.val_losses
    if losses and story.kind not in MEANS and losses[-1] > at("worse") * min(losses):
        numbers.append(
            f"validation loss {min(losses):.3g} after epoch {losses.index(min(losses)) + 1}, {losses[-1]:.3g} at the "
            f"end: not the {story.noun}, but its certainty is worse"
        )
    ratios = [value for values in story.weight_ratios.values() for value in values]
    if ratios:
        numbers.append(f"update : weight {median(ratios):.1e}")
    dead = [values[max(values)] for values in story.ends("dead").values()]
    if dead:
        numbers.append(f"at most {max(dead):.0%} dead units in a layer")
    unseen = "" if story.layers else " The layers were not recorded."
    unseen += "" if story.ratios else " The curves of a likelihood, which may be negative, are not judged."
    unseen += "" if story.long_enough else f" Curves of fewer than {FEWEST_EPOCHS} epochs are not judged."
    return Verdict("healthy", f"These numbers show no problem.{unseen}", "; ".join(numbers), "all epochs", [])


def layers_above(story: Story, quantity: str) -> dict[str, float]:
    """Return the layers in which a quantity has reached its threshold at the end of training, with its value."""
    ends = {layer: values[max(values)] for layer, values in story.ends(quantity).items() if max(values) > 0}
    return {layer: value for layer, value in ends.items() if value >= at(quantity)}


def units_verdict(story: Story, quantity: str, name: str, finding: str) -> Verdict | None:
    """Return a verdict on a share of the units of a layer, or None if no layer has reached its threshold.

    Args:
        story: the facts of the run.
        quantity: of `layers.csv`, a share with a threshold of the same name.
        name, finding: of the verdict.
    """
    layers = layers_above(story, quantity)
    if not layers:
        return None
    return Verdict(name, finding, listed(layers, "{:.0%}"), f"epoch {len(story.history)}, {', '.join(layers)}", [])


def gradient_ratios(story: Story, *, only_before_training: bool = False) -> dict[str, float]:
    """Return the gradient at the first hidden layer over that at the last one, by the time it was taken."""
    ratios = story.ends("signal_ratio").get("model", {})
    if 0 not in ratios:
        return {}
    before = {"epoch 0": ratios[0]}
    return (
        before if only_before_training else {**before, f"median of epochs 0 to {max(ratios)}": median(ratios.values())}
    )


def gradient_verdict(
    name: str,
    finding: str,
    worst: Callable[[Iterable[float]], float],
    ratios: Mapping[str, float],
) -> Verdict | None:
    """Return a verdict on the gradient's ratios that are out of bounds, or None if there are none.

    Args:
        name, finding: of the verdict.
        worst: chooses the ratio to show: `min` or `max`.
        ratios: those out of bounds, by the time they were taken.
    """
    if not ratios:
        return None
    evidence = f"the gradient at the first hidden layer is {worst(ratios.values()):.1e} times that at the last one"
    return Verdict(name, finding, evidence, " and ".join(ratios), [])


def listed(values: dict[str, float], form: str) -> str:
    """Return the values of the first three layers for people, and the number of the others."""
    shown = [f"{layer} {form.format(value)}" for layer, value in list(values.items())[:3]]
    more = f" and {len(values) - 3} more" if len(values) > 3 else ""
    return ", ".join(shown) + more


JUDGES: tuple[Judge, ...] = (
    questionable_data,
    questionable_model,
    symmetry,
    initial_loss,
    not_finite,
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
    nothing_carries_over,
    overfitting,
    no_better_than_bigrams,
    low_everywhere,
    no_better_than_a_constant,
    outliers,
    uneven_errors,
    best_long_past,
    large_batch,
    still_improving,
    waiting_for_data,
)

OF_RATIOS = (initial_loss, rate_too_high, rate_too_low, stuck, best_long_past, still_improving)
"""The judges of ratios of losses."""
LOW = ("underfitting", "data suspect", LIMITED, CONSTANT)
EXPLAINS: dict[str, tuple[str, ...]] = {
    "symmetry": ("learning rate too low", "stuck", "dead units", "one class", *LOW),
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
    "not finite": ("dead units", "saturation", "one class", "updates too large", "updates too small"),
    "overfitting": ("best epoch long past", CONSTANT),
    "underfitting": (CONSTANT,),
    LIMITED: (CONSTANT,),
    "not better than the bigram table": LOW,
    "large batch": ("still improving",),
    "data suspect": ("overfitting", "best epoch long past", *LOW),
}
"""The verdicts that are left out because the one that explains them is given."""
