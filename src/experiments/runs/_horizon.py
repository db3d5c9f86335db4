"""The horizon of a resumed run's schedule: the epochs for which it was planned, or those that the run has now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments import assembly
from experiments.assembly.run import Parts
from experiments.common.foreign import read_yaml
from experiments.common.text import counted
from experiments.folders.run import RunFolder
from experiments.training.position import Position


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
    planned = state.get("horizon") or saved_epochs(folder)
    if not planned or planned == plan.epochs:
        return None
    position = Position(plan, state["position"]["epoch"], state["position"]["batch"])
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
    known = f"The schedule of the learning rate was planned for {counted(planned, 'epoch')}"
    if member.horizon is None:
        return (
            f"{known} and is stretched to {plan.epochs}: the rate changes from {before:.3g} to {stretched[0]:.3g} now, "
            f"and ends at {stretched[-1]:.3g}"
        )
    stays = f"after them it stays at {kept[-1]:.3g}{' (nothing is learnt)' if kept[-1] == 0 else ''}"
    if plan.epochs < planned:
        stays = f"training ends before them, at {kept[-1]:.3g}"
    return (
        f"{known}; {stays}; scheduler.horizon=stretched fits it to {plan.epochs}, with a rate of {stretched[0]:.3g} now"
    )


def saved_epochs(folder: RunFolder) -> int | None:
    """Return the number of epochs in the folder's configuration, for a checkpoint that does not have the horizon."""
    try:
        epochs = read_yaml(folder.path / ".hydra" / "config.yaml")["training"]["epochs"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return epochs if isinstance(epochs, int) else None
