"""The trend at the end of a curve, with its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95
SHARE, FEWEST = 1 / 3, 4
"""The share of the epochs at the end that is fitted, and the fewest epochs."""


@dataclass(frozen=True)
class Tail:
    """A straight line through the logarithms of a curve's last values, by least squares.

    Args:
        slope: of the logarithm, per epoch.
        half: half the width of its interval, from Student's distribution.
        epochs: the number that was fitted.
    """

    slope: float
    half: float
    epochs: int

    def fall(self, epochs: float) -> float:
        """Return the share by which the curve falls over some epochs, on the line."""
        return -math.expm1(self.slope * epochs)

    def least_fall(self, epochs: float) -> float:
        """Return the fall over some epochs at the end of the interval at which it is the smallest."""
        return -math.expm1((self.slope + self.half) * epochs)

    def most_fall(self, epochs: float) -> float:
        """Return the fall over some epochs at the end of the interval at which it is the largest."""
        return -math.expm1((self.slope - self.half) * epochs)


def tail_of(losses: Sequence[float]) -> Tail | None:
    """Return the trend of the last third of a curve, of at least four epochs; None if it is shorter or not positive."""
    count = max(FEWEST, math.ceil(SHARE * len(losses)))
    values = losses[-count:]
    if len(values) < FEWEST or min(values) <= 0 or not all(map(math.isfinite, values)):
        return None
    from scipy.special import stdtrit  # only for a run that has ended: it takes a moment to import

    logs = [math.log(value) for value in values]
    middle, mean = (count - 1) / 2, math.fsum(logs) / count
    spread = math.fsum((n - middle) ** 2 for n in range(count))
    slope = math.fsum((n - middle) * (log - mean) for n, log in enumerate(logs)) / spread
    rest = math.fsum((log - mean - slope * (n - middle)) ** 2 for n, log in enumerate(logs))
    error = math.sqrt(rest / (count - 2) / spread)
    return Tail(slope, float(stdtrit(count - 2, (1 + LEVEL) / 2)) * error, count)
