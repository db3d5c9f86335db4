"""Run folders with numbers that are known beforehand, and the comparisons made of them."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.helpers import Commands, Outcome, table

CONFIG = {
    "name": "planted",
    "seed": 0,
    "objective": "val/loss",
    "data._target_": "experiments.data.sources.digits",
    "data.limit": 200,
    "model._target_": "experiments.models.mlp.MLP",
    "model.hidden": [100, 100],
    "model.batch_norm": False,
    "model.dropout": 0.0,
    "init._target_": "experiments.initializers.he",
    "optimizer._target_": "torch.optim.SGD",
    "optimizer.lr": 0.1,
    "training.epochs": 3,
    "training.clip_norm": None,
}
CHOICES = {"data": "digits", "model": "mlp", "init": "he", "optimizer": "sgd"}
TARGETS = {"optimizer": "torch.optim", "init": "experiments.initializers", "data": "experiments.data.sources"}


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted keys as sections."""
    found: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, last = key.split(".")
        place = found
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return found


def plant(
    folder: Path,
    value: float | None = None,
    *,
    metric: str = "val/loss",
    status: str | None = "finished",
    curve: Sequence[float] | None = None,
    summary: Mapping[str, Any] | None = None,
    without: Sequence[str] = (),
    **settings: Any,
) -> Path:
    """Write a run's folder, as a run would.

    Args:
        value: of the metric in its summary; None for none.
        status: None for a run that has not ended.
        curve: the metric, epoch by epoch; an epoch takes two seconds.
        summary: more of it.
        without: keys that its configuration does not have.
        settings: of the configuration, dots as two underscores: `optimizer__lr=0.1`, or of a config group:
            `optimizer="adam"`.
    """
    settings = {key.replace("__", "."): given for key, given in settings.items()}
    choices = {**CHOICES, **{key: given for key, given in settings.items() if key in CHOICES}}
    targets = {f"{key}._target_": f"{TARGETS[key]}.{settings[key]}" for key in TARGETS if key in settings}
    own = {key: given for key, given in settings.items() if key not in CHOICES}
    flat = {key: given for key, given in {**CONFIG, **targets, **own}.items() if key not in without}
    hydra = folder / ".hydra"
    hydra.mkdir(parents=True)
    (hydra / "config.yaml").write_text(yaml.safe_dump(nested(flat), sort_keys=False))
    noted = "".join(f"      {key}: {choice}\n" for key, choice in choices.items())
    (hydra / "hydra.yaml").write_text(f"hydra:\n  runtime:\n    choices:\n{noted}  verbose: false\n")
    (hydra / "overrides.yaml").write_text(yaml.safe_dump([f"{key}={given}" for key, given in settings.items()]))
    if curve is not None:
        rows = "".join(f"{epoch},{7 * epoch},{at},{2 * epoch}\n" for epoch, at in enumerate(curve, 1))
        (folder / "metrics.csv").write_text(f"epoch,step,{metric},seconds\n{rows}")
    if status is not None:
        metrics = {} if value is None else {metric: value}
        found = {"status": status, "metrics": metrics, "seed": flat.get("seed"), **(summary or {})}
        (folder / "summary.json").write_text(json.dumps(found))
    return folder


def plant_all(top: Path, values: Sequence[float], metric: str = "val/loss", **settings: Any) -> None:
    """Write a run for each value, with seeds 1, 2, ..."""
    name = "_".join(f"{key}={value}" for key, value in settings.items()) or "plain"
    for seed, value in enumerate(values, 1):
        plant(top / f"{name}_{seed}", value, metric=metric, seed=seed, objective=metric, **settings)


def rows_of(folder: Path, name: str = "table") -> list[dict[str, str]]:
    """Return one of a comparison's tables."""
    return table(folder / "comparison" / f"{name}.csv")


def compared(commands: Commands, folder: Path | str, *options: str) -> Outcome:
    """Compare, and expect it to succeed without a warning."""
    outcome = commands.type("compare", str(folder), *options)
    assert (outcome.code, outcome.err) == (0, "")
    return outcome


def refused(commands: Commands, *arguments: str) -> str:
    """Compare, expect one sentence and code 2, and return the sentence."""
    outcome = commands.type("compare", *arguments)
    assert outcome.code == 2, outcome.out
    assert re.fullmatch(r"Error: [^\n]+\n", outcome.err), outcome.err
    assert outcome.out == ""
    return outcome.err
