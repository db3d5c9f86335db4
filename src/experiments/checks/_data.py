"""The check of the examples as the model gets them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from experiments.data.batches import Split

from ._subject import CheckResult, CheckVerdict, Subject, worst

MOST = 20_000
"""The number of examples of a split that are checked."""
PART = 10_000_000
"""The number of values that are checked at once."""
FAR_TARGET, RARE_TARGETS = 20, 0.05
"""Targets are outliers if they are so many median distances from the median, and so rare."""
UNEVEN = 10.0
LEAKED = 0.01
"""The share of a split's examples that may also be in the training split before the check fails."""
SMALL, LARGE, FAR = 0.1, 10.0, 10.0
"""Inputs are scaled if their standard deviation is between the first two and their mean within the third."""


@dataclass
class Findings:
    """The problems found so far, failures first."""

    shown: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    verdict: CheckVerdict = "pass"
    numbers: dict[str, Any] = field(default_factory=dict)

    def note(self, verdict: CheckVerdict, advice: str) -> None:
        """Add a problem."""
        self.advice = [advice, *self.advice] if verdict == "fail" else [*self.advice, advice]
        self.verdict = worst(self.verdict, verdict)


def examples(subject: Subject) -> CheckResult:
    """Check labels, balance, columns, duplicates between splits, constant features and the inputs' scale."""
    findings = Findings()
    if subject.criterion.task.form == "classes":
        look_at_labels(subject, findings)
    elif not subject.criterion.task.of_inputs:
        look_at_targets(subject, findings)
    look_at_columns(subject, findings)
    look_for_duplicates(subject, findings)
    form = subject.criterion.task.form
    if form != "tokens":
        look_at_inputs(subject, findings)
    balanced = "balanced, " if form == "classes" else ""
    expected = f"{balanced}{'' if form == 'tokens' else 'scaled, '}no duplicates"
    return CheckResult(
        "; ".join(findings.shown), expected, findings.verdict, " ".join(findings.advice), findings.numbers
    )


def look_at_labels(subject: Subject, findings: Findings) -> None:
    """Check that labels number the classes from 0, and that each class has about as many training examples."""
    classes = len(subject.classes)
    for name, split in subject.splits.items():
        low, high = int(split.y.min()), int(split.y.max())
        if low < 0 or high >= classes:
            findings.note(
                "fail", f"Labels of {name} run from {low} to {high}; they should be between 0 and {classes - 1}."
            )
    y = subject.splits["train"].y.cpu()
    counts = torch.bincount(y[(y >= 0) & (y < classes)], minlength=classes)
    absent = [subject.classes[int(n)] for n in (counts == 0).nonzero()]
    if absent:
        findings.note("fail", f"No training example of {', '.join(map(str, absent[:5]))}.")
    present = counts[counts > 0]
    uneven = (present.max() / present.min()).item() if len(present) else 1.0
    findings.shown.append(f"{classes} classes, {uneven:.1f} : 1")
    findings.numbers |= {"class_counts": counts.tolist(), "largest_to_smallest": uneven}
    if uneven > UNEVEN:
        rarest = subject.classes[int(torch.where(counts > 0, counts, counts.max()).argmin())]
        findings.note("warn", f"Classes are imbalanced, and {rarest} is rare: try data.balance=class_weights.")


def look_at_targets(subject: Subject, findings: Findings) -> None:
    """Show the range of numbers, and look for far outliers and for labels with one value."""
    task, y = subject.criterion.task, subject.splits["train"].y.cpu()
    if task.form == "tokens":
        findings.shown.append(f"{y.numel():,} characters, {len(y.unique())} different ones")
        return
    true = task.decode(y)
    if task.form == "labels":
        shares = true.mean(0)
        findings.shown.append(f"{len(task.names)} labels, {shares.min():.1%} to {shares.max():.1%} present")
        constant = [name for name, share in zip(task.names, shares.tolist(), strict=True) if share in (0, 1)]
        if constant:
            findings.note("warn", f"{', '.join(constant[:5])} has one value in every training example.")
        findings.numbers["label_shares"] = shares.tolist()
        return
    low, high = true.min(0).values.tolist(), true.max(0).values.tolist()
    for name, least, most in list(zip(task.names, low, high, strict=True))[:3]:
        findings.shown.append(f"{name} from {least:.4g} to {most:.4g}")
    findings.numbers |= {"lowest_targets": low, "highest_targets": high}
    middle = true.median(0).values
    usual = (true - middle).abs().median(0).values
    far = ((true - middle).abs() > FAR_TARGET * usual.clamp_min(1e-300)).any(1).double().mean().item()
    findings.numbers["far_targets"] = far
    if 0 < far < RARE_TARGETS and bool((usual > 0).all()):
        findings.note(
            "warn",
            f"{far:.2%} of the targets are more than {FAR_TARGET} times the median distance from the median: try "
            "loss=huber, or the logarithm of the target.",
        )


def look_at_columns(subject: Subject, findings: Findings) -> None:
    """Name the columns of a table that are left out, and what may be a mistake in the data."""
    left_out = [use for use in subject.columns if not use.features]
    if left_out:
        listed = ", ".join(f"{use.name} ({use.holds})" for use in left_out[:5]) + (", ..." if len(left_out) > 5 else "")
        findings.shown.append(f"{len(left_out)} of {len(subject.columns)} columns left out: {listed}")
    if subject.columns:
        findings.numbers["columns"] = [vars(use) for use in subject.columns]
    for question in subject.questions:
        findings.note("warn", f"{question[0].upper()}{question[1:]}.")


def look_for_duplicates(subject: Subject, findings: Findings) -> None:
    """Look for examples of other splits that are also in the training split: they test nothing."""
    known = set(digests(subject.splits["train"]))
    shares = {}
    for name, split in subject.splits.items():
        if name != "train":
            keys = digests(split)
            shares[name] = sum(key in known for key in keys) / len(keys)
    findings.numbers["duplicates"] = shares
    most = max(shares.values(), default=0.0)
    findings.shown.append(f"{most:.1%} duplicates" if most else "no duplicates")
    if most:
        listed = ", ".join(f"{share:.2%} of {name}" for name, share in shares.items() if share)
        leaked = most > LEAKED and subject.criterion.task.form != "tokens"  # short windows of a text repeat
        findings.note("fail" if leaked else "warn", f"Some examples are also in the training split: {listed}.")


def digests(split: Split) -> list[bytes]:
    """Return a digest of each example's input before any preparation."""
    keys = []
    for rows in parts(split):
        x = split.x.index_select(0, rows if split.rows is None else split.rows[rows])
        keys += [hashlib.blake2b(one.tobytes(), digest_size=16).digest() for one in x.cpu().numpy()]
    return keys


def look_at_inputs(subject: Subject, findings: Findings) -> None:
    """Check that inputs are finite, vary, and have a scale of about 1."""
    for name, split in subject.splits.items():
        count, total, squares = 0, *torch.zeros(2, dtype=torch.float64, device=split.device)
        low = high = torch.full((), torch.nan, dtype=torch.float64, device=split.device)
        for index in parts(split):
            flat = split.batch(index)[0].flatten(1).double()
            bad = (~flat.isfinite()).any(1).nonzero()
            if len(bad):
                findings.note("fail", f"Example {count + int(bad[0])} of {name} has an input that is not finite.")
                return
            count += len(flat)
            total, squares = total + flat.sum(0), squares + flat.square().sum(0)
            low, high = torch.fmin(low, flat.amin(0)), torch.fmax(high, flat.amax(0))
        if name == "train":
            scale(findings, total / count, squares / count, high - low)


def parts(split: Split) -> Iterator[Tensor]:
    """Yield the indices of the first examples of a split in parts, (part,) each."""
    size = max(1, PART // max(1, split.x[0].numel()))
    yield from torch.arange(min(len(split), MOST), device=split.x.device).split(size)


def scale(findings: Findings, mean: Tensor, square: Tensor, extent: Tensor) -> None:
    """Judge the features' means and spreads.

    Args:
        findings: get the numbers and the problems.
        mean, square: (features,), the mean of the values and of their squares.
        extent: (features,), the largest value minus the smallest.
    """
    constant = int((extent == 0).sum())
    spread = (square.mean() - mean.mean().square()).clamp_min(0).sqrt().item()
    middle = mean.mean().item()
    findings.shown.append(f"mean {middle:.1g}, deviation {spread:.2g}; {constant} of {len(extent)} constant")
    findings.numbers |= {"constant_features": constant, "features": len(extent), "mean": middle, "std": spread}
    if constant == len(extent):
        findings.note("fail", "Every feature is constant: the inputs carry no information.")
    elif constant > len(extent) / 2:
        findings.note("warn", "More than half of the features are constant; leave them out if they always are.")
    if not SMALL <= spread <= LARGE or abs(middle) > FAR:
        findings.note("warn", "Inputs are far from mean 0 and standard deviation 1: try data.preprocess=standardize.")
