"""The search space: overrides in Hydra's grammar, read as ranges and choices."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.types import (
    IntervalSweep,
    Override,
    Quote,
    QuotedString,
    RangeSweep,
    Transformer,
)
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from experiments.common.errors import UserError

DIGITS = 1e-4
"""The resolution of values from a continuous range, as a share of it: it keeps the names of folders short."""


@dataclass(frozen=True)
class Dimension:
    """One searched hyperparameter.

    Args:
        key: the text before the equals sign, with a + if one was typed.
        distribution: its values.
        typed: the text after the equals sign for a value, if it is not the value's own text.
        asked: the range or choices as they were typed.
    """

    key: str
    distribution: BaseDistribution
    typed: Mapping[Any, str] = field(default_factory=dict)
    asked: str = ""

    @property
    def numeric(self) -> bool:
        """Whether its values have an order."""
        return not isinstance(self.distribution, CategoricalDistribution)

    @property
    def log(self) -> bool:
        """Whether its scale is logarithmic."""
        return bool(getattr(self.distribution, "log", False))

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value of a numeric dimension."""
        distribution: Any = self.distribution
        return distribution.low, distribution.high

    def override(self, value: Any) -> str:
        """Return the override that sets the value."""
        return f"{self.key}={self.typed[value] if value in self.typed else typed(value)}"

    def position(self, value: float) -> float:
        """Return the position of a value on its scale: 0 at the low end, 1 at the high end."""
        low, high = self.bounds
        scale = math.log if self.log else float
        return (scale(value) - scale(low)) / (scale(high) - scale(low)) if high > low else 0.5

    def at(self, position: float) -> float:
        """Return the value at a position on its scale, also beyond its ends."""
        low, high = self.bounds
        if self.log:
            return math.exp(math.log(low) + position * (math.log(high) - math.log(low)))
        return low + position * (high - low)

    def rounded(self, value: Any) -> Any:
        """Return a drawn value with no more digits than the range needs."""
        if not isinstance(self.distribution, FloatDistribution):
            return value
        low, high = self.bounds
        if self.distribution.step is not None:
            return float(f"{value:.10g}")
        unit = value * DIGITS if self.log else (high - low) * DIGITS
        digits = -math.floor(math.log10(unit)) if unit > 0 else 15
        return min(max(round(value, digits), low), high)

    def values(self) -> list[Any] | None:
        """Return all values in order; None if there are infinitely many."""
        distribution = self.distribution
        if isinstance(distribution, CategoricalDistribution):
            return list(distribution.choices)
        if isinstance(distribution, IntDistribution):
            return list(range(distribution.low, distribution.high + 1, distribution.step))
        if isinstance(distribution, FloatDistribution) and distribution.step is not None:
            count = round((distribution.high - distribution.low) / distribution.step) + 1
            return [self.rounded(distribution.low + number * distribution.step) for number in range(count)]
        return None

    def count(self) -> int | None:
        """Return the number of values; None for infinitely many."""
        distribution = self.distribution
        if isinstance(distribution, IntDistribution):
            return (distribution.high - distribution.low) // distribution.step + 1
        values = self.values()
        return None if values is None else len(values)


@dataclass(frozen=True)
class Space:
    """The searched hyperparameters, and the overrides that all runs share.

    Args:
        dimensions: by name, in the order in which they were typed.
        fixed: the other overrides, by name.
        whole: whether these are all the dimensions; a custom search space may add others.
    """

    dimensions: Mapping[str, Dimension]
    fixed: Mapping[str, str]
    whole: bool = True

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The distributions that Optuna draws from."""
        return {name: dimension.distribution for name, dimension in self.dimensions.items()}

    def count(self) -> int | None:
        """Return the number of points; None for infinitely many."""
        counts = [dimension.count() for dimension in self.dimensions.values()]
        if not self.whole or any(count is None for count in counts):
            return None
        return math.prod(count for count in counts if count is not None)

    def points(self) -> Iterator[dict[str, Any]]:
        """Yield every point of a finite space."""
        values = [dimension.values() or [] for dimension in self.dimensions.values()]
        for point in itertools.product(*values):
            yield dict(zip(self.dimensions, point, strict=True))

    def overrides(self, point: Mapping[str, Any]) -> list[str]:
        """Return the overrides of a point, including values that a custom search space has added."""
        own = [
            self.dimensions[name].override(value) if name in self.dimensions else f"{name}={typed(value)}"
            for name, value in point.items()
        ]
        return [*self.fixed.values(), *own]

    def described(self) -> dict[str, str]:
        """Return the ranges and choices as text, by name: equal texts are equal spaces."""
        return {name: dimension.asked for name, dimension in self.dimensions.items()}

    def within(self, ranges: Mapping[str, Sequence[float]]) -> "Space":
        """Return the space with new ends of some ranges."""
        changed = {
            name: moved(dimension, *ranges[name]) if name in ranges else dimension
            for name, dimension in self.dimensions.items()
        }
        return replace(self, dimensions=changed)


def moved(dimension: Dimension, low: float, high: float) -> Dimension:
    """Return a dimension with new ends, of the same kind and with the same steps."""
    old: Any = dimension.distribution
    step = getattr(old, "step", None)
    if step is not None:
        low, high = (old.low + round((end - old.low) / step) * step for end in (low, high))
    if isinstance(old, IntDistribution):
        distribution: BaseDistribution = IntDistribution(int(low), int(high), log=old.log, step=old.step)
    else:
        distribution = FloatDistribution(low, high, log=old.log, step=old.step)
    return replace(dimension, distribution=distribution)


def space_of(overrides: Iterable[Override], *, custom: bool = False) -> Space:
    """Read overrides; of two with the same key, the later one counts.

    Args:
        overrides: parsed by Hydra.
        custom: whether a function of the user adds hyperparameters.

    Raises:
        UserError: a range or choice is empty or contradicts itself, or nothing is searched.
    """
    dimensions: dict[str, Dimension] = {}
    fixed: dict[str, str] = {}
    for override in overrides:
        name = override.get_key_element().lstrip("+")
        dimensions.pop(name, None)
        fixed.pop(name, None)
        if override.is_sweep_override():
            dimensions[name] = dimension_of(override)
        else:
            deleted = override.input_line if override.is_delete() else None
            fixed[name] = deleted or f"{key_of(override)}={value_of(override)}"
    if not dimensions and not custom:
        raise UserError(
            "hydra/sweeper=optuna has nothing to search; give at least one range or choice, such as "
            "'optimizer.lr=tag(log,interval(1e-4,1e-1))'"
        )
    return Space(dimensions, fixed, whole=not custom)


def key_of(override: Override) -> str:
    """Return the text before the equals sign."""
    return override.get_key_element()


def value_of(override: Override) -> str:
    """Return the text after the equals sign of an override that is not a sweep."""
    return override.get_value_element_as_str()


def dimension_of(override: Override) -> Dimension:
    """Read a range or choice."""
    asked = override.input_line or ""
    sweep: Any = override.value()
    if override.is_choice_sweep():
        return choice(override, asked)
    if isinstance(sweep, IntervalSweep):
        return interval(override, sweep, asked)
    return stepped(override, sweep, asked)


def choice(override: Override, asked: str) -> Dimension:
    """Read a choice: numbers, words and truth values as they are, lists and mappings as their text.

    Raises:
        UserError: the list of values is empty.
    """
    items = list(override.sweep_iterator())
    texts = list(dict.fromkeys(Transformer.str(item) for item in items))
    if not texts:
        raise UserError(f"{asked} is an empty choice; give at least one value")
    by_text = {Transformer.str(item): scalar(item) for item in items}
    values: list[Any] = [by_text[text] for text in texts]
    if len(set(values)) < len(values):  # 1 and true are equal, and so are 'a' and a
        values = list(texts)
    typed_as = dict(zip(values, texts, strict=True))
    return Dimension(key_of(override), CategoricalDistribution(values), typed_as, f"choice({','.join(texts)})")


def scalar(item: Any) -> Any:
    """Return an item of a choice as a value that Optuna can store."""
    if isinstance(item, QuotedString):
        return item.text
    return item if isinstance(item, str | int | float | bool) else Transformer.str(item)


def interval(override: Override, sweep: IntervalSweep, asked: str) -> Dimension:
    """Read `interval(low, high)`, which includes both ends, or `int(interval(low, high))` for whole numbers.

    Raises:
        UserError: the range is empty, an end is infinite, or a logarithmic scale reaches 0.
    """
    low, high, log = sweep.start, sweep.end, "log" in sweep.tags
    if low is None or high is None or not low < high:
        raise UserError(f"{asked} is an empty range; the low end should be less than the high end")
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(f"{asked} has an infinite end; both ends should be finite numbers")
    check_log(log, low, asked)
    whole = isinstance(low, int) and isinstance(high, int)
    distribution: BaseDistribution = (
        IntDistribution(int(low), int(high), log=log) if whole else FloatDistribution(low, high, log=log)
    )
    name = f"interval({low!r},{high!r})"
    return Dimension(key_of(override), distribution, {}, f"{'log ' if log else ''}{'int ' if whole else ''}{name}")


def stepped(override: Override, sweep: RangeSweep, asked: str) -> Dimension:
    """Read `range(start, stop, step)`, which excludes its end.

    Raises:
        UserError: the range is empty, or a logarithmic scale reaches 0 or has other steps than 1.
    """
    start, stop, step = (Decimal(str(number)) for number in (sweep.start, sweep.stop, sweep.step))
    count = math.ceil((stop - start) / step) if step else 0
    if count < 1:
        raise UserError(f"{asked} is an empty range; its end is excluded, so it should come after the start")
    low, high = sorted((start, start + (count - 1) * step))
    log = "log" in sweep.tags
    check_log(log, float(low), asked)
    whole = all(isinstance(number, int) for number in (sweep.start, sweep.stop, sweep.step))
    if log and not (whole and abs(step) == 1):
        raise UserError(f"{asked} has steps on a logarithmic scale; use tag(log,interval({low},{high}))")
    name = f"{'log ' if log else ''}range({low},{high},{abs(step)}), ends included"
    if whole:
        distribution: BaseDistribution = IntDistribution(
            int(low), int(high), log=log, step=1 if log else int(abs(step))
        )
    else:
        distribution = FloatDistribution(float(low), float(high), step=float(abs(step)))
    return Dimension(key_of(override), distribution, {}, name)


def check_log(log: bool, low: float, asked: str) -> None:
    """Refuse a logarithmic scale that reaches 0.

    Raises:
        UserError: the low end is 0 or less.
    """
    if log and low <= 0:
        raise UserError(f"{asked} has a logarithmic scale, which needs a low end above 0")


def typed(value: Any) -> str:
    """Return a value in Hydra's grammar, with every text in quotes."""
    return Transformer.str(with_quotes(value))


def with_quotes(value: Any) -> Any:
    """Return a value with its texts marked as quoted."""
    if isinstance(value, str):
        return QuotedString(value, Quote.single)
    if isinstance(value, Mapping):
        return {key: with_quotes(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_quotes(item) for item in value]
    return value
