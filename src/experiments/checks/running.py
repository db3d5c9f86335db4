"""Run the sanity checks of a run, print their results and write `checks.json`."""

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
from experiments.common.screen import Screen, printing_log, table
from experiments.common.signatures import shown
from experiments.common.text import shown_path
from experiments.folders.identity import identity
from experiments.folders.run import RunFolder
from experiments.training import device
from experiments.training.doubts import Doubts, doubts_about
from experiments.training.single import Single
from experiments.training.streams import global_generator

from . import CHECKS, CheckResult, Subject, refuse, worst


class ChecksFailedError(UserError):
    """A check has failed: the run would not learn."""

    code = 1


def chosen(only: Any) -> list[str]:
    """Return the names of the checks to run.

    Raises:
        UserError: one of them is unknown.
    """
    names = list(CHECKS) if only is None else [only] if isinstance(only, str) else only
    if not isinstance(names, list) or not names:
        raise UserError(f"only={shown(only)} should be a check or a list of checks; choose from {', '.join(CHECKS)}")
    for name in names:
        if name not in CHECKS:
            raise UserError(
                f"only={shown(name)} is not a check; choose from {', '.join(CHECKS)}" + nearest(str(name), CHECKS)
            )
    return [name for name in CHECKS if name in names]


def subject_of(
    config: assembly.Config, data: assembly.Data, program: Single, rate: float, batch_size: int, folder: RunFolder
) -> Subject:
    """Return the subject of the checks: a run's parts, of which every check takes copies.

    Args:
        config: the run's configuration.
        data: its data.
        program: its initialized model with the settings of an update.
        rate: the learning rate before any schedule.
        batch_size: examples per update.
        folder: for figures.
    """
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
        columns=data.description.columns,
        questions=data.questions,
        scale=scale_of(config),
    )


def scale_of(config: assembly.Config) -> tuple[str, float] | None:
    """Return the setting that multiplies all initial weights, with its value; None if there is none."""
    if (config.get("init_from") or {}).get("path"):
        return None
    values = {f"init.{name}": config["init"].get(name) for name in ("gain", "std")}
    return next(((key, float(value)) for key, value in values.items() if isinstance(value, int | float)), None)


def own_optimizer(config: assembly.Config, model: nn.Module) -> torch.optim.Optimizer:
    """Create the run's optimizer for a copy of its model."""
    return assembly.optimizer(config, model)[0]


def run_checks(
    subject: Subject, names: Sequence[str], folder: RunFolder, screen: Screen, about: Mapping[str, Any]
) -> None:
    """Run checks, print a table of their results and write `checks.json`.

    Args:
        subject: the run to check.
        names: of the checks.
        folder: where to write.
        screen: where to print.
        about: more to write, such as the seed and the versions.

    Raises:
        ChecksFailedError: one of them fails; everything is printed and written first.
        UserError: the run cannot be checked.
    """
    try:
        refuse(subject)
    except ValueError as error:
        raise UserError(str(error)) from None
    results = {}
    for name in names:
        with global_generator(subject.seed, subject.device):  # a user's model may draw from it
            results[name] = CHECKS[name](subject)
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
    """Print the table of results and the advice."""
    printed = table("check", "measured", "expected", "verdict", wrapped=("measured", "expected"))
    for name, result in results.items():
        printed.add_row(name, result.measured, result.expected, result.verdict)
    screen.print(printed)
    screen.print("")
    for name, result in results.items():
        if result.advice:
            screen.print(f"{name}: {result.advice}")


def check(cfg: DictConfig) -> None:
    """Run the sanity checks of a configuration composed by Hydra, in the folder that Hydra created."""
    hydra = HydraConfig.get()
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    names = chosen(config.pop("only", None))
    folder = RunFolder(Path(hydra.runtime.output_dir))
    general, settings = assembly.general(config), assembly.training(config)
    assembly.check_spelling(config)
    torch_device = chosen_device(settings.device)
    screen = Screen(folder.path / "check.log")
    with ExitStack() as stack:
        stack.callback(screen.close)
        stack.enter_context(printing_log(screen))
        stack.enter_context(device.kernels(deterministic=settings.deterministic, precision=settings.precision))
        stack.enter_context(global_generator(general.seed, torch_device))
        parts = assembled(config, general, settings, torch_device, folder, screen)
        stack.enter_context(device.torch_threads(thread_count(settings, parts, torch_device, None)))
        try:
            check_parts(config, parts, names, screen, list(hydra.overrides.task))
        finally:
            screen.print(f"checks   {shown_path(folder.path / 'checks.json')}")


def check_parts(
    config: assembly.Config, parts: Parts, names: Sequence[str], screen: Screen, overrides: list[str]
) -> None:
    """Run checks of a run that is assembled but not trained; they leave it as it was.

    Args:
        config: the run's configuration.
        parts: its objects.
        names: of the checks.
        screen: to print on.
        overrides: of the run, as typed.

    Raises:
        ChecksFailedError: one of them fails, see `run_checks`.
        UserError: the run cannot be checked.
    """
    member = parts.member
    unused = () if member.doubts else doubts_about(parts.program, probed=True).unused
    for doubt in Doubts(unused).sentences:
        screen.print(f"warning: {doubt}\n")
    subject = subject_of(config, parts.data, parts.program, member.rate, parts.plan.batch_size, member.folder)
    run_checks(subject, names, member.folder, screen, identity(config, overrides))
