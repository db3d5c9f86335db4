"""The jobs of a sweep: every combination of the listed values, and lists that are combined row by row."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf

from experiments.cli.launch import FROM_TASK
from experiments.cli.overrides import SHORT, quoted, spelled_out
from experiments.common.confined import refuse_links
from experiments.common.errors import UserError
from experiments.common.recorded import recorded
from experiments.common.screen import Screen
from experiments.common.statuses import WITH_RESULT
from experiments.common.text import command_name, counted, one_line, visible
from experiments.folders.hparams import common_settings, hparams_config, metrics_of
from experiments.folders.hydra import is_built, plain_value, task_part
from experiments.folders.sweep import FILE, Sweep, counts_as_text, exit_code, removed
from experiments.training.stop import ending

from ._numbering import number_folders
from ._outcome import next_commands, note_on_lines, outcome_of, print_outcome

ZIP = "sweep.zip"
DRAWN = re.compile(r"\b(shuffle|glob)\(")
"""Values that are in another order, or other ones, if the command is typed again."""
BEFORE_RUNS = ("sweep.yaml", "sweep.csv", ".lock", "multirun.yaml", "study.journal")
"""The files of a sweep or a search that may exist before its first run."""


def sweep(launcher: Any, loader: Any, config: DictConfig, arguments: Sequence[str]) -> Any:
    """Launch every job, print the outcome, and exit with a code if not all ended well.

    Args:
        launcher: Hydra's.
        loader: of configurations.
        config: the sweep's own.
        arguments: the overrides as typed.

    Raises:
        UserError: the lists cannot be combined.
    """
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(spelled_out(arguments))
    jobs = combinations(overrides)
    with begun(config) as folder:
        jobs = settled(Sweep(folder), jobs, overrides)
        number_folders(config, len(jobs))
        if (config.observers.get("tensorboard") or {}).get("enabled"):
            swept = domains(overrides)
            hparams_config(folder, swept, common_settings(config), metrics_of(config))
        returned = launcher.launch(jobs, initial_job_idx=0)
        code = conclude(folder)
        for defect in defects(returned):
            raise defect
    if code:
        sys.exit(code)
    return returned


def defects(returned: Sequence[JobReturn]) -> Iterator[Exception]:
    """Yield the errors of jobs that are not the user's; a launcher of Hydra keeps them until somebody asks."""
    for job in returned:
        error = job._return_value
        if isinstance(error, Exception) and getattr(error, FROM_TASK, None) == "a defect":
            yield error


def settled(table: Sweep, jobs: list[list[str]], overrides: Sequence[Override]) -> list[list[str]]:
    """Return the jobs of a sweep: those that it noted when it began, as a shuffled list is drawn anew each time.

    Args:
        table: the sweep.
        jobs: as the command gives them now.
        overrides: of the command.

    Raises:
        UserError: the note has other jobs than the command; the folder may be from somebody else.
    """
    if not any(DRAWN.search(override.input_line or "") for override in overrides):
        return jobs
    drawn = [recorded(job, {}) for job in jobs]
    noted = table.jobs()
    if noted is None:
        noted, common = drawn, {line.casefold() for line in table.typed()}
        for number, own in table.own_overrides().items():  # of a sweep that noted only those of its runs
            if number < len(noted):
                noted[number] = [line for line in noted[number] if line.casefold() in common] + own
        table.note(jobs=noted)
    possible = {frozenset(job) for job in drawn}
    if not all(frozenset(job) in possible for job in noted):
        raise UserError(
            f"{str(table.folder / FILE)!r} has other runs than this command; "
            "repeat the command of the sweep, or start a new sweep"
        )
    of_the_command = [line for line in jobs[0] if line not in drawn[0]]
    return [[*job, *of_the_command] for job in noted]


def combinations(overrides: Sequence[Override]) -> list[list[str]]:
    """Return the overrides of every job, the last list changing fastest.

    Raises:
        UserError: a list is empty or not a list of values, or `sweep.zip` is not valid.
    """
    dimensions: dict[str, list[list[str]]] = {}
    for override in overrides:
        key = override.get_key_element()
        if override.key_or_group == ZIP:
            dimensions[key] = zipped_rows(override.value())
        elif override.is_sweep_override():
            if not override.is_discrete_sweep():
                raise UserError(
                    f"{override.input_line} is a range without a list of values; "
                    "list the values, or search with hydra/sweeper=optuna"
                )
            dimensions[key] = [[f"{key}={value}"] for value in override.sweep_string_iterator()]
        else:
            dimensions[key] = [[override.input_line or ""]]
        if not dimensions[key]:
            raise UserError(f"{override.input_line} is an empty list; give at least one value")
    zipped = [line.partition("=")[0] for line in dimensions.get(ZIP, [[]])[0]]
    twice = [key for key in zipped if key in dimensions]
    if twice:
        raise UserError(f"{twice[0]} is given twice, in {ZIP} and on its own; give it once")
    return [list(itertools.chain(*chosen)) for chosen in itertools.product(*dimensions.values())]


def domains(overrides: Sequence[Override]) -> dict[str, list[Any]]:
    """Return the values that are swept over, by key; no values if the runs get them in another form."""
    found: dict[str, list[Any]] = {}
    for override in overrides:
        if override.key_or_group == ZIP and override.value():
            rows: Any = override.value()
            keys, *choices = rows
            found |= {SHORT.get(key, key): [choice[column] for choice in choices] for column, key in enumerate(keys)}
        elif override.is_sweep_override():
            found[override.key_or_group] = list(override.sweep_iterator())
    plain = {key: [plain_value(value) for value in values] for key, values in found.items()}
    return {key: [] if any(is_built(value) for value in values) else values for key, values in plain.items()}


def zipped_rows(rows: Any) -> list[list[str]]:
    """Return the overrides of each row of `sweep.zip`: the first row names the keys, each other row is a choice.

    Raises:
        UserError: the rows differ in length, or there are none.
    """
    if rows is None:
        return [[]]
    shape = f"{ZIP} should be [[key,key],[value,value],...]: the keys, then a row of values for each run"
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows) or len(rows) < 2 or not rows[0]:
        raise UserError(shape)
    keys, *choices = rows
    if not all(isinstance(key, str) for key in keys):
        raise UserError(f"{shape}; {keys} are not keys")
    for number, choice in enumerate(choices, 1):
        if len(choice) != len(keys):
            raise UserError(f"{ZIP} has {len(keys)} keys, but its row {number} has {len(choice)} values: {choice}")
    write = Override._get_value_element_as_str
    keys = [SHORT.get(key, key) for key in keys]
    return [[f"{key}={write(value)}" for key, value in zip(keys, choice, strict=True)] for choice in choices]


def conclude(folder: Path, *, over: bool = False) -> int:
    """Write the table of a sweep, print how its runs ended and what can be done next, and return the exit code.

    Args:
        folder: the sweep's.
        over: whether interrupted and waiting runs stay so, as in a search, which tries them again in other folders.
    """
    table = Sweep(folder)
    table.find()
    table.write_table()
    counts = table.counts()
    screen = Screen()
    screen.widen()
    outcome = outcome_of(table)
    print_outcome(screen, outcome)
    screen.print(f"\n{counted(sum(counts.values()), 'run')}: {counts_as_text(counts)}")
    screen.print_command("sweep", visible(str(folder)))
    for label, command in next_commands(outcome):
        screen.print_command(label, command)
    if note := note_on_lines(table):
        screen.print(note)
    code = exit_code(counts)
    if code == 130 and not over:
        command = f"{command_name('python')} -m experiments.train {shlex.join(resuming_words(folder))}"
        screen.print_command("resume", command)
    return code


def resuming_words(folder: Path) -> list[str]:
    """Return the arguments of this process, with which a sweep is resumed."""
    words = [word for word in sys.argv[1:] if not word.startswith("resume=")]
    path = str(folder) if re.fullmatch(r"[\w./-]+", str(folder)) else quoted(folder)
    return [*words, f"resume={path}"]


@contextmanager
def begun(config: DictConfig) -> Iterator[Path]:
    """Write down the command of a new sweep, or check that of a resumed one, and lock its folder inside the block.

    A new sweep that fails before its first run leaves nothing that could be taken for a sweep.

    Args:
        config: the sweep's own, with its folder; the folder is yielded.

    Raises:
        UserError: the sweep cannot be resumed, or another process is running it.
    """
    begin(config)
    folder = Path(config.hydra.sweep.dir)
    try:
        with ending(), Sweep(folder).held():
            if config.get("resume") is not None:
                Sweep(folder).note_choices(config.hydra.overrides.task)
            yield folder
    except Exception as error:
        if not Sweep(folder).was_begun():
            raise UserError(removed(folder)) from error
        if config.get("resume") is None and not has_runs(folder):
            remove_command(folder)
        raise


def has_runs(folder: Path) -> bool:
    """Whether a sweep's folder contains a run."""
    return any(folder.glob("**/.hydra"))


def remove_command(folder: Path) -> None:
    """Remove what a sweep writes before its first run, and then its folder, unless it contains something else."""
    for path in [*(folder / name for name in BEFORE_RUNS), *folder.glob("events.out.tfevents.*")]:
        path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def lost_checkpoints(folder: Path) -> Iterator[str]:
    """Yield a sentence for each run that has ended, and is not trained again, whose last checkpoint cannot be read."""
    from experiments.folders.archive import check_whole

    table = Sweep(folder)
    table.find()
    for _, entry in sorted(table.entries.items()):
        summary, path = entry.summary, entry.folder / "checkpoints" / "last.pt"
        if entry.status not in WITH_RESULT or not summary.get("epochs"):
            continue
        try:
            check_whole(path)
        except (OSError, ValueError) as error:
            reason = f"cannot be read ({one_line(error)})" if os.path.lexists(path) else "is missing"
            yield visible(
                f"{entry.folder.name} has {entry.status}, but its {path.name} {reason}; "
                "its results are in summary.json and metrics.csv, the weights of its last epoch are lost"
            )


def latest(folder: Path, typed: Sequence[str], configuration: Mapping[str, Any]) -> Path:
    """Return the newest sweep of a command, and print which one it is.

    Args:
        folder: with sweeps.
        typed: the overrides of the command.
        configuration: of the command.

    Raises:
        UserError: there is no sweep of this command.
    """
    others: list[tuple[Path, UserError]] = []
    for path in sorted(folder.glob("*/sweep.yaml"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            Sweep(path.parent).check(typed, configuration)
        except UserError as error:
            others.append((path.parent, error))
            continue
        newer = f" ({counted(len(others), 'newer sweep')} of other commands)" if others else ""
        print(f"resume=latest resumes {path.parent}{newer}")
        return path.parent
    if not others:
        raise UserError(f"resume=latest found no sweep in {folder}; give the folder of the sweep")
    newest, problem = others[0]
    raise UserError(f"resume=latest found no sweep of this command in {folder}; the newest is {newest.name}: {problem}")


def begin(config: DictConfig) -> None:
    """Write down the command of a new sweep, or compare the command of a resumed one with it.

    Args:
        config: the sweep's own, with its folder.

    Raises:
        UserError: a key is not for sweeps or has a wrong value; or the sweep to resume cannot be found or is of
            another command.
    """
    typed = [line for line in config.hydra.overrides.task if not line.startswith(("resume=", "retry_failed="))]
    typed += [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    if config.get("remedy") is True:
        raise UserError(
            "remedy=true is for a single run, but -m runs several; leave it out, and afterwards give "
            "experiments.remedy the folder of a run"
        )
    if not isinstance(config.get("retry_failed"), bool):
        raise UserError(f"retry_failed={config.get('retry_failed')!r} should be true or false")
    configuration: Any = OmegaConf.to_container(task_part(config), resolve=False)
    for key in ("resume", "retry_failed"):
        configuration.pop(key, None)
    if config.get("resume") is not None:
        below = Path(config.hydra.sweep.dir).parent
        folder = Path(config.resume) if config.resume != "latest" else latest(below, typed, configuration)
        config.hydra.sweep.dir = str(folder)
        destination = [line for line in config.hydra.overrides.hydra if not line.startswith("hydra.sweep.dir=")]
        config.hydra.overrides.hydra = [*destination, f"hydra.sweep.dir={quoted(folder)}"]
        refuse_links(folder, f"resume={str(folder)!r}")
        Sweep(folder).check(typed, configuration)
        for sentence in lost_checkpoints(folder):
            print(sentence)
        return
    table = Sweep(Path(config.hydra.sweep.dir))
    command = shlex.join(["python", "-m", "experiments.train", *sys.argv[1:]])
    table.folder.mkdir(parents=True, exist_ok=True)
    table.write_asked(command, typed, configuration)
