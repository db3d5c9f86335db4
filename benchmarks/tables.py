"""How long large tables take to load, and how much memory: compared with pandas, which only reads the cells."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console

from .measure import MIB, Process, Settings, interleaved, process, ratios
from .report import Line, Target, tabulated

ROUNDS = 4
SHAPES = {"100,000 x 200": (100_000, 200), "1,000,000 x 30": (1_000_000, 30)}
BLOCK = 10_000
"""Rows that are written at a time."""
BEFORE = "import sys, torch, pandas; import experiments.data.tables as t; pandas.DataFrame({'a': [1]}).sum(); "
THEIRS = BEFORE + "pandas.read_csv(sys.argv[1])"
OURS = BEFORE + "t.csv(sys.argv[1], 'y')"
TIME = Target(2)
MEMORY = Target(4)


def run(settings: Settings, console: Console) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as temporary:
        empty = min((process(["-c", BEFORE]) for _ in range(3)), key=lambda done: done.seconds)
        for name, (rows, columns) in SHAPES.items():
            path = Path(temporary, "own.csv")
            write(path, rows, columns)
            size = path.stat().st_size
            peaks: dict[str, list[float]] = {"pandas": [], "ours": []}

            actions = {
                "pandas": loading(THEIRS, path, empty, peaks["pandas"]),
                "ours": loading(OURS, path, empty, peaks["ours"]),
            }
            for action in actions.values():
                action()  # the first one reads from the disk
            samples = interleaved(actions, dict.fromkeys(actions, settings.repeats(ROUNDS)))
            console.print(f"Tables: {name}, {size / 1e6:.0f} MB, all numbers but the class; without the imports")
            lines = [
                Line("data=csv", samples["ours"], "this / pandas", ratios(samples, "ours", "pandas"), target=TIME),
                Line("pandas.read_csv", samples["pandas"]),
            ]
            console.print(tabulated("s", lines))
            shares = [peak * MIB / size for peak in peaks["ours"]]
            memory = [
                Line("memory of data=csv", peaks["ours"], "this / file", shares, target=MEMORY),
                Line("memory of pandas.read_csv", peaks["pandas"]),
            ]
            console.print(tabulated("MiB", memory))


def loading(code: str, path: Path, empty: Process, peaks: list[float]) -> Callable[[], float]:
    """Return what loads a table and returns the seconds that this takes; the memory that it takes is noted.

    Args:
        code: of the process.
        path: the table.
        empty: a process that only imports.
        peaks: of memory, in MiB, to which this one's is added.
    """

    def measured() -> float:
        done = process(["-c", code, str(path)])
        peaks.append((done.peak - empty.peak) / MIB)
        return done.seconds - empty.seconds

    return measured


def write(path: Path, rows: int, columns: int) -> None:
    """Write a table of numbers with a class in its last column."""
    noise = np.random.default_rng(0)
    with path.open("w") as file:
        file.write(",".join([*(f"x{number}" for number in range(columns - 1)), "y"]) + "\n")
        for _ in range(0, rows, BLOCK):
            block = np.column_stack([noise.normal(size=(BLOCK, columns - 1)), noise.integers(0, 3, BLOCK)])
            np.savetxt(file, block, fmt=["%.5f"] * (columns - 1) + ["%d"], delimiter=",")
