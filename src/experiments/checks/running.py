"""The sanity checks of a run: made, printed and written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import nn

from experiments import assembly
from experiments.assembly.run import Parts, assembled, chosen_device, thread_count
from experiments.common.errors import UserError, nearest
from experiments.common.files import write_json
from experiments.common.screen import Screen, hearing, table
from experiments.common.signatures import shown
from experiments.common.text import shown_path
from experiments.folders.identity import identity
from experiments.folders.run import RunFolder
from experiments.training import device
from experiments.training.single import Single
from experiments.training.streams import global_generator

from . import CHECKS, CheckResult, Subject, refuse, worst


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


def report(screen: Screen, results: Mapping[str, CheckResult]) -> None:
    """Print the table, and what to do about the findings."""
    printed = table("check", "measured", "expected", "verdict", wrapped=("measured", "expected"))
    for name, result in results.items():
        printed.add_row(name, result.measured, result.expected, result.verdict)
    screen.print(printed)
    screen.print("")
    for name, result in results.items():
        if result.advice:
            screen.print(f"{name}: {result.advice}")


def check(cfg: DictConfig) -> None:
    """Make the sanity checks of a configuration composed by Hydra, in the folder that Hydra made."""
    hydra = HydraConfig.get()
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    names = chosen(config.pop("only", None))
    folder = RunFolder(Path(hydra.runtime.output_dir))
    general, settings = assembly.general(config), assembly.training(config)
    place = chosen_device(settings.device)
    screen = Screen(folder.path / "check.log")
    with ExitStack() as stack:
        stack.callback(screen.close)
        stack.enter_context(hearing(screen))
        stack.enter_context(device.kernels(deterministic=settings.deterministic))
        stack.enter_context(global_generator(general.seed, place))
        parts = assembled(config, general, settings, place, folder, screen)
        stack.enter_context(device.torch_threads(thread_count(settings, parts, place, None)))
        try:
            check_parts(config, parts, names, screen, list(hydra.overrides.task))
        finally:
            screen.print(f"checks   {shown_path(folder.path / 'checks.json')}")


def check_parts(
    config: assembly.Config, parts: Parts, names: Sequence[str], screen: Screen, overrides: list[str]
) -> None:
    """Make checks of a run that was put together and not trained; it is as before afterwards."""
    member = parts.member
    made = subject(config, parts.data, parts.program, member.rate, parts.plan.batch_size, member.folder)
    run_checks(made, names, member.folder, screen, identity(config, overrides))
