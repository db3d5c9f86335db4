"""How often a statistic errs."""

import math
from collections.abc import Sequence

import numpy as np


def assert_at_most_5_percent(alarms: Sequence[bool]) -> None:
    """Fail if a rate is above 5 % by more than three standard errors of such a rate."""
    rate, n = float(np.mean(alarms)), len(alarms)
    print(f"rate {rate:.4f} of {n}")
    assert rate <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / n), f"{rate:.3f} of {n} families have a false alarm"
