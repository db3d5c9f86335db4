"""The learning-rate range test (Smith 2017, 'Cyclical learning rates', section 3.3; the finder of fastai)."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np

from experiments.common.files import write_whole

from ._subject import CheckResult, Subject

LOWEST, HIGHEST = 1e-7, 10.0
UPDATES = 160
SMOOTHING = 0.9
"""The share of the past in the smoothed loss."""
TOO_HIGH = 4.0
"""The multiple of the lowest smoothed loss at which the test stops."""
SETTLING = 10
"""Updates before the smoothed loss is meaningful."""
LEAST_FALL = 0.05
"""The share by which the loss must fall at the best of all rates."""
BELOW = 30.0
"""The factor below the smaller suggestion at which a rate still makes progress."""


@dataclass(frozen=True)
class RangeTest:
    """The curves of a range test, and the rates that they suggest.

    Args:
        rates, losses, smoothed: of each update.
        steepest: the rate at which the smoothed loss falls fastest over the logarithm of the rate.
        lowest: the rate at which it is lowest; a tenth of it is the other suggestion.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    steepest: float
    lowest: float


def lr_range(subject: Subject) -> CheckResult:
    """Raise the rate from 1e-7 to 10, and record where the loss falls and where it diverges."""
    program = subject.program(subject.copy())
    if program.needs_closure:
        return CheckResult("not run", "", "skip", f"{type(program.optimizer).__name__} chooses its own step size.")
    rates, losses, smoothed, average = [], [], [], 0.0
    for number, index in zip(range(UPDATES), subject.batches("lr_range"), strict=False):
        rate = LOWEST * (HIGHEST / LOWEST) ** (number / (UPDATES - 1))
        measured = program.step(index, [rate])
        loss = measured.loss.item() + (measured.penalty.item() if measured.penalty is not None else 0.0)
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        corrected = average / (1 - SMOOTHING ** (number + 1))
        if not math.isfinite(corrected):
            break
        rates.append(rate)
        losses.append(loss)
        smoothed.append(corrected)
        if number > SETTLING and corrected > TOO_HIGH * min(smoothed[SETTLING:]):
            break
    if len(rates) <= SETTLING + 1:
        return CheckResult(
            "no finite loss",
            "",
            "fail",
            "The loss is not finite at any rate: see the checks initial_loss and examples.",
        )
    test = suggested(rates, losses, smoothed)
    if subject.folder is not None:
        draw(test, subject)
    return rate_result(test, subject.rate)


def suggested(rates: list[float], losses: list[float], smoothed: list[float]) -> RangeTest:
    """Find the two suggestions in the curves."""
    curve = np.asarray(smoothed)
    lowest = SETTLING + int(curve[SETTLING:].argmin())
    slopes = np.gradient(curve, np.log10(rates))
    steepest = SETTLING + int(slopes[SETTLING : lowest + 1].argmin())
    return RangeTest(rates, losses, smoothed, rates[steepest], rates[lowest])


def rate_result(test: RangeTest, rate: float) -> CheckResult:
    """Compare the run's rate with those that the test suggests."""
    tenth = test.lowest / 10
    low, high = min(test.steepest, tenth) / BELOW, test.lowest
    numbers = {
        "steepest": test.steepest, "tenth_of_minimum": tenth, "lr": rate,
        "rates": test.rates, "losses": test.losses, "smoothed": test.smoothed,
    }  # fmt: skip
    measured = f"lr={rate:g}; the loss falls fastest at {test.steepest:.1e}, is lowest at {test.lowest:.1e}"
    expected = f"between {low:.1e} and {high:.1e}"
    fall = 1 - min(test.smoothed[SETTLING:]) / test.smoothed[SETTLING]
    if fall < LEAST_FALL:
        advice = f"The loss falls by only {fall:.0%} at any rate: see the other checks."
        return CheckResult(measured, expected, "warn", advice, numbers)
    if low <= rate <= high:
        return CheckResult(measured, expected, "pass", "", numbers)
    way = "small" if rate < low else "large"
    smaller, larger = sorted((test.steepest, tenth))
    advice = f"optimizer.lr={rate:g} looks too {way}: try optimizer.lr={smaller:.1e}, or at most {larger:.1e}."
    return CheckResult(measured, expected, "warn", advice, numbers)


def draw(test: RangeTest, subject: Subject) -> None:
    """Draw the loss against the rate, with the suggestions."""
    from matplotlib.figure import Figure

    assert subject.folder is not None
    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.plot(test.rates, test.losses, ".", color="0.75", markersize=4, label="loss of each batch")
    axes.plot(test.rates, test.smoothed, color="#0072B2", linewidth=2, label="smoothed")
    for value, colour, style, name in (
        (test.steepest, "#D55E00", "-", "the loss falls fastest"),
        (test.lowest / 10, "#009E73", "--", "a tenth of the rate of the lowest loss"),
        (subject.rate, "black", ":", "this run"),
    ):
        axes.axvline(value, color=colour, linestyle=style, label=f"{name}: {value:.1e}")
    low, high = min(test.smoothed), max(test.smoothed[: SETTLING + 1])
    axes.set_ylim(low - 0.1 * (high - low), high + 0.6 * (high - low) + 1e-9)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.set_title("Learning-rate range test")
    axes.legend(fontsize=8, loc="lower left")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_whole(subject.folder / "lr_range.png", content.getvalue())
