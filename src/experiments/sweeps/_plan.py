"""Which jobs of a sweep are trained as one program: decided from their configurations, before anything is built."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.common.keys import flattened, meaning
from experiments.common.text import counted, ranges
from experiments.training.stack import configured, mixes

from ._paying import smallest_stack


@dataclass(frozen=True)
class Planned:
    """A stack, or a job that is trained on its own.

    Args:
        jobs: their positions in the list of jobs.
        reason: why the job cannot be in a stack; None for a stack, which may have one job.
    """

    jobs: tuple[int, ...]
    reason: str | None = None


def plan(
    configs: Sequence[Mapping[str, Any]], largest: int, smallest: Mapping[str, Any] | None = None
) -> list[Planned]:
    """Group jobs into stacks, in the order of their first jobs.

    Args:
        configs: the composed configurations of the jobs.
        largest: the largest number of runs in a stack.
        smallest: the smallest number, by the kind of the network; fewer runs are faster one after another.
    """
    groups: dict[str, list[int]] = {}
    alone: list[Planned] = []
    for number, config in enumerate(configs):
        reason = configured(config).reason_apart()
        if reason:
            alone.append(Planned((number,), reason))
        else:
            groups.setdefault(json.dumps(agreed(config), sort_keys=True, default=str), []).append(number)
    stacks = [
        Planned(tuple(jobs[start : start + largest]))
        for jobs in groups.values()
        for start in range(0, len(jobs), largest)
    ]
    for stack in list(stacks):
        least = smallest_stack([configs[job] for job in stack.jobs], smallest or {})
        if 1 < len(stack.jobs) < least:
            stacks.remove(stack)
            alone += [Planned((job,), f"fewer than {least} runs are faster one after another") for job in stack.jobs]
    return sorted([*stacks, *alone], key=lambda planned: planned.jobs[0])


def agreed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that are equal in a stack, with their values: those of the architecture, data and batches."""
    flat = flattened(config)
    shared = {k: v for k, v in flat.items() if not meaning(k).stack and not isinstance(v, Mapping)}
    scales = config["optimizer"].get("lr_scale") or {}
    frozen = sorted(pattern for pattern, scale in scales.items() if scale == 0)
    return {**shared, "frozen": frozen, "mixup": mixes(config["data"].get("augment"))}


def described(stacks: Sequence[Planned], configs: Sequence[Mapping[str, Any]], first: int = 0) -> list[str]:
    """Return lines about the stacks: their jobs, the keys in which they differ, and why some jobs are on their own.

    Args:
        stacks: the plan.
        configs: the configurations of the jobs.
        first: the number of the first job.
    """
    shared = [planned for planned in stacks if planned.reason is None]
    inside = f" in {counted(len(shared), 'stack')}" + apart(len(stacks) - len(shared))
    lines = [counted(len(configs), "run") + (inside if shared else ", one after another")]
    flat = [agreed(configs[planned.jobs[0]]) for planned in shared]
    keys = {key: None for own in flat for key in own}
    differing = [key for key in keys if len({json.dumps(own.get(key), default=str) for own in flat}) > 1]
    for number, (planned, own) in enumerate(zip(shared, flat, strict=True), 1):
        settings = "  ".join(f"{key}={text(own[key])}" for key in differing if key in own)
        lines.append(
            f"  stack {number}: {counted(len(planned.jobs), 'run')}, {ranges(planned.jobs, first)}  {settings}".rstrip()
        )
    alone: dict[str, list[int]] = {}
    for planned in stacks:
        if planned.reason is not None:
            alone.setdefault(planned.reason, []).extend(planned.jobs)
    return lines + [
        f"  on {'its' if len(jobs) == 1 else 'their'} own: {ranges(jobs, first)}, {reason}"
        for reason, jobs in alone.items()
    ]


def labels_of(stacks: Sequence[Planned]) -> list[str]:
    """Return the name of each part of a plan while it trains, counted as `described` counts; empty for runs apart."""
    total, numbers = sum(planned.reason is None for planned in stacks), itertools.count(1)
    return [f"stack {next(numbers)}/{total}" if planned.reason is None else "" for planned in stacks]


def apart(count: int) -> str:
    """Return the words for the number of jobs on their own; empty if there are none."""
    return f" and {count} on {'its' if count == 1 else 'their'} own" if count else ""


def text(value: Any) -> str:
    """Return a value as it is typed."""
    return json.dumps(value, default=str).replace('"', "").replace(" ", "")
