"""The findings of a search: the best trial, the important hyperparameters, and ranges that are too narrow."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from experiments.common.files import write_json
from experiments.common.text import counted as counted_noun
from experiments.common.text import shown_path, visible

from ._rounds import BEST, border
from ._study import better_first, counted
from .space import Space

FEWEST = 25
"""The fewest complete trials for which importance is measured: five of them are the best fifth, which it is about."""
RESAMPLES = 100
"""The number of resampled sets of trials from which the intervals of importance are taken."""
LEVEL = 0.95
STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.RUNNING: "running"}


def findings(study: optuna.Study, space: Space) -> dict[str, Any]:
    """Return the content of `search.json`."""
    trials = counted(study)
    best = next(iter(better_first(study, trials)), None)
    return {
        "study": study.study_name,
        "objective": study.user_attrs.get("objective"),
        "direction": study.direction.name.lower(),
        "best": None if best is None else about(best),
        **importance(study, trials),
        "position": {} if best is None else positions(best, space),
        "states": states(study),
    }


def about(trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial's number, value, parameters and folders."""
    kept = ("folders", "seeds", "round")
    described = {"trial": trial.number, "value": trial.value, "params": dict(trial.params)}
    return described | {key: trial.user_attrs[key] for key in kept if key in trial.user_attrs}


def states(study: optuna.Study) -> dict[str, int]:
    """Return the number of trials in each state."""
    counts: Counter[str] = Counter()
    for trial in study.get_trials(deepcopy=False):
        if trial.state == TrialState.WAITING:
            counts["waiting"] += 1
        elif trial.user_attrs.get("left"):
            counts["interrupted"] += 1
        else:
            counts[STATES.get(trial.state) or trial.user_attrs.get("status", "failed")] += 1
    return dict(counts)


def importance(study: optuna.Study, trials: list[FrozenTrial]) -> dict[str, Any]:
    """Return the share of each hyperparameter in the decision which trials are the best fifth, with its interval.

    The method is PED-ANOVA (Watanabe et al. 2023); the intervals are those of the bootstrap over trials (Efron 1979).
    The shares of trials without any effect are unequal too, so shares are given only if at least one of them is
    certainly above an equal share; of 60 searches of 25 trials and 60 of 60 in which nothing mattered, this was the
    case in none.

    Returns:
        `importance`: the shares, the largest first; empty if they cannot be told. `importance_interval`: the ends of
        their 95 % intervals. `importance_trials`: the number of trials.
    """
    complete = better_first(study, trials)
    nothing: dict[str, Any] = {"importance": {}, "importance_interval": {}, "importance_trials": len(complete)}
    if len(complete) < FEWEST or len(widest(complete)) < 2:
        return nothing
    whole = shares_of(study, complete)
    draws = np.random.default_rng(0).integers(0, len(complete), (RESAMPLES, len(complete)))
    resampled = [shares_of(study, [complete[index] for index in draw]) for draw in draws]
    ends = {
        name: [
            round(float(np.quantile([one[name] for one in resampled], quantile)), 4)
            for quantile in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
        ]
        for name in whole
    }
    if not any(low > 1 / len(whole) for low, _ in ends.values()):
        return nothing
    order = sorted(whole, key=lambda name: -whole[name])
    return {
        "importance": {name: round(whole[name], 4) for name in order},
        "importance_interval": {name: ends[name] for name in order},
        "importance_trials": len(complete),
    }


def shares_of(study: optuna.Study, complete: list[FrozenTrial]) -> dict[str, float]:
    """Return the shares of some trials; equal ones if no hyperparameter has an effect."""
    from optuna.importance import PedAnovaImportanceEvaluator

    distributions = widest(complete)
    copy = optuna.create_study(direction=study.direction)
    copy.add_trials(
        create_trial(
            params={name: trial.params[name] for name in distributions}, distributions=distributions, value=trial.value
        )
        for trial in complete
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = PedAnovaImportanceEvaluator(target_quantile=BEST).evaluate(copy)
    total = sum(found.values())
    return {
        name: float(found.get(name, 0.0)) / total if total > 0 else 1 / len(distributions) for name in distributions
    }


def widest(trials: list[FrozenTrial]) -> dict[str, BaseDistribution]:
    """Return ranges that contain all trials, of the hyperparameters that all trials have: rounds change the ranges."""
    shared = [name for name in trials[0].params if all(name in trial.params for trial in trials)]
    return {name: union([trial.distributions[name] for trial in trials]) for name in shared}


def union(distributions: list[Any]) -> BaseDistribution:
    """Return the distribution from the lowest to the highest end of several of the same kind."""
    first = distributions[0]
    if isinstance(first, CategoricalDistribution):
        return first
    low, high = min(d.low for d in distributions), max(d.high for d in distributions)
    if isinstance(first, IntDistribution):
        return IntDistribution(low, high, log=first.log)
    return FloatDistribution(low, high, log=first.log)


def positions(best: FrozenTrial, space: Space) -> dict[str, dict[str, Any]]:
    """Return the position of each of the best trial's numbers in its range, and the border if it is at one."""
    by_name = {}
    for name, value in best.params.items():
        distribution: Any = best.distributions[name]
        if name not in space.dimensions or isinstance(distribution, CategoricalDistribution):
            continue
        dimension = space.within({name: (distribution.low, distribution.high)}).dimensions[name]
        by_name[name] = {
            "low": distribution.low,
            "high": distribution.high,
            "position": round(dimension.position(value), 3),
            "border": border(dimension, value) or None,
        }
    return by_name


def conclude(study: optuna.Study, space: Space, folder: Path) -> dict[str, Any]:
    """Print the findings, and write them and their pictures into the sweep's folder."""
    found = findings(study, space)
    write_json(folder / "search.json", found)
    for line in lines_of(found):
        print(visible(line))
    from ._pictures import draw

    draw(study, space, list(found["importance"]), folder / "search")
    print(f"search   {shown_path(folder / 'search.json')}, pictures in {shown_path(folder / 'search')}")
    return found


def lines_of(found: dict[str, Any]) -> list[str]:
    """Return the findings as lines."""
    counts = ", ".join(f"{count} {state}" for state, count in found["states"].items())
    lines = [f"trials   {counts}"]
    best = found["best"]
    if best is None:
        return [*lines, "best     none: no trial has a result"]
    params = " ".join(f"{name}={value}" for name, value in best["params"].items())
    lines.append(f"best     trial {best['trial']}: {found['objective']} {best['value']:.4g} with {params}")
    lines.append(f"matters  {importance_text(found)}")
    return [*lines, *border_lines(found)]


def border_lines(found: Mapping[str, Any], of: str = "") -> list[str]:
    """Return a line for each number of the best trial that is at a border of its range.

    Args:
        found: the findings; there is a best trial.
        of: what the trial is of, before the number; empty for nothing.
    """
    return [
        f"border   {of}{name}={found['best']['params'][name]:.3g} is at the {position['border']} end of "
        f"{position['low']:.3g} to {position['high']:.3g}; extend the range"
        for name, position in found["position"].items()
        if position["border"]
    ]


def importance_text(found: dict[str, Any]) -> str:
    """Return which hyperparameters matter, or why that cannot be told."""
    trials = found["importance_trials"]
    if found["importance"]:
        ends = found["importance_interval"]
        shares = [
            f"{name} {share:.0%} (95 % {100 * ends[name][0]:.0f} to {100 * ends[name][1]:.0f})"
            for name, share in found["importance"].items()
        ]
        return f"{', '.join(shares)}, n = {trials} trials"
    if len(found["best"]["params"]) < 2:
        return "only one hyperparameter was searched"
    if trials < FEWEST:
        return f"cannot be told from {counted_noun(trials, 'trial')} with a result; at least {FEWEST} are needed"
    return f"cannot be told from {trials} trials: no share is certainly above an equal one"
