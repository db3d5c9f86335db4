"""TensorBoard over a folder of many runs and sweeps: `make dashboard`.

TensorBoard's HParams tab takes its columns from one run or sweep, whichever it finds first. Here it has the columns of
all of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .events import CONFIGURATION, CURVES, FILES, TRAINING, records
from .hparams import METRICS, is_number

MOST_CHOICES = 20
"""The values of a column that can be ticked one by one; with more, numbers have a range and texts a search."""
MOST_FILES, BEGINNING = 1000, 64_000
"""How many event files, and how many bytes of each, are searched for runs of earlier versions."""
MOST_LINES = 500
"""The lines that TensorBoard draws without being asked; a validated run has two."""
MOST_TICKED = 40
"""The lines up to which TensorBoard ticks all runs in the tabs other than Time Series."""
PINNED = tuple(f"{CURVES}/{metric}" for metric in ("accuracy", "loss")) + METRICS[:2]
"""The cards at the top if there are runs of earlier versions, whose tags would otherwise come first."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run TensorBoard with its own arguments, and print addresses that open on what matters."""
    from tensorboard import default, main_lib, program

    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name, usual in (("--logdir", "outputs"), ("--host", "localhost"), ("--port", "6006")):
        parser.add_argument(name, default=usual)
    known, _ = parser.parse_known_args(given)
    if not Path(known.logdir).is_dir():
        print(f"there are no runs yet: {known.logdir} is not a folder; make train trains one", file=sys.stderr)
        return 2
    main_lib.global_init()
    board = program.TensorBoard(plugins=[with_all_columns(plugin) for plugin in default.get_plugins()])
    board.configure(["tensorboard", "--logdir", known.logdir, *given])
    files = list(Path(known.logdir).rglob(FILES))
    for title, address in addresses(f"http://{known.host}:{known.port}", old=has_old_runs(files)):
        print(f"{title:<22} {address}", flush=True)
    if note := crowded(len({path.parent for path in files})):
        print(note, flush=True)
    return int(board.main() or 0)


def addresses(server: str, *, old: bool) -> list[tuple[str, str]]:
    """Return titles and addresses of the page.

    Args:
        server: the address of the server.
        old: whether there are runs of earlier versions.
    """
    pins = [{"plugin": "scalars", "tag": tag} for tag in PINNED]
    pinned = f"&pinnedCards={quote(json.dumps(pins, separators=(',', ':')))}" if old else ""
    validation = quote(f"^(?!.*{TRAINING}$)", safe="")
    return [
        ("all curves", f"{server}/?smoothing=0{pinned}"),
        ("validation curves", f"{server}/?smoothing=0{pinned}&runFilter={validation}"),
        ("settings and results", f"{server}/#hparams"),
    ]


def crowded(lines: int) -> str | None:
    """Return a sentence if TensorBoard opens with empty charts, because there are too many lines; otherwise None."""
    if lines <= MOST_TICKED:
        return None
    if lines <= MOST_LINES:
        return (
            "If a tab is empty, tick some runs in its list on the left: with this many runs no box is ticked at first. "
            "The field above the list finds runs by a part of their names, such as seed=0"
        )
    return (
        f"TensorBoard draws none of {lines:,} lines at first: tick some in the list on the left, or choose a folder "
        "with make dashboard ARGS='--logdir outputs/<name>'"
    )


def has_old_runs(files: Sequence[Path]) -> bool:
    """Whether runs of earlier versions are among the first files, whose texts have names without a number."""
    name, tag = CONFIGURATION.partition("_")[2], f"{CONFIGURATION}/".encode()
    for path in files[:MOST_FILES]:
        beginning = b"".join(records(path, BEGINNING))
        if f"{name}/text_summary".encode() in beginning and tag not in beginning:
            return True
    return False


def with_all_columns(plugin: Any) -> Any:
    """Return TensorBoard's plugin; that of the HParams tab with the columns of all runs and sweeps."""
    from tensorboard.plugins.hparams.backend_context import Context
    from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin

    if plugin is not HParamsPlugin:
        return plugin

    class Merged(Context):
        def _find_experiment_tag(self, contents: Mapping[str, Mapping[str, bytes]], include_metrics: bool) -> Any:
            return merged(contents, include_metrics=include_metrics)

    class AllColumns(HParamsPlugin):
        def __init__(self, context: Any) -> None:
            super().__init__(context)
            self._context = Merged(context)

    return AllColumns


def merged(contents: Mapping[str, Mapping[str, bytes]], *, include_metrics: bool) -> Any:
    """Return one declaration of columns instead of those of many runs and sweeps; None if there is none.

    Args:
        contents: what the plugin has read, by run and tag.
        include_metrics: whether the metrics are wanted.
    """
    from tensorboard.plugins.hparams import api_pb2, metadata

    found = {
        run: metadata.parse_experiment_plugin_data(tags[metadata.EXPERIMENT_TAG])
        for run, tags in sorted(contents.items())
        if metadata.EXPERIMENT_TAG in tags
    }
    if not found:
        return None
    sessions = {
        run: metadata.parse_session_start_info_plugin_data(tags[metadata.SESSION_START_INFO_TAG]).hparams
        for run, tags in sorted(contents.items())
        if metadata.SESSION_START_INFO_TAG in tags
    }
    names = dict.fromkeys(info.name for one in found.values() for info in one.hparam_infos)
    infos = [
        column(name, [session[name] for session in sessions.values() if name in session], len(sessions))
        for name in names
    ]
    metrics = {
        (metric.name.group, metric.name.tag): metric.display_name
        for one in found.values()
        for metric in one.metric_infos
    }
    if any(run not in found and not any(above(run, folder) for folder in found) for run in sessions):
        metrics |= {("", name): name for name in METRICS if ("", name) not in metrics}  # of runs of earlier versions
    shown = [
        api_pb2.MetricInfo(
            name=api_pb2.MetricName(group=group, tag=tag),
            display_name=f"{title} (earlier version)" if tag in METRICS else title,
        )
        for (group, tag), title in sorted(metrics.items(), key=lambda item: item[0][1] in METRICS)
    ]
    return api_pb2.Experiment(hparam_infos=infos, metric_infos=shown if include_metrics else [])


def above(run: str, folder: str) -> bool:
    """Whether a folder contains a run."""
    return folder == "." or run.startswith(f"{folder}/")


def column(name: str, values: Sequence[Any], runs: int) -> Any:
    """Return the declaration of a column.

    Args:
        name: of the setting.
        values: TensorBoard's messages with a value, of the runs that have one.
        runs: how many runs there are.
    """
    from tensorboard.plugins.hparams import api_pb2

    plain = [getattr(value, value.WhichOneof("kind")) for value in values]
    distinct = unique(plain)
    info = api_pb2.HParamInfo(name=name, differs=len(distinct) > 1 or 0 < len(plain) < runs)
    numbers = bool(plain) and all(is_number(value) for value in plain)
    truths = bool(plain) and all(isinstance(value, bool) for value in plain)
    info.type = api_pb2.DATA_TYPE_FLOAT64 if numbers else api_pb2.DATA_TYPE_BOOL if truths else api_pb2.DATA_TYPE_STRING
    if len(distinct) <= MOST_CHOICES:
        info.domain_discrete.extend(distinct)
    elif numbers:
        info.domain_interval.min_value, info.domain_interval.max_value = min(plain), max(plain)
    return info


def unique(values: Iterable[Any]) -> list[Any]:
    """Return values without repetitions, numbers first and in order; true is not 1."""
    kept = {(type(value).__name__, value): value for value in values}
    return sorted(kept.values(), key=lambda value: (not is_number(value), value if is_number(value) else 0, str(value)))


if __name__ == "__main__":
    sys.exit(main())
