"""Performance against budget: what the best of k trials can be expected to reach."""

import math
from collections.abc import Sequence


def expected_best(values: Sequence[float | None], larger_is_better: bool) -> list[float]:
    """Return the expected best value of 1, 2, ..., n random trials, for the n trials that were made.

    This is the mean over all sets of k of these trials (Dodge et al. 2019, "Show Your Work", with the estimate of Tang
    et al. 2020, which draws without replacement and is unbiased).

    Args:
        values: of the trials, which are independent; None for a trial without a result, which counts as the worst one.
        larger_is_better: the direction of the values.
    """
    known = [value for value in values if value is not None]
    if not known:
        return []
    worst = (min if larger_is_better else max)(known)
    ordered = sorted((worst if value is None else value for value in values), reverse=not larger_is_better)
    n = len(ordered)
    return [
        math.fsum(value * math.comb(rank, k - 1) / math.comb(n, k) for rank, value in enumerate(ordered))
        for k in range(1, n + 1)
    ]
