"""What a fair comparison promises: false claims, coverage with and without the rerun, power of 'at least N seeds'."""

import math
import os
import tempfile
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from experiments.common.metrics import Metric
from experiments.common.screen import table
from experiments.comparison._answers import Answer, Question, answered
from experiments.comparison._fair import luck_of
from experiments.comparison._words import LEVEL
from experiments.comparison.grouping import Group, Grouping
from experiments.comparison.statistics import power_of
from experiments.folders.reading import Record

from .measure import Settings, process

STUDIES, QUICK = 2_000, 200
GROUPS, TRIALS, FRESH, EXAMPLES = 4, 15, 8, 360
"""Optimizers, trials of each, fresh seeds, and examples of the split on which accuracy is measured."""
OWN, SHARED = 0.2, 0.15
"""The standard deviations of a run's own luck and of its seed's, as logits: about 1 and 0.7 points of 95 %."""
BEST, LOSS = 3.0, 0.6
"""The logit of the accuracy at the best rate, and how much of it is lost one decade away."""
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(41)
ACCURACY, VALUE = Metric("val/accuracy"), Metric("val/loss")
SEEDS = (2, 3, 5, 8)
AIM = 0.8
COMMAND = (
    "-m", "experiments.train", "-m", "search=fair", "for=optimizer", "optimizer=sgd,momentum,adagrad,adam",
    "optimizer.lr=tag(log,interval(1e-4,1))", f"hydra.sweeper.n_trials={TRIALS}", f"hydra.sweeper.fresh_seeds={FRESH}",
)  # fmt: skip

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Study:
    """A simulated study.

    Args:
        answer: what the comparison says.
        truth: the true mean of each group at its chosen setting.
    """

    answer: Answer
    truth: dict[str, float]

    @property
    def claims(self) -> bool:
        """Whether a group is said to beat another."""
        return any(pair.corrected < LEVEL for pair in self.answer.differences)

    @property
    def covered(self) -> list[bool]:
        """Whether the interval of each group contains the truth."""
        found = [(row.estimate, self.truth[row.group.name]) for row in self.answer.rows]
        return [
            mean.low <= truth <= mean.high
            for mean, truth in found
            if mean is not None and mean.low is not None and mean.high is not None
        ]

    @property
    def flattery(self) -> list[float]:
        """How much higher than the truth the mean of each group is."""
        return [row.estimate.mean - self.truth[row.group.name] for row in self.answer.rows if row.estimate is not None]


def run(settings: Settings, screen: Console) -> None:
    """Print the rates of simulated studies, the power of the numbers of seeds, and the time of a real fair search."""
    studies = QUICK if settings.quick else STUDIES
    generator = np.random.default_rng(0)
    screen.print(
        f"Fairness: {studies:,} studies of {GROUPS} equal optimizers, each at the best of {TRIALS} random rates, "
        f"{FRESH} seeds, accuracies of {EXAMPLES} examples"
    )
    ways = ("search=fair", "fresh seeds only", "runs that chose")
    shown = table("", *ways, "aim", "met", right=(*ways, "aim"))
    for loss, title in ((LOSS, "the rate matters"), (0.0, "the rate does not matter")):
        found = [[study(generator, way, loss) for _ in range(studies)] for way in ways]
        claimed = [share(s.claims for s in some) for some in found]
        covered = [share(c for s in some for c in s.covered) for some in found]
        high = [100 * float(np.mean([f for s in some for f in s.flattery])) for some in found]
        claims, covers = claimed[0] <= 0.05, 0.93 <= covered[0] <= 0.97
        shown.add_row(f"{title}: studies that claim a difference", *map(percent, claimed), "<= 5 %", met(claims))
        shown.add_row(f"{title}: 95 % intervals with the true mean", *map(percent, covered), "93 to 97 %", met(covers))
        shown.add_row(f"{title}: mean minus the true one, points", *(f"{value:+.2f}" for value in high), "", "")
    screen.print(shown)
    screen.print("Power of 'at least N seeds would show a difference of this size', averaged over undecided studies")
    shown = table(
        "seeds", "groups", "claims", "power", "aim", "met", right=("seeds", "groups", "claims", "power", "aim")
    )
    for groups in (2, 4):
        for seeds in SEEDS:
            power = powers(generator, groups, seeds, studies // 2)
            mean = float(np.mean(power))
            shown.add_row(
                str(seeds), str(groups), str(len(power)), f"{mean:.2f}", ">= 0.80", "yes" if mean >= AIM else "NO"
            )
    screen.print(shown)
    if not settings.quick and find_spec("optuna") is not None:
        with tempfile.TemporaryDirectory() as temporary:
            whole = process(COMMAND, Path(temporary))
        screen.print(
            f"search=fair on digits, {GROUPS} optimizers x {TRIALS} trials x {FRESH} fresh seeds, from start to end: "
            f"{whole.seconds:.0f} s (aim: at most 300 s on two quiet cores; load {os.getloadavg()[0]:.1f})"
        )


def met(holds: bool) -> str:
    """Return whether an aim is met."""
    return "yes" if holds else "NO"


def share(values: Iterable[float]) -> float:
    """Return the mean of some truth values."""
    return float(np.mean(list(values)))


def percent(value: float) -> str:
    """Return a share for people."""
    return f"{100 * value:.1f} %"


def study(generator: np.random.Generator, way: str, loss: float) -> Study:
    """Return a study in which all optimizers are equal: the same accuracy at the same rate.

    Args:
        generator: of the draws.
        way: `runs that chose`: each rate has all the seeds, and the runs that choose it are compared; otherwise one run
            of each rate chooses, and the best rate runs again on fresh seeds; `search=fair` knows the luck of that.
        loss: of the logit, one decade away from the best rate.
    """
    logits = BEST - loss * generator.uniform(-2, 2, TRIALS) ** 2
    rerun = way != "runs that chose"
    tried = accuracies(generator, np.tile(logits, (GROUPS, 1)), 1 if rerun else FRESH)
    scores = tried.mean(2)
    best = scores.argmax(1)
    runs = accuracies(generator, logits[best][:, None], FRESH)[:, 0] if rerun else tried[np.arange(GROUPS), best]
    groups, truth = [], {}
    for number in range(GROUPS):
        name = f"optimizer={number}"
        luck = luck_of(scores[number], scores[number], float(runs[number].std(ddof=1))) if way == "search=fair" else 0.0
        groups.append(replace(group_of(name, runs[number], ACCURACY.name), luck=luck))
        truth[name] = mean_accuracy(float(logits[best[number]]))
    return Study(answered(Grouping(groups, ["optimizer"], ["optimizer"], ["seed"]), Question(ACCURACY)), truth)


def accuracies(generator: np.random.Generator, logits: Array, seeds: int) -> Array:
    """Return accuracies (groups, settings, seeds): a seed's luck is shared by all groups, the rest is a run's own."""
    luck = generator.normal(0, SHARED, seeds) + generator.normal(0, OWN, (*logits.shape, seeds))
    return generator.binomial(EXAMPLES, 1 / (1 + np.exp(-logits[..., None] - luck))) / EXAMPLES


def mean_accuracy(logit: float) -> float:
    """Return the mean accuracy over a run's luck, by Gauss and Hermite's rule."""
    nodes = logit + math.hypot(OWN, SHARED) * NODES
    return float((WEIGHTS / (1 + np.exp(-nodes))).sum() / WEIGHTS.sum())


def group_of(name: str, values: Array, metric: str) -> Group:
    """Return a group of finished runs with some values of a metric."""
    records: dict[Hashable, Record] = {
        seed: Record(Path(name, str(seed)), {}, {}, (), {}, {"status": "finished", "metrics": {metric: float(value)}})
        for seed, value in enumerate(values)
    }
    return Group(name, {"optimizer": name}, records, metric)


def powers(generator: np.random.Generator, groups: int, seeds: int, studies: int) -> list[float]:
    """Return the power of each number of seeds that is named, if the difference is the one that is named.

    The true differences are of the size of the spread of a run, and smaller.
    """
    found = []
    for _ in range(studies):
        means = generator.normal(0, 1, groups)
        values = means[:, None] + generator.normal(0, 1, (groups, seeds)) + generator.normal(0, 1, seeds)
        named = [group_of(f"optimizer={number}", row, VALUE.name) for number, row in enumerate(values)]
        answer = answered(Grouping(named, ["optimizer"], ["optimizer"], ["seed"]), Question(VALUE))
        for pair in answer.differences:
            if pair.needed is not None and pair.needed > seeds:
                size = min(abs(pair.difference.mean) / math.sqrt(2), 50.0)
                found.append(power_of(size, pair.needed, LEVEL / pair.tests, paired=True))
    return found
