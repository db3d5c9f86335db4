"""Several runs, or several checkpoints of one run, as one: the mean of what they hold for probable, or of their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from experiments.arguments import unlinked
from experiments.errors import UserError
from experiments.files import write_whole
from experiments.run import write_json
from experiments.screen import Screen, shown_path, table

from .evaluating import FOLDER, NAMES, Evaluation, judged, predictions
from .members import beside, examples, members, scores, souped

Kind = Literal["mean", "soup"]
APART = (
    "The mean of the weights is worse than each member: there is a hill of the loss between them. It is of use along one "
    "run, and for runs that began from the same trained weights."
)


@dataclass(frozen=True)
class Ensemble:
    """What several runs or checkpoints are worth together; losses are the mean negative logarithm of the probability.

    Args:
        members: each alone, by name.
        together: the mean of their probabilities.
        soup: the mean of their weights; None where they are of different architectures.
        beside: what else a lone run left, by name.
    """

    members: Mapping[str, Evaluation]
    together: Evaluation
    soup: Evaluation | None
    beside: Mapping[str, Evaluation]

    @property
    def mean_accuracy(self) -> float:
        """The mean of the members' accuracies."""
        return sum(member.accuracy for member in self.members.values()) / len(self.members)

    @property
    def mean_loss(self) -> float:
        """The mean of the members' losses, which that of the ensemble never exceeds (Jensen's inequality)."""
        return sum(member.loss for member in self.members.values()) / len(self.members)


def combine(
    folders: Sequence[Path], split: str, out: Path, kind: Kind = "mean", trust: Sequence[str] = (), device: str = "auto"
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
        trust, device: see `loading.load`.

    Raises:
        UserError: they cannot be evaluated, have not the same classes and examples, or for a soup not one architecture.
        OSError: the folder cannot be written.
    """
    screen = Screen()
    screen.widen()
    own = members(folders, screen, trust, device)
    found, shares = evaluated(folders, own, split, kind, screen, trust, device)
    name = f"{'ensemble' if kind == 'mean' else 'soup'}_{split}"
    target = unlinked(out / FOLDER, name) / name
    write(target, found, shares, own[0].run.data.splits[split].y, own[0].run.classes)
    show(screen, found, target, alone=len(folders) == 1)
