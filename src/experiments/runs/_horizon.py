"""How long a resumed run is, and the horizon of its schedule: the epochs that were planned, or those it has now."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from experiments import assembly
from experiments.assembly.run import Parts
from experiments.common.errors import UserError
from experiments.common.foreign import read_yaml
from experiments.common.text import counted
from experiments.folders.run import RunFolder
from experiments.training.position import Plan, Position

from .resuming import Rates


def set_horizon(config: assembly.Config, folder: RunFolder, state: Mapping[str, Any], parts: Parts) -> str | None:
    """Set for how many epochs the schedule of a resumed run is meant.

    Args:
        config: of the run; `scheduler.horizon` decides.
        folder: of the run.
        state: its checkpoint.
        parts: its objects; the member gets the horizon.

    Returns:
        A sentence about the learning rate, if the number of epochs has changed and the rate depends on it.
    """
    member, plan = parts.member, parts.plan
    epochs = state.get("horizon") or saved_epochs(folder)
    planned = round((epochs or 0) * plan.steps_per_epoch)
    if not planned or planned == plan.total_steps:
        return None
    position = Position(plan, state["position"]["epoch"], state["position"]["batch"])
    position.skipped = state["position"].get("skipped", 0)
    losses = member.val_losses()

    def rate(step: int, horizon: int | None) -> float:
        member.horizon = horizon
        return member.learning_rate(max(step, 0), plan, losses)

    before = rate(position.step - 1, planned)
    steps = [position.step, *range(position.step, plan.total_steps, plan.steps_per_epoch), plan.total_steps - 1]
    kept, stretched = ([rate(step, horizon) for step in steps] for horizon in (planned, None))
    member.horizon = None if assembly.horizon(config) == "stretched" else planned
    if kept == stretched:
        return None
    known = f"The schedule of the learning rate was planned for {length(planned, plan)}"
    now = length(plan.total_steps, plan).removesuffix(" epochs")
    if member.horizon is None:
        return (
            f"{known} and is stretched to {now}: the rate changes from {before:.3g} to {stretched[0]:.3g} now, "
            f"and ends at {stretched[-1]:.3g}"
        )
    stays = f"after them it stays at {kept[-1]:.3g}{' (nothing is learnt)' if kept[-1] == 0 else ''}"
    if plan.total_steps < planned:
        stays = f"training ends before them, at {kept[-1]:.3g}"
    return f"{known}; {stays}; scheduler.horizon=stretched fits it to {now}, with a rate of {stretched[0]:.3g} now"


def length(steps: int, plan: Plan) -> str:
    """Return a number of updates as epochs, if they are whole, or else as steps."""
    epochs, rest = divmod(steps, plan.steps_per_epoch)
    return counted(steps, "step") if rest else counted(epochs, "epoch")


def saved_epochs(folder: RunFolder) -> int | None:
    """Return the number of epochs in the folder's configuration, for a checkpoint that does not have the horizon."""
    try:
        epochs = read_yaml(folder.path / ".hydra" / "config.yaml")["training"]["epochs"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return epochs if isinstance(epochs, int) else None


def check_rate(rates: Rates, position: Position) -> None:
    """Refuse another learning rate for a run with nothing left to train: the folder would show a rate it never had.

    Args:
        rates: of the run.
        position: where it continues.

    Raises:
        UserError: the rate differs from the one that the run was trained with.
    """
    if position.is_over and rates.changed and position.epoch:
        raise UserError(
            f"optimizer.lr={rates.now:g} would train nothing: the run has its {length(position.step, position.plan)}; "
            f"add more, such as {longer(position)}"
        )


def longer(position: Position) -> str:
    """Return the word with which a run that has ended is trained half as long again."""
    if position.out_of_time:
        return f"training.max_time={math.ceil(1.5 * position.seconds)}"
    if position.plan.steps is None:
        return f"training.epochs={math.ceil(1.5 * position.passes) or 1}"
    return f"training.steps={math.ceil(1.5 * position.step) or 1}"
