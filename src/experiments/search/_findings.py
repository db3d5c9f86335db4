"""The findings of a search: the best trial, the important hyperparameters, and ranges that are too narrow."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from experiments.common.files import write_json
from experiments.common.text import shown_path, visible

from ._rounds import BEST, border
from ._study import better_first, counted
from .space import Space

FEWEST = 5
"""The fewest complete trials for which importance is measured."""
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
        "importance": importance(study, trials),
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


def importance(study: optuna.Study, trials: list[FrozenTrial]) -> dict[str, float]:
    """Return the share of each hyperparameter in the decision which trials are the best fifth, the largest first.

    The method is PED-ANOVA (Watanabe et al. 2023). The result is empty if there are too few trials.
    """
    complete = better_first(study, trials)
    if len(complete) < FEWEST:
        return {}
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    distributions = widest(complete)
    copy = optuna.create_study(direction=study.direction)
    for trial in complete:
        params = {name: trial.params[name] for name in distributions}
        copy.add_trial(create_trial(params=params, distributions=distributions, value=trial.value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST)
        shares = get_param_importances(copy, evaluator=evaluator)
    return {name: round(float(share), 4) for name, share in sorted(shares.items(), key=lambda item: -item[1])}


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
    if found["importance"]:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in found["importance"].items())
        lines.append(f"matters  {shares}")
    else:
        lines.append(f"matters  unknown: at least {FEWEST} trials with a result are needed")
    lines += [
        f"border   {name}={best['params'][name]:.3g} is at the {position['border']} end of {position['low']:.3g} to "
        f"{position['high']:.3g}; extend the range"
        for name, position in found["position"].items()
        if position["border"]
    ]
    return lines
