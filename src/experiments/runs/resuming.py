"""Resuming a run: the same command line in the same folder, with no change to what is learnt."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.assembly.trust import advice, packages, untrusted
from experiments.common.errors import UserError
from experiments.common.foreign import read_yaml
from experiments.common.keys import EARLIER_RATES, RATE, flattened, is_found_again, key_of, meaning
from experiments.common.recorded import only_within
from experiments.common.signatures import TARGET
from experiments.common.text import cut, one_line
from experiments.data.sources import first_names

LATER = "task"
"""The section that runs of earlier versions lack."""


def is_given(key: str, given: Collection[str]) -> bool:
    """Whether overrides set a key: itself, a section that contains it, or a recipe."""
    return "experiment" in given or any(key == other or key.startswith(f"{other}.") for other in given)


def missing_sections(saved: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Return the sections that a saved configuration lacks, or whose `_target_` it lacks, as a cut file does."""
    sections = {
        name: value
        for name, value in config.items()
        if isinstance(value, Mapping) and TARGET in value and name != LATER
    }
    return [name for name in sections if not isinstance(saved.get(name), Mapping) or TARGET not in saved[name]]


def resolved(content: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return a saved configuration as dotted keys, with the values of those that name other keys.

    Hydra writes interpolations as they are typed, until the run has started. One that read more than the configuration,
    such as the environment, is taken to have had the present value.

    Args:
        content: as saved.
        now: the present values, by dotted keys.
    """
    flat = flattened(content)
    for key, value in flat.items():
        if "${" not in str(value) or isinstance(value, Mapping):
            continue
        flat[key] = now.get(key)
        if only_within([str(value)]):
            with suppress(OmegaConfBaseException):
                found = OmegaConf.select(OmegaConf.create(dict(content)), key)
                flat[key] = OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
    return flat


def check_unchanged(
    folder: Path, config: Mapping[str, Any], overrides: Sequence[str] = (), *, own: bool = False
) -> None:
    """Refuse to resume a run with a configuration that changes what is learnt.

    Args:
        folder: of the run.
        config: its configuration as it is composed now.
        overrides: from which it is composed.
        own: whether the running command has composed it, which may name any code.

    Raises:
        UserError: some keys may not change, or the configuration names code that is not trusted.
    """
    path = folder / ".hydra" / "config.yaml"
    try:
        content = read_yaml(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"resume={str(folder)!r} is not a run folder: {path.relative_to(folder)} cannot be read "
            f"({one_line(error)}); restore the file from a copy, or start a new run"
        ) from None
    lacking = missing_sections(content if isinstance(content, dict) else {}, config)
    if lacking:
        raise UserError(
            f"resume={str(folder)!r} cannot be resumed: {path.relative_to(folder)} is incomplete, without "
            f"{', '.join(lacking)}; restore the file from a copy, or start a new run"
        )
    now = flattened(config)
    saved = resolved(content, now)
    differing = [
        f"{cut(key)} ({cut(str(saved.get(key, 'absent')))} -> {cut(str(now.get(key, 'absent')))})"
        for key in dict.fromkeys([*saved, *now])
        if not meaning(key).resume
        and not is_found_again(key, saved, now)
        and not isinstance(saved.get(key, now.get(key)), Mapping)
        and saved.get(key) != now.get(key)
    ]
    if differing:
        raise UserError(f"resume cannot change {first_names(differing)}; start a new run, or keep the old values")
    given = {key_of(line) for line in overrides}
    for key, value in saved.items():
        changed = (
            (key == RATE or key.startswith("training."))
            and key in now
            and now[key] != value
            and not isinstance(value, Mapping)
        )
        if changed and not is_given(key, given):
            raise UserError(
                f"resume={str(folder)!r}: .hydra/overrides.yaml is incomplete, as config.yaml has {key}={value}; "
                "repeat this override on the command line"
            )
    for key, value in () if own else untrusted(config, packages(config.get("trust"))):
        raise UserError(
            f"{key}={value!r} in resume={str(folder)!r} names code from outside this package; "
            + advice(str(value), "'trust=[{}]'")
        )


@dataclass(frozen=True)
class Rates:
    """The learning rates of a run that is resumed.

    Args:
        before: the last one; None if the folder does not show it.
        now: the one with which it continues.
        earlier: those before it, each with the epoch after which it changed.
    """

    before: float | None
    now: float | None
    earlier: list[list[float]]

    @property
    def changed(self) -> bool:
        """Whether it continues with another rate."""
        return self.before is not None and self.before != self.now


def rates_of(folder: Path, config: Mapping[str, Any], epoch: int) -> Rates:
    """Return the learning rates of a run that is resumed, so that its folder can show them.

    Args:
        folder: of the run.
        config: its configuration as it is composed now.
        epoch: the number of epochs that it has trained.
    """
    now = flattened(config)
    try:
        content = read_yaml(folder / ".hydra" / "config.yaml")
    except (OSError, ValueError):
        content = None
    saved = resolved(content, now) if isinstance(content, dict) else {}
    before, rate = (value if is_number(value := keys.get(RATE)) else None for keys in (saved, now))
    listed = saved.get(EARLIER_RATES)
    earlier = [list(pair) for pair in listed if is_rate(pair)] if isinstance(listed, list) else []
    if before is not None and before != rate and epoch:
        if earlier and earlier[-1][1] == epoch:  # no epoch was trained with the last one
            if earlier[-1][0] == rate:
                earlier.pop()
        else:
            earlier.append([before, epoch])
    return Rates(before, rate, earlier)


def is_number(value: Any) -> bool:
    """Whether a value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_rate(pair: Any) -> bool:
    """Whether a value is a rate with an epoch."""
    return isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair))
