"""The verb `surface`: from the composed configuration to `path.csv`, `surface.json`, the table and the picture."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from experiments import assembly
from experiments.cli.overrides import padded
from experiments.common.files import write_json, write_whole
from experiments.common.keys import key_of
from experiments.common.screen import Screen, table
from experiments.common.signatures import checked
from experiments.common.text import shown_path, spreadsheet
from experiments.folders.identity import identity

from . import _building, descent
from .contours import NamedPath, draw

SECTIONS = ("surface", "optimizer", "scheduler")
NOTHING = "-"
"""Printed instead of a missing number."""
SPARE, LONGEST_NAME = ("turning", "tortuosity", "distance", "zigzag", "lr"), 24
"""Columns that a narrow terminal does without, and the width that names of optimizers get at least."""


@dataclass(frozen=True)
class SurfaceGeneral:
    """The settings at the top level.

    Args:
        name: the folder below `outputs/`.
    """

    name: str | int


@dataclass(frozen=True)
class Trace:
    """A path with the settings of its job.

    Args:
        path: of the optimizer.
        surface, coordinates: the function, and the names of its coordinates.
        config: the configuration, plain and resolved.
        choices: the chosen file of each config group.
        overrides: as typed.
        folder: of the job.
        sweep: the folder of the sweep; None if the job is not part of a sweep.
    """

    path: descent.DescentPath
    surface: descent.Surface
    coordinates: list[str]
    config: dict[str, Any]
    choices: Mapping[str, str]
    overrides: list[str]
    folder: Path
    sweep: Path | None


def follow(cfg: DictConfig) -> Trace:
    """Follow the optimizer of a configuration composed by Hydra, and write its path.

    A single job is reported at once, a sweep at its end by `report_sweep`.
    """
    hydra = HydraConfig.get()
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    assembly.sections(config, SECTIONS)
    checked(SurfaceGeneral, {k: v for k, v in config.items() if k not in SECTIONS}, "")
    surface, coordinates = _building.surface_of(config)
    schedule = assembly.schedule(config, validate=True)
    path = descent.descend(surface.function, _building.descender(config), surface.start, surface.steps, schedule)
    single = hydra.mode != RunMode.MULTIRUN
    trace = Trace(
        path, surface, coordinates, config, dict(hydra.runtime.choices), list(hydra.overrides.task),
        Path(hydra.runtime.output_dir), None if single else Path(hydra.sweep.dir),
    )  # fmt: skip
    if single:
        report(trace.folder, [trace])
    else:
        write(trace.folder, [trace])
    return trace


def report_sweep(traces: Sequence[Trace]) -> None:
    """Report the paths of a sweep together; if there are several surfaces, each has its own folder."""
    surfaces: dict[str, list[Trace]] = {}
    for trace in traces:
        own = {k: v for k, v in trace.config["surface"].items() if k not in ("start", "steps", "tolerance", "rates")}
        surfaces.setdefault(json.dumps(own, sort_keys=True), []).append(trace)
    for index, group in enumerate(surfaces.values()):
        folder = group[0].sweep
        assert folder is not None
        report(folder if len(surfaces) == 1 else folder / f"{padded(index)}_{group[0].choices['surface']}", group)


def report(folder: Path, traces: Sequence[Trace]) -> None:
    """Write the paths on one surface, draw them, and print the table of their measures."""
    write(folder, traces)
    screen = Screen(folder / "surface.log")
    try:
        screen.widen()
        names, measures = path_names(traces), [measured(trace) for trace in traces]
        screen.print(title(traces))
        screen.print("")
        screen.print_table(summary(names, traces, measures), SPARE)
        picture = folder / "surface.png"
        labels, shared = legend_names(traces)
        lines = [
            NamedPath(f"{label}{ending(own)}", trace.path)
            for label, trace, own in zip(labels, traces, measures, strict=True)
        ]
        first = traces[0]
        heading = f"{title(traces)}\n{shared}" if shared else title(traces)
        write_whole(picture, draw(first.surface, first.coordinates, lines, heading))
        screen.print(f"\npicture  {shown_path(picture)}")
    finally:
        screen.close()


def write(folder: Path, traces: Sequence[Trace]) -> None:
    """Write `path.csv` with a row for each point, and `surface.json` with the measures of each path."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["optimizer", "step", *traces[0].coordinates, "value", "lr"])
    names = path_names(traces)
    for name, trace in zip(names, traces, strict=True):
        writer.writerows(rows(spreadsheet(name), trace.path))
    write_whole(folder / "path.csv", text.getvalue().encode())
    paths = [
        {"optimizer": name, **measured(trace), "settings": {key: trace.config[key] for key in SECTIONS}}
        for name, trace in zip(names, traces, strict=True)
    ]
    about = {k: v for k, v in identity({}, traces[0].overrides).items() if k in ("versions", "git_commit")}
    write_json(folder / "surface.json", {"surface": traces[0].choices["surface"], "paths": paths, **about})


def rows(name: str, path: descent.DescentPath) -> Iterable[list[Any]]:
    """Yield the rows of a path; the rate is that of the update to this point, so the start has none."""
    rates = ["", *path.rates.tolist()]
    for step, (point, value, rate) in enumerate(zip(path.points.tolist(), path.values.tolist(), rates, strict=True)):
        yield [name, step, *point, value, rate]


def measured(trace: Trace) -> dict[str, Any]:
    """Measure a path; values of the coordinates are by name."""
    measures = descent.measured(trace.path, trace.surface.minima, trace.surface.tolerance)
    by_name = {key: dict(zip(trace.coordinates, measures[key], strict=True)) for key in ("end", "sign_changes")}
    return {**measures, "lr": float(trace.path.rates[0]), **by_name}


def path_names(traces: Sequence[Trace]) -> list[str]:
    """Return the names of the optimizers, with the overrides in which the paths of a sweep differ."""
    own = differing(traces)
    return [" ".join([trace.choices["optimizer"], *words]) for trace, words in zip(traces, own, strict=True)]


def differing(traces: Sequence[Trace]) -> list[list[str]]:
    """Return the overrides in which the paths of a sweep differ, without the choices of optimizer and surface."""
    shared = set(traces[0].overrides).intersection(*(trace.overrides for trace in traces))
    return [
        [word for word in trace.overrides if word not in shared and key_of(word) not in ("optimizer", "surface")]
        for trace in traces
    ]


def legend_names(traces: Sequence[Trace]) -> tuple[list[str], str]:
    """Return a name for each path, of what differs, such as `momentum 0.9`, and what all paths share.

    Args:
        traces: the paths; a single path has the whole name.
    """
    own = differing(traces)
    keys = {key_of(word) for words in own for word in words}
    last_parts = [key.rpartition(".")[2] for key in keys]
    facts: list[dict[str, str]] = []
    for trace, words in zip(traces, own, strict=True):
        fact = {"optimizer": trace.choices["optimizer"]}
        if "optimizer.lr" not in keys:
            fact["lr"] = f"lr {trace.path.rates[0]:.3g}"
        for word in words:
            key = key_of(word)
            short = key.rpartition(".")[2]
            fact[key] = f"{short if last_parts.count(short) == 1 else key} {word.partition('=')[2]}"
        facts.append(fact)
    if len(facts) == 1:
        return [", ".join(facts[0].values())], ""
    same = [key for key in ("optimizer", "lr") if len({fact.get(key) for fact in facts}) == 1]
    names = [", ".join(text for key, text in fact.items() if key not in same) for fact in facts]
    return names, ", ".join(facts[0][key] for key in same if key in facts[0])


def title(traces: Sequence[Trace]) -> str:
    """Return a title: the surface, and the number of updates and the start if all paths share them."""
    starts = {", ".join(f"{number:g}" for number in trace.surface.start) for trace in traces}
    steps = {trace.surface.steps for trace in traces}
    words = [traces[0].choices["surface"]]
    words += [f"{steps.pop():,} updates"] if len(steps) == 1 else []
    words += [f"from ({starts.pop()})"] if len(starts) == 1 else []
    return f"{words[0]}{': ' if words[1:] else ''}{' '.join(words[1:])}"


def ending(measures: Mapping[str, Any]) -> str:
    """Return the step at which a path diverged, as the end of a name; empty if it did not."""
    return f", diverged at step {measures['updates']}" if measures["status"] == "diverged" else ""


def summary(names: Sequence[str], traces: Sequence[Trace], measures: Sequence[Mapping[str, Any]]) -> Any:
    """Return the table of the measures, with one row per path."""
    columns = ("lr", "end", "value", "distance", "settled", "zigzag", "turning", "tortuosity")
    shown = table("optimizer", *columns, "status", right=columns, wrapped=("optimizer",))
    shown.columns[0].min_width = min(LONGEST_NAME, max(map(len, ("optimizer", *names))))
    for name, trace, own in zip(names, traces, measures, strict=True):
        settled = own["settled"]
        shown.add_row(
            name,
            f"{own['lr']:.3g}",
            ", ".join(f"{round(own['end'][coordinate], 6) + 0.0:.3g}" for coordinate in trace.coordinates),
            number(own["value"]),
            number(own["distance"]),
            NOTHING if settled is None else f"{settled}",
            f"{own['zigzag']:.0%}",
            NOTHING if own["turning_angle"] is None else f"{own['turning_angle']:.0f}°",
            number(own["tortuosity"]),
            ending(own).removeprefix(", ") or own["status"],
        )
    return shown


def number(value: float | None) -> str:
    """Return a number as it is printed."""
    return NOTHING if value is None else f"{value:.3g}"
