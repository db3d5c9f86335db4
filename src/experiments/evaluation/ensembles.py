"""Several runs, or checkpoints of one run, as one: the mean of what they hold for probable, or of their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from experiments.cli.arguments import unlinked
from experiments.common.errors import UserError
from experiments.common.files import write_json, write_whole
from experiments.common.screen import Screen, table
from experiments.common.text import shown_path
from experiments.data.batches import Split

from ._members import SOUP, EnsembleMember, beside, examples, members, scores, souped
from ._predictions import Predictions
from .evaluating import FOLDER, Evaluation, judged, place_of, said_of

Kind = Literal["mean", "soup"]
TOGETHER: Mapping[Kind, str] = {"mean": "ensemble", "soup": "soup"}
"""What the folder of each begins with."""
SMALLEST = 1e-300
APART = (
    "The mean of the weights is worse than every member: between them lies a hill of the loss. It is of use along one "
    "run, and for runs that began from the same trained weights."
)


@dataclass(frozen=True)
class Judged:
    """One of a table.

    Args:
        name: for people.
        evaluation: what it is worth; its loss is the mean negative logarithm of the right class's probability.
        shares: its probabilities, (examples, classes).
    """

    name: str
    evaluation: Evaluation
    shares: Tensor


@dataclass(frozen=True)
class Ensemble:
    """What several runs or checkpoints are worth together.

    Args:
        members: each alone.
        together: the mean of their probabilities.
        soup: the mean of their weights; None where they are of different architectures.
        beside: what else a lone run left.
    """

    members: Sequence[Judged]
    together: Judged
    soup: Judged | None
    beside: Sequence[Judged]

    @property
    def mean_accuracy(self) -> float:
        """The mean of the members' accuracies."""
        return sum(member.evaluation.accuracy for member in self.members) / len(self.members)

    @property
    def mean_loss(self) -> float:
        """The mean of the members' losses, which that of the ensemble never exceeds (Jensen's inequality)."""
        return sum(member.evaluation.loss for member in self.members) / len(self.members)

    @property
    def apart(self) -> bool:
        """Whether the mean of the weights is less accurate than every member, by more than chance: by the intervals."""
        lowest = min(member.evaluation.low for member in self.members)
        return self.soup is not None and self.soup.evaluation.high < lowest


def combine(
    folders: Sequence[Path],
    split: str,
    out: Path,
    kind: Kind,
    trust: Sequence[str] = (),
    device: str = "auto",
    other: Mapping[str, Any] | None = None,
) -> None:
    """Evaluate runs, or the kept checkpoints of one, alone and together, print both, and write what is asked for.

    The ensemble gives each class the mean of the members' probabilities (Hansen and Salamon 1990;
    Lakshminarayanan et al. 2017, section 2.4; of one run's checkpoints, Huang et al. 2017). The uniform soup has the
    mean of their weights (Wortsman et al. 2022, section 2).

    Args:
        folders: of runs.
        split: train, val or test.
        out: the folder above `evaluation/ensemble_<split>`, or `soup_<split>`.
        kind: whose predictions are written: mean for the ensemble, soup for the mean of the weights.
        trust, device, other: see `loading.load`.

    Raises:
        UserError: they cannot be evaluated, have not the same classes and examples, or for a soup not one architecture.
        OSError: the folder cannot be written.
    """
    screen = Screen()
    screen.widen()
    own = members(folders, screen, trust, device, other)
    splits = examples(own, split)
    first = own[0].run
    soup, why = souped_or_not(own, first.data.splits["train"], kind)
    more = [*([soup] if soup else []), *(beside(folders[0], trust, device, other) if len(folders) == 1 else [])]
    found = together(own, splits, more, split)
    name = f"{TOGETHER[kind]}_{place_of(split, other)}"
    target = unlinked(out / FOLDER, name) / name
    write(target, own, found, splits[0].y.cpu(), kind)
    show(screen, found, said_of(split, other), "weights" if len(folders) == 1 else "run", why)
    screen.print(f"\nwritten  {shown_path(target)}")


def souped_or_not(own: Sequence[EnsembleMember], train: Split, kind: Kind) -> tuple[EnsembleMember | None, str]:
    """Return the uniform soup, or say why there is none.

    Raises:
        UserError: there is none, and it is what was asked for.
    """
    try:
        return souped(own, train), ""
    except UserError as error:
        if kind == "soup":
            raise
        return None, f"no uniform soup: {error}"


def together(
    own: Sequence[EnsembleMember], splits: Sequence[Split], more: Sequence[EnsembleMember], split: str
) -> Ensemble:
    """Judge members, the mean of their probabilities, and what stands beside them.

    Args:
        own: the members.
        splits: each one's examples.
        more: of the first member's run, on its examples; the soup is the first of them, where there is one.
        split: what the examples are called.
    """
    names, y = own[0].run.classes, splits[0].y.cpu()

    def judge(name: str, shares: Tensor) -> Judged:
        loss = float(nn.functional.nll_loss(shares.clamp_min(SMALLEST).log(), y))
        return Judged(name, judged(shares, y, names, split, loss), shares)

    every = scores([*own, *more], [*splits, *[splits[0]] * len(more)])
    found = [judge(m.name, s.double().softmax(1)) for m, s in zip([*own, *more], every, strict=True)]
    alone, rest = found[: len(own)], found[len(own) :]
    mean = torch.stack([member.shares for member in alone]).mean(0)
    souped = [each for each in rest if each.name == SOUP]
    return Ensemble(alone, judge("ensemble", mean), souped[0] if souped else None, rest[len(souped) :])


def write(out: Path, own: Sequence[EnsembleMember], found: Ensemble, y: Tensor, kind: Kind) -> None:
    """Write the table, and the predictions of what was asked for."""
    chosen = found.soup if kind == "soup" and found.soup else found.together
    write_whole(out / "predictions.csv", Predictions.of_split(chosen.shares, y, own[0].run.classes).as_csv().encode())
    each = [
        {"run": str(member.run.folder.path), "epoch": member.run.epoch, **asdict(made.evaluation)}
        for member, made in zip(own, found.members, strict=True)
    ]
    about: dict[str, Any] = {"mean_accuracy": found.mean_accuracy, "mean_loss": found.mean_loss}
    about |= {"ensemble": asdict(found.together.evaluation)}
    about |= {"soup": asdict(found.soup.evaluation)} if found.soup else {}
    about |= {"beside": {made.name: asdict(made.evaluation) for made in found.beside}} if found.beside else {}
    write_json(out / "evaluation.json", {**about, "members": each})


def show(screen: Screen, found: Ensemble, said: str, column: str, why: str) -> None:
    """Print an ensemble beside its members.

    Args:
        screen: where.
        found: what they are worth.
        said: what the examples are called.
        column: what the members are.
        why: there is no soup, if there is none.
    """
    screen.print(f"{said}, {found.together.evaluation.examples:,} examples\n")
    right = ("accuracy", "95 % interval", "loss")
    printed = table(column, *right, right=right, wrapped=(column,))
    for made in found.members:
        printed.add_row(made.name, *cells(made.evaluation))
    printed.add_row("mean of the members", f"{found.mean_accuracy:.2%}", "", f"{found.mean_loss:.4f}")
    for made in (found.together, *([found.soup] if found.soup else []), *found.beside):
        printed.add_row(made.name, *cells(made.evaluation))
    screen.print(printed)
    for line in (why, APART if found.apart else ""):
        if line:
            screen.print(f"\n{line}")


def cells(made: Evaluation) -> tuple[str, str, str]:
    """Return accuracy, interval and loss for people."""
    return f"{made.accuracy:.2%}", f"{made.low:.2%} to {made.high:.2%}", f"{made.loss:.4f}"
