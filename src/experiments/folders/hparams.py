"""TensorBoard's HParams tab: which settings and metrics it shows of a run or of a sweep, and their types.

TensorBoard compares values with the declared ones: a run whose value has another type than the declaration is hidden.
So a sweep declares the type of every column, and its runs write their values in it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omegaconf import DictConfig, OmegaConf

from experiments.common.metrics import objective_of

from .defaults import choices_of, differing, tells
from .events import FILES, append, records, series
from .hydra import is_built, task_part
from .sweep import FILE

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

METRICS = ("val/accuracy", "val/loss", "train/accuracy", "train/loss")
MAIN = ("data", "model", "init", "optimizer", "optimizer.lr")
"""The columns of the default run, which differs in nothing: without a column TensorBoard shows no metrics either."""
DECLARED_BYTES = 1_000_000
"""The beginning of an event file, in which its declaration is."""

Kind = Literal["bool", "number", "text"]
Domain = tuple[float, float] | Sequence[Any]
"""A tuple (low, high) for a range, a list for a choice; an empty list if the values are not known."""


@dataclass(frozen=True)
class Hyperparameters:
    """What the HParams tab shows of a run.

    Args:
        settings: all of them by key, with the choices of the config groups.
        shown: the columns of a run that belongs to no sweep.
        metrics: the columns of `metrics.csv` that such a run shows.
    """

    settings: Mapping[str, Any]
    shown: Sequence[str] = ()
    metrics: Sequence[str] = METRICS


def metrics_shown(objective: str, *, validated: bool = True) -> list[str]:
    """Return the metrics of the tab, the objective first.

    Args:
        objective: decides which epoch is best.
        validated: whether there is a validation split.
    """
    usual = [name for name in METRICS if validated or name.startswith("train/")]
    kind = objective.partition("/")[2]
    if kind != "accuracy" and objective not in usual and (validated or not objective.startswith("val/")):
        usual.append(objective)
    return sorted(usual, key=objective.__ne__)


def session(folder: Path, run: Hyperparameters) -> list[Summary]:
    """Return what a run writes for the HParams tab: its values and, if it belongs to no sweep, the columns.

    Args:
        folder: of the run.
        run: its settings.
    """
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    path = folder.absolute()
    sweep = next((above for above in path.parents[:2] if (above / FILE).exists()), None)
    if sweep is None:
        columns: dict[str, Domain] = {name: [run.settings.get(name)] for name in run.shown or MAIN}
        validated = [name for name in run.metrics if name.startswith("val/")]
        # TensorBoard does not find a folder below the run if it shows nothing but this run.
        own = [experiment({}, columns, validated or run.metrics)]
        kinds = {name: kind(domain) for name, domain in columns.items()}
        title = "/".join(path.parts[-2:])
    else:
        kinds, own, title = declared(sweep), [], f"{path.name} ({sweep.name})"
    values = {
        name: in_kind(value, kinds.get(name)) for name, value in run.settings.items() if name in kinds or tells(name)
    }
    known = {name: value for name, value in values.items() if value is not None}
    return [*own, hparams_pb(known, trial_id=title, start_time_secs=time.time())]


def common_settings(config: DictConfig) -> dict[str, Any]:
    """Return the settings of all runs of a sweep that differ from the default run.

    Args:
        config: the sweep's own.
    """
    plain: Any = OmegaConf.to_container(task_part(config), resolve=False)
    found = differing(plain, choices_of(config.hydra.runtime.choices), list(config.hydra.overrides.task))
    return {key: value for key, value in found.items() if not is_built(value)}


def metrics_of(config: Mapping[Any, Any]) -> list[str]:
    """Return the metrics that the tab shows of a sweep.

    Args:
        config: the sweep's own.
    """
    data = config.get("data") or {}
    unvalidated = data.get("val_fraction") == 0 and data.get("folds") is None
    return metrics_shown(objective_of(config), validated=not unvalidated)


def hparams_config(
    folder: Path, swept: Mapping[str, Domain], given: Mapping[str, Any], metrics: Sequence[str] = METRICS
) -> None:
    """Write an event file that declares the settings and metrics of a sweep, unless the folder has one.

    Args:
        folder: the sweep's.
        swept: what the runs differ in.
        given: other settings that differ from the default run, and their value.
        metrics: columns of `metrics.csv`.
    """
    from tensorboard.compat.proto.event_pb2 import Event

    if any(folder.glob(FILES)):
        return
    now = time.time()
    summary = experiment(swept, {name: [value] for name, value in given.items() if name not in swept}, metrics)
    append(
        folder / f"events.out.tfevents.{int(now):010d}.sweep",
        [Event(wall_time=now, file_version="brain.Event:2"), Event(wall_time=now, summary=summary)],
    )


def experiment(swept: Mapping[str, Domain], given: Mapping[str, Domain], metrics: Sequence[str]) -> Summary:
    """Return the declaration of the columns.

    Args:
        swept: shown first.
        given: other settings.
        metrics: columns of `metrics.csv`.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    infos = []
    for name, domain in [*swept.items(), *given.items()]:
        info = api_pb2.HParamInfo(name=name, differs=name in swept)
        if domain:
            domain_of(domain).update_hparam_info(info)
        else:
            info.type = api_pb2.DATA_TYPE_STRING
        infos.append(info)
    validated = any(name.startswith("val/") for name in metrics)
    places = [(name, *series(name, validated=validated)) for name in metrics]
    content = plugin_data_pb2.HParamsPluginData(
        experiment=api_pb2.Experiment(
            hparam_infos=infos,
            metric_infos=[
                api_pb2.MetricInfo(name=api_pb2.MetricName(group=group, tag=tag), display_name=name)
                for name, group, tag in places
            ],
            time_created_secs=time.time(),
        )
    )
    value = Summary.Value(
        tag=metadata.EXPERIMENT_TAG,
        metadata=metadata.create_summary_metadata(content),
        tensor=metadata.NULL_TENSOR,
    )
    return Summary(value=[value])


def declared(folder: Path) -> dict[str, Kind]:
    """Return the kind of each column that a sweep has declared; empty if it has not."""
    for path in sorted(folder.glob(FILES)):
        found = declaration(path, path.stat().st_mtime_ns)
        if found is not None:
            return found
    return {}


@lru_cache(maxsize=4)
def declaration(path: Path, _changed: int) -> dict[str, Kind] | None:
    """Return the kind of each column that an event file declares; None if it declares none. Read once for a stack."""
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.hparams import api_pb2, error, metadata

    kinds: dict[int, Kind] = {api_pb2.DATA_TYPE_BOOL: "bool", api_pb2.DATA_TYPE_FLOAT64: "number"}
    for record in records(path, DECLARED_BYTES):
        if metadata.EXPERIMENT_TAG.encode() not in record:
            continue
        try:
            for value in Event.FromString(record).summary.value:
                if value.tag == metadata.EXPERIMENT_TAG:
                    infos = metadata.parse_experiment_plugin_data(value.metadata.plugin_data.content).hparam_infos
                    return {info.name: kinds.get(info.type, "text") for info in infos}
        except (DecodeError, error.HParamsError):
            return None
    return None


def kind(domain: Domain) -> Kind:
    """Return the kind of the values of a column: text, unless all are numbers, or all are true or false."""
    if isinstance(domain, tuple):
        return "number"
    if domain and all(isinstance(value, bool) for value in domain):
        return "bool"
    return "number" if domain and all(is_number(value) for value in domain) else "text"


def is_number(value: Any) -> bool:
    """Whether a value is a number that TensorBoard can send to a browser."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def in_kind(value: Any, wanted: Kind | None) -> str | float | bool | None:
    """Return a setting as TensorBoard gets it; None if it has no such value.

    Args:
        value: of the configuration.
        wanted: the kind of its column; None if it is not a column.
    """
    own = kind([value])
    if wanted is None:
        return None if value is None or isinstance(value, Mapping) else (text(value) if own == "text" else value)
    if wanted == "text":
        return text(value)
    return value if own == wanted else None


def text(value: Any) -> str:
    """Return a value as text, the same for a sweep and for its runs."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def domain_of(domain: Domain) -> Any:
    """Return a domain in TensorBoard's terms."""
    from tensorboard.plugins.hparams.summary_v2 import Discrete, IntInterval, RealInterval

    if isinstance(domain, tuple):
        low, high = domain
        if isinstance(low, int) and isinstance(high, int):
            return IntInterval(low, high)
        return RealInterval(float(low), float(high))
    shown = kind(domain)
    values = [text(value) if shown == "text" else value for value in domain]
    return Discrete(list(dict.fromkeys(float(value) if shown == "number" else value for value in values)))
