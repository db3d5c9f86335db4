"""The members of an ensemble: several runs, or the kept checkpoints of one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments import assembly
from experiments.common.errors import UserError
from experiments.common.groups import add_to_group
from experiments.common.screen import Screen
from experiments.common.text import shown_path
from experiments.data.batches import Split
from experiments.folders.run import RunFolder
from experiments.training.averaging import refresh_statistics, soup
from experiments.training.single import scores_of
from experiments.training.stack import architecture, scores_together

from .loading import BestWeightsError, Restored, no_split, restored
from .settings import RestoreSettings

SOUP = "uniform soup"
PREPARING = ("preprocess", "augment", "balance")
"""Settings of a data set that do not change which examples a split has."""


@dataclass(frozen=True)
class EnsembleMember:
    """A member of an ensemble.

    Args:
        name: in the printed table.
        run: restored with the member's weights.
    """

    name: str
    run: Restored


def members(folders: Sequence[Path], screen: Screen, restoring: RestoreSettings) -> list[EnsembleMember]:
    """Return the kept checkpoints of one run, or several runs with the weights of their best epochs.

    Args:
        folders: of runs.
        screen: for the list of runs that are left out, and of those whose best weights cannot be used.
        restoring: how they are restored.

    Raises:
        UserError: fewer than two can be used.
    """
    restore = partial(restored, restoring=restoring, sources=assembly.Sources())
    return checkpoints(folders[0], restore) if len(folders) == 1 else runs(folders, screen, restore)


def checkpoints(folder: Path, restore: Callable[..., Restored]) -> list[EnsembleMember]:
    """Return the checkpoints that a run kept during training (Huang et al. 2017).

    Raises:
        UserError: there are fewer than two.
    """
    kept = RunFolder(folder).kept()
    if len(kept) < 2:
        raise UserError(
            "an ensemble needs two runs, or two checkpoints kept with a setting such as "
            f"training.keep_checkpoints=every:5; {str(folder)!r} is one run with {len(kept) or 'no'} kept "
            f"checkpoint{'' if len(kept) == 1 else 's'}"
        )
    each = [restore(folder, checkpoint=path.name) for path in kept]
    return [EnsembleMember(_called(path), run) for path, run in zip(kept, each, strict=True)]


def _called(path: Path) -> str:
    """Return the name of a kept checkpoint: 'epoch 5', 'step 500'."""
    unit, _, number = path.stem.partition("_")
    return f"{unit} {int(number)}"


def runs(folders: Sequence[Path], screen: Screen, restore: Callable[..., Restored]) -> list[EnsembleMember]:
    """Return the runs that can be evaluated, and print the reasons why others cannot.

    Raises:
        UserError: there are fewer than two.
    """
    usable, problems = [], []
    for folder in folders:
        try:
            run = restore(folder)
            if run.epoch == 0 and run.settings.epochs > 0:
                raise UserError(f"{str(folder)!r} cannot be evaluated: it has not finished an epoch")
        except BestWeightsError:
            raise
        except UserError as error:
            problems.append(str(error))
        else:
            usable.append(EnsembleMember(folder.resolve().name, run))
    if len(usable) < 2:
        reason = f": {problems[0]}" if problems else ""
        raise UserError(f"an ensemble needs two runs, and {len(usable) or 'none'} of these can be used{reason}")
    for problem in problems:
        screen.print(f"left out  {problem}")
    for member in usable:
        if member.run.note:
            screen.print(f"warning: {member.run.note}")
    return usable


def other_weights(folder: Path, restoring: RestoreSettings) -> list[EnsembleMember]:
    """Return the other weights of a run: the best, the last, and their average if the run has one."""
    members = []
    restore = partial(restored, folder, restoring)
    with suppress(UserError):
        best = restore(checkpoint="best.pt")
        members.append(EnsembleMember(f"best epoch ({best.epoch})", best))
    with suppress(UserError):
        last = restore(checkpoint="last.pt")
        trained = last.folder.load(last.folder.last)["program"].get("trained")
        if trained is not None:
            members.append(EnsembleMember(f"{'SWA' if last.settings.ema is None else 'EMA'} ({last.epoch})", last))
            last = replace(last, model=deepcopy(last.model))
            last.model.load_state_dict(trained)
        members.append(EnsembleMember(f"last epoch ({last.epoch})", last))
    return members


def souped(members: Sequence[EnsembleMember], train: Split) -> EnsembleMember:
    """Return a run with the mean of the members' weights; BatchNorm's statistics are computed anew.

    Args:
        members: the preparation of examples is that of the first.
        train: the training split of the first.

    Raises:
        UserError: the members have different architectures.
    """
    first = members[0].run
    for member in members[1:]:
        if architecture(member.run.model) != architecture(first.model):
            raise UserError(
                f"{members[0].name} and {member.name} have different architectures; a mean of weights needs the same"
            )
    run = replace(first, model=soup([member.run.model for member in members]))
    forward = partial(scores_of, run.model, precision=run.settings.precision, channels_last=run.settings.channels_last)
    with run.surroundings():
        refresh_statistics(run.model, forward, (x for x, _ in train.in_order(run.settings.eval_batch_size)))
    return EnsembleMember(SOUP, run)


def examples(members: Sequence[EnsembleMember], split: str) -> list[Split]:
    """Return the split of each member: the same examples, each prepared by the member's run.

    Raises:
        UserError: the members have different classes or examples, or one does not have the split.
    """
    by_run: dict[Path, Split] = {}
    first = members[0].run
    for member in members:
        run, path = member.run, member.run.folder.path
        if path in by_run:
            continue
        refuse_other_classes(first, run)
        if split not in run.data.splits:
            raise no_split(split, run)
        by_run[path] = run.data.splits[split]
        same_settings = split_settings(first.config, split) == split_settings(run.config, split)
        if not same_settings and not torch.equal(raw(first, split), raw(run, split)):
            hint = "; with different seeds only split=test is the same" if split != "test" else ""
            both = f"{shown_path(path)} and {shown_path(first.folder.path)}"
            raise UserError(f"{both} have different examples in split={split}; an ensemble needs the same{hint}")
    return [by_run[member.run.folder.path] for member in members]


def refuse_other_classes(first: Restored, run: Restored) -> None:
    """Refuse a run whose classes or targets differ from those of the first run.

    Raises:
        UserError: they differ.
    """
    one, other = first.description, run.description
    if (one.kind, one.names) != (other.kind, other.names):
        both = f"{shown_path(run.folder.path)} and {shown_path(first.folder.path)}"
        what = "classes" if one.kind == other.kind == "classes" else "targets"
        raise UserError(f"{both} have different {what}; an ensemble needs the same")


def split_settings(config: Mapping[str, Any], split: str) -> list[object]:
    """Return the settings that decide which examples are in a split."""
    data = {key: value for key, value in config["data"].items() if key not in PREPARING}
    return [data, None if split == "test" else config["seed"]]


def raw(run: Restored, split: str) -> Tensor:
    """Return the raw examples of a split with their targets, (examples, features + targets), on the CPU.

    The targets are rounded, because each run scales them in its own way.
    """
    examples = run.data.splits[split]
    y = run.task.decode(examples.y.cpu()).double().reshape(len(examples), -1)
    rounded = y if run.classes else y.float().double().mul(1e4).round()
    return torch.cat([examples.raw().cpu().flatten(1).double(), rounded], 1)


def scores(members: Sequence[EnsembleMember], splits: Sequence[Split]) -> list[Tensor]:
    """Return each member's scores, (examples, classes), on the CPU; members with one architecture form one stack."""
    groups: list[tuple[object, list[int]]] = []
    for index, member in enumerate(members):
        add_to_group(groups, common_to_stack(member.run), index)
    by_member: dict[int, Tensor] = {}
    for _, group in groups:
        own_scores = scores_of_group([members[n].run for n in group], [splits[n] for n in group])
        by_member |= zip(group, own_scores, strict=True)
    return [by_member[index] for index in range(len(members))]


def common_to_stack(run: Restored) -> object:
    """Return the properties that the runs of a stack must share."""
    settings = run.settings
    return (
        architecture(run.model),
        (settings.precision, settings.channels_last, settings.eval_batch_size),
        run.description.shape,
        run.device,
    )


def scores_of_group(runs: Sequence[Restored], splits: Sequence[Split]) -> Sequence[Tensor]:
    """Return the scores of runs with one architecture, (examples, classes) each, as one stack if possible.

    On a CPU, a stack whose members prepare the examples differently is a fifth slower than one by one.
    """
    settings = runs[0].settings
    plain = settings.precision in ("fp32", "tf32", "fp64") and not settings.channels_last
    pays = all(split is splits[0] for split in splits) or runs[0].device.type == "cuda"
    plain = plain and splits[0].follows is None
    if len(runs) > 1 and plain and pays:
        with suppress(ValueError), runs[0].surroundings():
            return list(scores_together([run.model for run in runs], splits, settings.eval_batch_size))
    return [
        torch.cat([scores.cpu() for scores, _ in run.batches(split)]) for run, split in zip(runs, splits, strict=True)
    ]
