"""The sanity checks of a run: made, printed and written down."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from . import assembly
from .common.errors import UserError, nearest
from .common.files import write_json
from .common.screen import Screen, table
from .common.signatures import shown
from .folders.run import RunFolder
from .sanity import CHECKS, Result, Subject, refuse, worst
from .training.single import Single
from .training.streams import global_generator


class ChecksFailedError(UserError):
    """A check has failed: what would be trained would not learn."""

    code = 1


def chosen(only: Any) -> list[str]:
    """Return the names of the checks to make.

    Raises:
        UserError: one of them is unknown.
    """
    names = list(CHECKS) if only is None else [only] if isinstance(only, str) else only
    if not isinstance(names, list) or not names:
        raise UserError(f"only={shown(only)} should be a check or a list of them; allowed: {', '.join(CHECKS)}")
    for name in names:
        if name not in CHECKS:
            raise UserError(
                f"only={shown(name)} is no check; allowed: {', '.join(CHECKS)}" + nearest(str(name), CHECKS)
            )
    return [name for name in CHECKS if name in names]


def subject(
    config: assembly.Config, data: assembly.Data, program: Single, rate: float, batch_size: int, folder: RunFolder
) -> Subject:
    """Return what is checked: a run's parts, of which every check makes copies."""
    return Subject(
        model=program.model,
        splits=data.splits,
        classes=data.classes,
        criterion=program.criterion,
        optimizer=partial(own_optimizer, config),
        rate=rate,
        batch_size=batch_size,
        updating=program.updating,
        augments=program.augments,
        seed=int(config["seed"]),
        folder=folder.path,
    )


def own_optimizer(config: assembly.Config, model: nn.Module) -> torch.optim.Optimizer:
    """Make the run's optimizer for a copy of its model."""
    return assembly.optimizer(config, model)[0]


def run_checks(
    made: Subject, names: Sequence[str], folder: RunFolder, screen: Screen, about: Mapping[str, Any]
) -> None:
    """Make checks, print a table of them and write `checks.json`.

    Args:
        made: what is checked.
        names: of the checks.
        folder: where to write.
        screen: where to print.
        about: what else is written, such as the seed and the versions.

    Raises:
        ChecksFailedError: one of them fails; everything is printed and written.
        UserError: they cannot be made.
    """
    try:
        refuse(made)
    except ValueError as error:
        raise UserError(str(error)) from None
    results = {}
    for name in names:
        with global_generator(made.seed, made.device):  # a user's model may draw from it
            results[name] = CHECKS[name](made)
    report(screen, results)
    content = {
        "verdict": worst(*(result.verdict for result in results.values())),
        "checks": [{"check": name, **vars(result)} for name, result in results.items()],
        **about,
    }
    write_json(folder.path / "checks.json", content)
    failed = [name for name, result in results.items() if result.verdict == "fail"]
    if failed:
        raise ChecksFailedError(f"{len(failed)} of {len(results)} checks failed: {', '.join(failed)}")


def report(screen: Screen, results: Mapping[str, Result]) -> None:
    """Print the table, and what to do about the findings."""
    printed = table("check", "measured", "expected", "verdict", wrapped=("measured", "expected"))
    for name, result in results.items():
        printed.add_row(name, result.measured, result.expected, result.verdict)
    screen.print(printed)
    screen.print("")
    for name, result in results.items():
        if result.advice:
            screen.print(f"{name}: {result.advice}")
