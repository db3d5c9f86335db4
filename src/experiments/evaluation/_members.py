"""What is evaluated together: several runs, or the kept checkpoints of one."""

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
from experiments.common.screen import Screen
from experiments.common.text import shown_path
from experiments.data.batches import Split
from experiments.folders.run import RunFolder
from experiments.training.averaging import refresh_statistics, soup
from experiments.training.single import scores_of
from experiments.training.stack import architecture, scores_together

from .loading import Restored, load

SOUP = "uniform soup"
PREPARING = ("preprocess", "augment", "balance")
"""Settings of a data set that change no example."""


@dataclass(frozen=True)
class EnsembleMember:
    """One of those that are evaluated together.

    Args:
        name: for people.
        run: with the weights in question.
    """

    name: str
    run: Restored


def members(
    folders: Sequence[Path],
    screen: Screen,
    trust: Sequence[str],
    device: str,
    other: Mapping[str, Any] | None = None,
) -> list[EnsembleMember]:
    """Return the kept checkpoints of one run, or several runs with the weights of their best epochs.

    Args:
        folders: of runs.
        screen: where is said which have to be left out.
        trust, device, other: see `loading.load`.

    Raises:
        UserError: there are not two that can be used.
    """
    restore = partial(load, trust=trust, device=device, other=other, sources=assembly.Sources())
    return checkpoints(folders[0], restore) if len(folders) == 1 else runs(folders, screen, restore)


def checkpoints(folder: Path, restore: Callable[..., Restored]) -> list[EnsembleMember]:
    """Return what a run kept while it was trained (Huang et al. 2017)."""
    found = RunFolder(folder).kept()
    if len(found) < 2:
        raise UserError(
            "an ensemble needs two runs, or two checkpoints that training.keep_checkpoints=every:5 has kept; "
            f"{str(folder)!r} is one run with {len(found) or 'none'}"
        )
    restored = [restore(folder, checkpoint=path.name) for path in found]
    return [EnsembleMember(f"epoch {run.epoch}", run) for run in restored]


def runs(folders: Sequence[Path], screen: Screen, restore: Callable[..., Restored]) -> list[EnsembleMember]:
    """Return the runs that have come so far that they can be evaluated; the others are named."""
    found, problems = [], []
    for folder in folders:
        try:
            run = restore(folder)
            if run.epoch == 0 and run.settings.epochs > 0:
                raise UserError(f"{str(folder)!r} cannot be evaluated: no epoch of it has ended")
        except UserError as error:
            problems.append(str(error))
        else:
            found.append(EnsembleMember(folder.resolve().name, run))
    if len(found) < 2:
        rest = f": {problems[0]}" if problems else ""
        raise UserError(f"an ensemble needs two runs, and {len(found) or 'none'} of these can be used{rest}")
    for problem in problems:
        screen.print(f"left out  {problem}")
    return found


def beside(
    folder: Path, trust: Sequence[str], device: str, other: Mapping[str, Any] | None = None
) -> list[EnsembleMember]:
    """Return what else a run left: its best and its last weights, and its average where it had one."""
    found = []
    restore = partial(load, trust=trust, device=device, other=other)
    with suppress(UserError):
        best = restore(folder, checkpoint="best.pt")
        found.append(EnsembleMember(f"best epoch ({best.epoch})", best))
    with suppress(UserError):
        last = restore(folder, checkpoint="last.pt")
        trained = last.folder.load(last.folder.last)["program"].get("trained")
        if trained is not None:
            found.append(EnsembleMember(f"{'SWA' if last.settings.ema is None else 'EMA'} ({last.epoch})", last))
            last = replace(last, model=deepcopy(last.model))
            last.model.load_state_dict(trained)
        found.append(EnsembleMember(f"last epoch ({last.epoch})", last))
    return found


def souped(members: Sequence[EnsembleMember], train: Split) -> EnsembleMember:
    """Return a run with the mean of the members' weights; BatchNorm's statistics are measured anew.

    Args:
        members: the first says how examples are prepared.
        train: its training split.

    Raises:
        UserError: they are of different architectures.
    """
    first = members[0].run
    for member in members[1:]:
        if architecture(member.run.model) != architecture(first.model):
            raise UserError(
                f"{members[0].name} and {member.name} are of different architectures; a mean of weights needs the same"
            )
    made = replace(first, model=soup([member.run.model for member in members]))
    forward = partial(
        scores_of, made.model, precision=made.settings.precision, channels_last=made.settings.channels_last
    )
    with made.surroundings():
        refresh_statistics(made.model, forward, (x for x, _ in train.in_order(made.settings.eval_batch_size)))
    return EnsembleMember(SOUP, made)


def examples(members: Sequence[EnsembleMember], split: str) -> list[Split]:
    """Return the same examples for each member, prepared as its run prepares.

    Raises:
        UserError: they have other classes, or other examples in the split, or no such split.
    """
    found: dict[Path, Split] = {}
    first = members[0].run
    for member in members:
        run, path = member.run, member.run.folder.path
        if path in found:
            continue
        refuse_other_classes(first, run)
        if split not in run.data.splits:
            raise UserError(f"split={split} is none of {shown_path(path)}; it has {', '.join(run.data.splits)}")
        found[path] = run.data.splits[split]
        if asked(first.config, split) != asked(run.config, split) and not torch.equal(
            raw(first, split), raw(run, split)
        ):
            hint = "; with other seeds only split=test is the same" if split != "test" else ""
            both = f"{shown_path(path)} and {shown_path(first.folder.path)}"
            raise UserError(f"{both} have different examples in split={split}; an ensemble needs the same{hint}")
    return [found[member.run.folder.path] for member in members]


def refuse_other_classes(first: Restored, run: Restored) -> None:
    """Refuse a run with other classes.

    Raises:
        UserError: it has some.
    """
    if first.classes != run.classes:
        both = f"{shown_path(run.folder.path)} and {shown_path(first.folder.path)}"
        raise UserError(f"{both} have different classes; an ensemble needs the same")


def asked(config: Mapping[str, Any], split: str) -> list[object]:
    """Return what decides which examples are in a split."""
    data = {key: value for key, value in config["data"].items() if key not in PREPARING}
    return [data, None if split == "test" else config["seed"]]


def raw(run: Restored, split: str) -> Tensor:
    """Return the examples of a split as they came, with their classes: (examples, features + 1), on the host."""
    found = run.data.splits[split]
    return torch.cat([found.raw().cpu().flatten(1).double(), found.y.cpu()[:, None].double()], 1)


def scores(members: Sequence[EnsembleMember], splits: Sequence[Split]) -> list[Tensor]:
    """Return each member's scores, (examples, classes), on the CPU: those of one architecture as one stack."""
    groups: list[tuple[object, list[int]]] = []
    for number, member in enumerate(members):
        own = agreed(member.run)
        for known, group in groups:
            if known == own:
                group.append(number)
                break
        else:
            groups.append((own, [number]))
    found: dict[int, Tensor] = {}
    for _own, group in groups:
        found |= zip(group, scores_of_group([members[n].run for n in group], [splits[n] for n in group]), strict=True)
    return [found[number] for number in range(len(members))]


def agreed(run: Restored) -> object:
    """Return what the runs of a stack have in common."""
    settings = run.settings
    return (
        architecture(run.model),
        (settings.precision, settings.channels_last, settings.eval_batch_size),
        run.description.shape,
        run.device,
    )


def scores_of_group(runs: Sequence[Restored], splits: Sequence[Split]) -> Sequence[Tensor]:
    """Return the scores of runs of one architecture, one by one where they cannot be called as one.

    On a processor a stack whose members prepare the examples differently is a fifth slower than one by one.
    """
    settings = runs[0].settings
    plain = settings.precision in ("fp32", "fp64") and not settings.channels_last
    pays = all(split is splits[0] for split in splits) or runs[0].device.type == "cuda"
    if len(runs) > 1 and plain and pays:
        with suppress(ValueError), runs[0].surroundings():
            return list(scores_together([run.model for run in runs], splits, settings.eval_batch_size))
    return [
        torch.cat([scores.cpu() for scores, _ in run.batches(split)]) for run, split in zip(runs, splits, strict=True)
    ]
