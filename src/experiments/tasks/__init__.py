"""What is learnt: the form of the targets, losses, metrics, answers."""

from collections.abc import Mapping

from .base import Form, Task
from .classification import Classification
from .multilabel import Multilabel
from .reconstruction import Reconstruction
from .regression import Regression
from .sequence import Sequence


class Auto:
    """Stands for the task that fits the targets: whole numbers or texts are classes, other numbers a regression."""


FITTING: Mapping[Form, type[Task]] = {
    "classes": Classification,
    "numbers": Regression,
    "labels": Multilabel,
    "inputs": Reconstruction,
    "tokens": Sequence,
}
"""The task by the form of the targets; no data set has the form `inputs`, so `task=auto` is never a reconstruction."""

__all__ = [
    "FITTING",
    "Auto",
    "Classification",
    "Form",
    "Multilabel",
    "Reconstruction",
    "Regression",
    "Sequence",
    "Task",
]
