"""How trained runs are restored, and the options for it that several verbs have; torch is not needed here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge

from experiments.cli.arguments import listed

MEANINGS_OF_RUNS = {
    "best": "only the best N runs of a sweep or of several runs, by their objective",
    "strict": "true ends with code 1 if the weights of the best epoch cannot be read; false warns and uses the last",
    "trust": "modules that a run's configuration may take code from, besides torch and this package: trust=my_package",
    "limits.memory": "the most memory that a run may need, such as 8GB; without it what is free on the device",
}
"""The meanings of `RunOptions`, for the help."""


@dataclass(frozen=True)
class RestoreSettings:
    """How the runs of a command are restored from their folders.

    Args:
        trust: prefixes of code that a run's configuration may name, in addition to torch, torchvision and this package.
        device: auto, cpu, cuda or cuda:<number>.
        other: settings of another data set, see `Restored.data`.
        strict: whether only the weights of the best epoch will do.
    """

    trust: Sequence[str] = ()
    device: str = "auto"
    other: Mapping[str, Any] = field(default_factory=dict)
    strict: bool = False


@dataclass(frozen=True)
class RunOptions:
    """The options of every verb that restores runs; see `MEANINGS_OF_RUNS`."""

    best: Annotated[int, Ge(1)] | None = None
    strict: bool = False
    trust: str | None = None
    limits: dict[str, Any] | None = None

    def restoring(self, device: str = "auto", other: Mapping[str, Any] | None = None) -> RestoreSettings:
        """Return the settings with which the runs are restored."""
        return RestoreSettings(listed(self.trust and self.trust.strip("[] ")), device, other or {}, self.strict)
