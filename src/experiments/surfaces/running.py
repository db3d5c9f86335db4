"""What `surface` does: from the composed configuration to `path.csv`, `surface.json`, the table and the picture."""

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
from experiments.common.files import write_json, write_whole
from experiments.common.screen import Screen, table
from experiments.common.signatures import checked
from experiments.common.text import shown_path
from experiments.folders.identity import identity

from . import _building, descent
from .contours import NamedPath, draw

SECTIONS = ("surface", "optimizer", "scheduler")
NOTHING = "-"


@dataclass(frozen=True)
class SurfaceGeneral:
    """The settings at the top level.

    Args:
        name: the folder below `outputs/`.
    """

    name: str | int


@dataclass(frozen=True)
class Trace:
    """A path, and where it comes from.

    Args:
        path: the optimizer's.
        surface, coordinates: what it descends, and the coordinates' names.
        config: the configuration, plain and resolved.
        choices: the file chosen in each config group.
        overrides: as typed.
        folder: of the job.
        sweep: the folder of its sweep; None for a job alone.
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
    """Follow the optimizer of a configuration composed by Hydra, and write down where it went.

    A job alone is shown at once; a sweep is at its end, by `report_sweep`.
    """
    hydra = HydraConfig.get()
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    assembly.sections(config, SECTIONS)
    checked(SurfaceGeneral, {k: v for k, v in config.items() if k not in SECTIONS}, "")
    surface, coordinates = _building.surface(config)
    schedule = assembly.schedule(config, validate=True)
    path = descent.descend(surface.function, _building.descender(config), surface.start, surface.steps, schedule)
    alone = hydra.mode != RunMode.MULTIRUN
    trace = Trace(
        path, surface, coordinates, config, dict(hydra.runtime.choices), list(hydra.overrides.task),
        Path(hydra.runtime.output_dir), None if alone else Path(hydra.sweep.dir),
    )  # fmt: skip
    if alone:
        report(trace.folder, [trace])
    else:
        write(trace.folder, [trace])
    return trace


def report_sweep(traces: Sequence[Trace]) -> None:
    """Show the paths of a sweep together; those on each surface in a folder of their own, where there are several."""
    surfaces: dict[str, list[Trace]] = {}
    for trace in traces:
        own = {k: v for k, v in trace.config["surface"].items() if k not in ("start", "steps", "tolerance", "rates")}
        surfaces.setdefault(json.dumps(own, sort_keys=True), []).append(trace)
    for number, found in enumerate(surfaces.values()):
        folder = found[0].sweep
        assert folder is not None
        report(folder if len(surfaces) == 1 else folder / f"{number}_{found[0].choices['surface']}", found)


def report(folder: Path, traces: Sequence[Trace]) -> None:
    """Write paths on one surface, draw them, and print the table of their measures."""
    write(folder, traces)
    screen = Screen(folder / "surface.log")
    try:
        screen.widen()
        names, measures = named(traces), [measured(trace) for trace in traces]
        screen.print(title(traces))
        screen.print("")
        screen.print(summary(names, traces, measures))
        picture = folder / "surface.png"
        lines = [
            NamedPath(f"{name}, lr={trace.path.rates[0]:.3g}{ending(found)}", trace.path)
            for name, trace, found in zip(names, traces, measures, strict=True)
        ]
        first = traces[0]
        write_whole(picture, draw(first.surface, first.coordinates, lines, title(traces)))
        screen.print(f"\npicture  {shown_path(picture)}")
    finally:
        screen.close()


def write(folder: Path, traces: Sequence[Trace]) -> None:
    """Write `path.csv`, a row for each point, and `surface.json`, the measures of each path."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["optimizer", "step", *traces[0].coordinates, "value", "lr"])
    names = named(traces)
    for name, trace in zip(names, traces, strict=True):
        writer.writerows(rows(name, trace.path))
    write_whole(folder / "path.csv", text.getvalue().encode())
    found = [
        {"optimizer": name, **measured(trace), "settings": {key: trace.config[key] for key in SECTIONS}}
        for name, trace in zip(names, traces, strict=True)
    ]
    about = {k: v for k, v in identity({}, traces[0].overrides).items() if k in ("versions", "git_commit")}
    write_json(folder / "surface.json", {"surface": traces[0].choices["surface"], "paths": found, **about})


def rows(name: str, path: descent.DescentPath) -> Iterable[list[Any]]:
    """Yield the rows of a path: the rate is that of the update which led to the point, so that the start has none."""
    rates = ["", *path.rates.tolist()]
    for step, (point, value, rate) in enumerate(zip(path.points.tolist(), path.values.tolist(), rates, strict=True)):
        yield [name, step, *point, value, rate]


def measured(trace: Trace) -> dict[str, Any]:
    """Measure a path; numbers of the coordinates go by their names."""
    found = descent.measured(trace.path, trace.surface.minima, trace.surface.tolerance)
    by_name = {key: dict(zip(trace.coordinates, found[key], strict=True)) for key in ("end", "sign_changes")}
    return {**found, "lr": float(trace.path.rates[0]), **by_name}


def named(traces: Sequence[Trace]) -> list[str]:
    """Return the optimizers' names, with the overrides in which paths of one sweep differ."""
    shared = set(traces[0].overrides).intersection(*(trace.overrides for trace in traces))
    return [
        " ".join(
            [
                trace.choices["optimizer"],
                *(
                    override
                    for override in trace.overrides
                    if override not in shared and override.partition("=")[0] not in ("optimizer", "surface")
                ),
            ]
        )
        for trace in traces
    ]


def title(traces: Sequence[Trace]) -> str:
    """Say what is descended, for how long and from where, as far as all paths have it in common."""
    starts = {", ".join(f"{number:g}" for number in trace.surface.start) for trace in traces}
    steps = {trace.surface.steps for trace in traces}
    words = [traces[0].choices["surface"]]
    words += [f"{steps.pop():,} updates"] if len(steps) == 1 else []
    words += [f"from ({starts.pop()})"] if len(starts) == 1 else []
    return f"{words[0]}{': ' if words[1:] else ''}{' '.join(words[1:])}"


def ending(found: Mapping[str, Any]) -> str:
    """Say at which update a path diverged."""
    return f", diverged at step {found['updates']}" if found["status"] == "diverged" else ""


def summary(names: Sequence[str], traces: Sequence[Trace], measures: Sequence[Mapping[str, Any]]) -> Any:
    """Return the table of the measures, a path a row."""
    columns = ("lr", "end", "value", "distance", "settled", "zigzag", "turning", "tortuosity")
    shown = table("optimizer", *columns, "status", right=columns, wrapped=("optimizer", "end"))
    for name, trace, found in zip(names, traces, measures, strict=True):
        settled = found["settled"]
        shown.add_row(
            name,
            f"{found['lr']:.3g}",
            ", ".join(f"{round(found['end'][coordinate], 6) + 0.0:.3g}" for coordinate in trace.coordinates),
            number(found["value"]),
            number(found["distance"]),
            NOTHING if settled is None else f"{settled}",
            f"{found['zigzag']:.0%}",
            NOTHING if found["turning_angle"] is None else f"{found['turning_angle']:.0f}°",
            number(found["tortuosity"]),
            ending(found).removeprefix(", ") or found["status"],
        )
    return shown


def number(value: float | None) -> str:
    """Return a number for people."""
    return NOTHING if value is None else f"{value:.3g}"
