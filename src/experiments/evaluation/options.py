"""The options of `evaluate`, and the settings of another data set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from experiments.cli import arguments
from experiments.common.errors import UserError

from .settings import MEANINGS_OF_RUNS, RunOptions

MEANINGS = {
    "split": "the split: test, val or train",
    "input": "a picture, a folder of pictures, a csv or an npz file to predict for, instead of a split",
    "best": MEANINGS_OF_RUNS["best"],
    "ensemble": "runs, or the kept checkpoints of one run, also together: mean of probabilities, soup of weights",
    "device": "auto (CUDA if there is a GPU), cpu, cuda or cuda:1",
    "strict": MEANINGS_OF_RUNS["strict"],
    "trust": MEANINGS_OF_RUNS["trust"],
    "limits.memory": MEANINGS_OF_RUNS["limits.memory"],
}
OTHER_DATA = {
    "data.<key>": "a setting of the data set, to evaluate on other data: data.test_path=newer.csv, or data=<choice>"
}
"""What else the command line may set, for the help."""
OF_THE_DATA = re.compile(r"data(\.\w+)?=")
OF_FILES: Mapping[str, Sequence[str] | None] = {
    "data.unknown": ("error", "ignore"),
    "data.decimal": ("point", "comma", ".", ","),
    "data.encoding": None,
}
"""The settings of the data that say how a table is read for which a run predicts, and their values; None for any."""
TEXTS = {"split", "input", "ensemble", "device", "trust"}


@dataclass(frozen=True)
class EvaluateOptions(RunOptions):
    """The options; see `MEANINGS`."""

    split: Literal["train", "val", "test"] = "test"
    input: str | None = None
    ensemble: Literal["mean", "soup"] | None = None
    device: str = "auto"


def parsed(words: Sequence[str]) -> tuple[list[Path], EvaluateOptions, dict[str, Any]]:
    """Read the command line.

    Returns:
        The folders, the options, and the settings of another data set: by their names, and its choice as `data`.

    Raises:
        UserError: see `arguments.parsed`; or both files and a data set are given.
    """
    settings = [word for word in words if OF_THE_DATA.match(word)]
    folders, given = arguments.parsed(
        [word for word in words if word not in settings], EvaluateOptions, "evaluate", MEANINGS, TEXTS
    )
    options = EvaluateOptions(**given)
    parts = [setting.partition("=") for setting in settings]
    other = {name.removeprefix("data."): arguments.read(value) for name, _, value in parts}
    if options.input is not None:
        wrong = [setting for setting, (name, _, _) in zip(settings, parts, strict=True) if name not in OF_FILES]
        if wrong:
            raise UserError(
                f"{wrong[0]} and input={options.input} are both given; input uses files and no data set; of its "
                f"settings, only {', '.join(OF_FILES)} can be given"
            )
        for name, allowed in OF_FILES.items():
            value = other.get(name.removeprefix("data."))
            if value is not None and allowed is not None and value not in allowed:
                raise UserError(f"{name}={value!r} should be {' or '.join(map(repr, allowed))}")
    return folders, options, other
