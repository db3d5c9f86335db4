"""What remedies do: paired differences from the run over the seeds, corrected for their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from experiments.common.metrics import Metric
from experiments.comparison.statistics import Difference, difference, holm, resolution_of
from experiments.verdicts.remedies import conflicts

from ._treatments import Treatment

LEVEL = 0.05
SMALL = 0.01
"""A difference in a share, or in the share of a loss, below which a remedy does nothing."""
Effect = Literal["helps", "does nothing", "harms", "not clear", "not compared"]
ORDER: tuple[Effect, ...] = ("helps", "does nothing", "not clear", "harms", "not compared")
"""In the table."""
Values = Mapping[int, float]
"""The metric by seed."""


@dataclass(frozen=True)
class Tried:
    """A remedy that was tried.

    Args:
        treatment: its configuration.
        values: the metric by seed.
        found: its values minus those of the run; None if they cannot be compared.
        p: see `p_of`.
        corrected: the same, corrected for the number of remedies.
        effect: in a word.
        bad: the number of runs without a result, which count as the worst one.
    """

    treatment: Treatment
    values: Values
    found: Difference | None
    p: float
    corrected: float
    effect: Effect
    bad: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as `remedy.json` holds it."""
        found = self.found
        return {
            "name": self.treatment.name,
            "overrides": list(self.treatment.overrides),
            "verdicts": list(self.treatment.verdicts),
            "effect": self.effect,
            "difference": None if found is None else found.mean,
            "low": None if found is None else found.low,
            "high": None if found is None else found.high,
            "p": None if found is None else self.p,
            "corrected_p": None if found is None else self.corrected,
            "values": {str(seed): value for seed, value in self.values.items()},
            "runs_without_result": self.bad,
        }


def filled(
    measured: Mapping[str, Mapping[int, float | None]], metric: Metric, guess: float | None = None
) -> dict[str, Values]:
    """Return the values of treatments, with the worst value of the same seed for each run that has none.

    A run that diverges has no score; leaving it out would reward a remedy whose bad runs are missing.

    Args:
        measured: the metric by treatment and seed; None for a run without a result.
        metric: that is compared.
        guess: the value of a network that knows nothing, than which no run without a result is better; None if it is
            unknown.
    """
    worst = min if metric.larger_is_better else max
    every = [value for values in measured.values() for value in values.values() if value is not None]
    complete: dict[str, Values] = {}
    for name, values in measured.items():
        own = {}
        for seed, value in values.items():
            others = [v[seed] for v in measured.values() if v.get(seed) is not None]
            known = [v for v in others if v is not None] or every
            own[seed] = value if value is not None else worst([*known, *([] if guess is None else [guess])])
        complete[name] = own
    return complete


def effects(
    original: Values,
    treatments: Sequence[Treatment],
    values: Mapping[str, Values],
    bad: Mapping[str, int],
    metric: Metric,
) -> list[Tried]:
    """Return what each remedy does, those that help most first.

    Args:
        original: the values of the run.
        treatments: those that were tried.
        values: of each treatment, by name.
        bad: the number of runs without a result, by name.
        metric: that is compared.
    """
    resolution = resolution_of([*original.values(), *(v for own in values.values() for v in own.values())])
    found = [difference(values[one.name], original, resolution) for one in treatments]
    chances = [p_of(one, values[own.name], original) for one, own in zip(found, treatments, strict=True)]
    compared = iter(holm([p for p, one in zip(chances, found, strict=True) if one is not None]))
    tried = []
    for treatment, one, p in zip(treatments, found, chances, strict=True):
        corrected = next(compared) if one is not None else 1.0
        effect = judged(one, corrected, original, metric)
        tried.append(Tried(treatment, values[treatment.name], one, p, corrected, effect, bad.get(treatment.name, 0)))
    sign = 1 if metric.larger_is_better else -1
    return sorted(tried, key=lambda one: (ORDER.index(one.effect), -sign * (one.found.mean if one.found else 0.0)))


def p_of(found: Difference | None, values: Values, original: Values) -> float:
    """Return twice the smaller p value of the paired t-test and of Wilcoxon's signed-rank test; 1 without a difference.

    A run with a fault may be fine with some seeds and far off with others. The t-test hardly shows a difference that is
    tiny for most seeds and large for a few, even if it has the same sign for all; ranks do. They count only if most
    differences have the sign of their mean.

    Args:
        found: the values of a remedy minus those of the run.
        values, original: both, by seed.
    """
    if found is None:
        return 1.0
    gaps = [values[seed] - original[seed] for seed in original if seed in values]
    agree = found.mean * (sum(gap > 0 for gap in gaps) - sum(gap < 0 for gap in gaps)) > 0
    return min(1.0, 2 * min(found.t_p, found.wilcoxon_p if agree else 1.0))


def judged(found: Difference | None, corrected: float, original: Values, metric: Metric) -> Effect:
    """Return the effect of a remedy in a word; a difference that is surely tiny is nothing, even if it is shown."""
    if found is None:
        return "not compared"
    mean = sum(original.values()) / len(original)
    small = SMALL * (1.0 if metric.larger_is_better else max(abs(mean), 1e-9))
    bounds = [abs(bound) for bound in (found.low, found.high) if bound is not None]
    if max(bounds, default=abs(found.mean)) <= small:
        return "does nothing"
    if corrected < LEVEL and found.mean != 0:
        return "helps" if (found.mean > 0) == metric.larger_is_better else "harms"
    return "not clear"


def joined(names: Sequence[str]) -> str:
    """Return names as a list in a sentence."""
    return " and ".join([*([", ".join(names[:-1])] if len(names) > 1 else []), *names[-1:]])


def combination(tried: Sequence[Tried]) -> tuple[list[str], list[str], list[str]]:
    """Return the overrides of all remedies that help, their names, and sentences about those that do not fit.

    The one that helps most comes first; one that sets the same key to another value is left out.
    """
    overrides: list[str] = []
    names: list[str] = []
    unfit: dict[str, list[str]] = {}
    for one in tried:
        if one.effect != "helps":
            continue
        keys = conflicts(overrides, one.treatment.overrides)
        if keys:
            unfit.setdefault(keys[0], []).append(one.treatment.name)
            continue
        overrides += [word for word in one.treatment.overrides if word not in overrides]
        names.append(one.treatment.name)
    left_out = [
        f"not combined with {joined(names)}, because of {key}: {', '.join(others)}" for key, others in unfit.items()
    ]
    return overrides, names, left_out
