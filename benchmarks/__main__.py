"""Measure and print: `python -m benchmarks [names] [--list] [--quick] [--data FOLDER]`."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from rich.console import Console

from experiments.common.text import duration

from . import (
    advice,
    comparison,
    crashes,
    data,
    default_run,
    defaults,
    durability,
    epoch,
    fairness,
    gains,
    gpu,
    memory,
    observers,
    packing,
    photographs,
    remedies,
    stacks,
    startup,
    sweeps,
    tables,
    tasks,
)
from .measure import Settings, SkipError
from .report import console, machine

MODULES = (
    epoch,
    observers,
    durability,
    startup,
    memory,
    default_run,
    defaults,
    remedies,
    advice,
    stacks,
    sweeps,
    packing,
    gains,
    photographs,
    data,
    tables,
    tasks,
    comparison,
    fairness,
    crashes,
    gpu,
)
BENCHMARKS: dict[str, ModuleType] = {module.__name__.rpartition(".")[2]: module for module in MODULES}
MNIST = Path("MNIST", "raw", "train-images-idx3-ubyte")


def main() -> int:
    """Run what was asked for; returns 1 where a benchmark failed."""
    given = arguments()
    screen = console()
    if given.list:
        for name, module in BENCHMARKS.items():
            screen.print(f"{name:12} {summary(module)}")
        return 0
    settings = Settings(data_folder(given.data), given.quick)
    screen.print(machine())
    return max([attempt(name, settings, screen) for name in given.names or BENCHMARKS])


def arguments(command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=summary(sys.modules[__name__]))
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--list", action="store_true", help="say what there is, and measure nothing")
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--data", type=Path, help="the folder that holds MNIST; by default data or ../shared/data")
    given = parser.parse_args(command_line)
    for name in given.names:
        if name not in BENCHMARKS:
            parser.error(f"{name!r} is no benchmark; there are {', '.join(BENCHMARKS)}")
    return given


def summary(module: ModuleType) -> str:
    """Return the first line of a module's docstring."""
    return (module.__doc__ or "").splitlines()[0]


def data_folder(given: Path | None) -> Path | None:
    """Return the folder that holds MNIST: the one given, or the first of the usual ones."""
    usual = [Path("data"), Path(__file__).resolve().parents[2] / "shared" / "data"]
    return next((folder.resolve() for folder in ([given] if given else usual) if (folder / MNIST).exists()), None)


def attempt(name: str, settings: Settings, screen: Console) -> int:
    """Run one benchmark; returns 1 where it failed, and lets the next ones be measured all the same."""
    run: Callable[[Settings, Console], None] = BENCHMARKS[name].run
    screen.rule(name, align="left", characters="-")
    began = time.perf_counter()
    try:
        run(settings, screen)
    except SkipError as reason:
        screen.print(f"skipped: {reason}")
        return 0
    except RuntimeError as error:
        screen.print(f"failed: {error}")
        return 1
    screen.print(f"measured in {duration(time.perf_counter() - began)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
