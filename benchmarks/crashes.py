"""Runs, sweeps and searches that are killed at random moments and resumed: what is lost, and what differs."""

import csv
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console

from experiments.common.screen import table

from .measure import Settings, SkipError

SEED = 0
SMALL = (
    "data.limit=160",
    "model.hidden=[16]",
    "model.dropout=0.2",
    "observers.tensorboard.enabled=false",
    "observers.pictures.enabled=false",
)
LEARNING_RATES = "0.001,0.003,0.01"
CHECKPOINT_SECONDS = 0.02
"""Between two checkpoints of a stack, so that more moments to kill it differ than with the usual ones."""
OF_THE_MACHINE = ("seconds", "examples_per_second", "overrides")
"""Entries of a summary that a resumed run may have others of."""
PATIENCE = 120.0
"""Seconds after which a process that should end has failed."""


@dataclass(frozen=True)
class Kind:
    """A command that is killed and resumed.

    Args:
        name: for the table.
        words: the command line of `experiments train`.
        trials: how often it is begun anew.
        resumable: the pattern of the file whose folder can be resumed.
        again: returns the command line that resumes a folder.
        key: returns what a run is recognized by.
    """

    name: str
    words: Sequence[str]
    trials: int
    resumable: str
    again: Callable[[Sequence[str], Path], list[str]]
    key: Callable[[Path], str]


def own_number(folder: Path) -> str:
    """Return a run's number in its sweep; empty for a single run."""
    return folder.name.partition("_")[0] if (folder.parent / "sweep.yaml").exists() else ""


def learning_rate(folder: Path) -> str:
    """Return a run's learning rate, as an interrupted trial of a search is tried again in another folder."""
    return str(yaml.safe_load((folder / ".hydra" / "config.yaml").read_text(encoding="utf-8"))["optimizer"]["lr"])


KINDS = (
    Kind(
        "a run",
        (*SMALL, "training.epochs=40", "model.batch_norm=true", "scheduler=cosine"),
        12,
        "outputs/*/*/.hydra/overrides.yaml",
        lambda _, folder: [f"resume={folder.parent}"],
        own_number,
    ),
    Kind(
        "a sweep of 4 runs, one stack",
        ("-m", *SMALL, "training.epochs=20", "optimizer=sgd,adam", "seed=1,2"),
        8,
        "outputs/*/*/sweep.yaml",
        lambda words, folder: [*words, f"resume={folder}"],
        own_number,
    ),
    Kind(
        "a search of 3 trials",
        (
            "-m",
            *SMALL,
            "training.epochs=15",
            "hydra/sweeper=optuna",
            "hydra.sweeper.sampler=grid",
            "hydra.sweeper.n_jobs=1",
            "hydra.sweeper.n_trials=3",
            f"optimizer.lr=choice({LEARNING_RATES})",
        ),
        6,
        "outputs/*/*/sweep.yaml",
        lambda words, folder: [*words, f"resume={folder}"],
        learning_rate,
    ),
)
KILLS = 2
"""Kills of each trial: of the command, and of the one that resumes it."""


@dataclass
class Count:
    """What happened to the trials of a kind.

    Args:
        kills: of processes.
        saved: kills after the first checkpoint.
        lost: trials that could not be resumed, or whose runs are not complete.
        unequal: trials whose results differ from those of the same command without a kill.
        problems: of these trials, in a few words.
    """

    kills: int
    saved: int
    lost: int
    unequal: int
    problems: list[str]


def run(settings: Settings, console: Console) -> None:
    """Print the table.

    Raises:
        RuntimeError: something was lost, or differs.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        raise SkipError("this system cannot fork processes")
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.crashes", "experiments.runs.together", "experiments.search.loop"])
    chance = random.Random(SEED)
    shown = table("killed with SIGKILL", "trials", "kills", "after a checkpoint", "lost", "unequal", right=("trials",))
    problems = []
    for kind in KINDS:
        trials = settings.repeats(kind.trials)
        count = counted(context, kind, trials, chance)
        shown.add_row(kind.name, *map(str, (trials, count.kills, count.saved, count.lost, count.unequal)))
        problems += [f"{kind.name}: {problem}" for problem in count.problems]
    console.print("Crashes: killed twice at random moments, then resumed to the end; compared to the bit")
    console.print(shown)
    if problems:
        raise RuntimeError("; ".join(problems))


def counted(context: ForkServerContext, kind: Kind, trials: int, chance: random.Random) -> Count:
    """Kill and resume a command several times, and compare it with one that nobody kills."""
    count = Count(0, 0, 0, 0, [])
    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary, "whole")
        started(context, whole, kind.words).join(PATIENCE)  # the first one also starts the server
        began = time.perf_counter()
        reference = Path(temporary, "reference")
        started(context, reference, kind.words).join(PATIENCE)
        seconds = time.perf_counter() - began
        expected = results(reference, kind)
        if not expected or results(whole, kind) != expected:
            raise RuntimeError(f"{kind.name}: two whole commands differ, or do not end")
        for number in range(trials):
            folder = Path(temporary, str(number))
            for _ in range(KILLS):
                process = started(context, folder, words_of(kind, folder))
                process.join(chance.uniform(0, seconds))
                if process.exitcode is None:
                    process.kill()
                    process.join()
                    count.kills += 1
                    count.saved += any(folder.glob("outputs/**/checkpoints/last.pt"))
            process = started(context, folder, words_of(kind, folder))
            process.join(PATIENCE)
            found = results(folder, kind) if process.exitcode == 0 else {}
            if found.keys() != expected.keys():
                process.kill()
                count.lost += 1
                lines = (folder / "printed").read_text(encoding="utf-8").splitlines() or ["nothing was printed"]
                count.problems.append(f"trial {number} ended with code {process.exitcode} ({lines[-1][:300]})")
            elif found != expected:
                count.unequal += 1
                count.problems.append(f"trial {number} has other results")
    return count


def started(context: ForkServerContext, folder: Path, words: Sequence[str]) -> Any:
    """Start `experiments train` as a process in a folder."""
    folder.mkdir(exist_ok=True)
    process = context.Process(target=train, args=(folder, list(words)))
    process.start()
    return process


def train(folder: Path, words: list[str]) -> None:
    """Type the command in this process, which has imported what takes long."""
    from experiments.train import main
    from experiments.training.stack import Stack

    Stack.checkpoint_seconds = CHECKPOINT_SECONDS
    os.chdir(folder)
    printed = os.open("printed", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    sys.argv = ["train", *words]
    main()


def words_of(kind: Kind, folder: Path) -> list[str]:
    """Return the command line that begins, or that resumes what is there."""
    resumable = sorted(folder.glob(kind.resumable))
    return kind.again(kind.words, resumable[-1].parent.relative_to(folder)) if resumable else list(kind.words)


def results(folder: Path, kind: Kind) -> dict[str, Any]:
    """Return all that the finished runs in a folder have computed, by what a run is recognized by."""
    found = {}
    for path in folder.glob("outputs/**/summary.json"):
        summary = json.loads(path.read_text(encoding="utf-8"))
        if summary["status"] == "finished":
            found[kind.key(path.parent)] = result(path.parent, summary)
    return found


def result(run: Path, summary: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the summary, the table and the weights of a run, without what depends on the clock."""
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        rows = [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]
    weights = []
    for name in ("last", "best"):
        state = torch.load(run / "checkpoints" / f"{name}.pt", weights_only=True)["program"]["model"]
        weights.append({key: value.numpy().tobytes() for key, value in state.items()})
    return {name: value for name, value in summary.items() if name not in OF_THE_MACHINE}, rows, weights
