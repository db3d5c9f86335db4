"""The path of an optimizer on a function of one or two numbers, and measures of the path."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt, Len
from numpy.typing import NDArray
from torch import Tensor, nn

from experiments.optimizers import needs_closure
from experiments.schedules import Schedule

Point = Annotated[list[float], Len(1, 2)]
Range = Annotated[list[float], Len(2, 2)]

RUNAWAY = 1e6
"""A path has diverged if its value is further from 0 than this many times the value at the start (at least 1)."""


@dataclass(frozen=True)
class Surface:
    """A function to minimize, and known facts about it.

    Args:
        function: takes each coordinate as a tensor, all of one shape, and returns values of that shape.
        start: of the paths, one number per coordinate.
        steps: updates per path.
        minima: the points where the function is lowest.
        tolerance: the distance from a minimum within which a path has arrived.
        view: the range to draw, the lowest and highest number of each coordinate; None for the range of the paths.
    """

    function: Callable[..., Tensor]
    start: Point
    steps: Annotated[int, Ge(1)]
    minima: tuple[Point, ...] = ()
    tolerance: Annotated[float, Gt(0)] = 0.01
    view: list[Range] | None = None


@dataclass(frozen=True)
class DescentPath:
    """The path of an optimizer, in float64.

    Args:
        points: (updates + 1, coordinates), including the start.
        values: (updates + 1,), of the function at the points.
        rates: (updates,), the learning rate of each update.
        diverged: whether the last value is not finite or too large, see `RUNAWAY`; the path ends there.
    """

    points: NDArray[np.float64]
    values: NDArray[np.float64]
    rates: NDArray[np.float64]
    diverged: bool


def descend(
    function: Callable[..., Tensor],
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    start: Sequence[float],
    steps: int,
    schedule: Schedule = lambda _progress, _losses: 1.0,
) -> DescentPath:
    """Follow an optimizer from a start.

    Args:
        function: see `Surface`.
        optimizer: builds the optimizer for one parameter of shape (coordinates,) in float64.
        start: one number per coordinate.
        steps: the number of updates.
        schedule: the multiplier of the learning rate; it gets the values so far as validation losses.
    """
    point = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    descender = optimizer([point])
    full = [group["lr"] * group.get("lr_scale", 1.0) for group in descender.param_groups]
    with_closure = needs_closure(descender)

    def evaluate() -> Tensor:
        point.grad = None
        value = function(*point)
        value.backward()
        return value.detach()

    points, values, rates = [point.tolist()], [evaluate().item()], []
    for step in range(steps):
        multiplier = schedule(step / steps, values)
        for group, rate in zip(descender.param_groups, full, strict=True):
            group["lr"] = rate * multiplier
        if with_closure:
            descender.step(evaluate)  # type: ignore[arg-type]
        else:
            descender.step()
        points.append(point.tolist())
        values.append(evaluate().item())
        rates.append(full[0] * multiplier)
        if ran_away(values):
            break
    return DescentPath(np.array(points), np.array(values), np.array(rates), ran_away(values))


def ran_away(values: Sequence[float]) -> bool:
    """Whether the last value is not finite or too large, see `RUNAWAY`."""
    return not abs(values[-1]) <= RUNAWAY * max(1.0, abs(values[0]))


def measured(path: DescentPath, minima: Sequence[Sequence[float]], tolerance: float) -> dict[str, Any]:
    """Measure a path; a diverged path is measured up to its last finite point.

    Args:
        path: of an optimizer.
        minima: the points where the function is lowest, one number per coordinate; none if they are not known.
        tolerance: the distance from a minimum within which the path has arrived.

    Returns:
        status: `finished` or `diverged`.
        updates: how many; a diverged path diverged at the last one.
        end, value: the last point, and the function's value there.
        distance: from the end to the nearest minimum; None if no minimum is known.
        settled: the settling time: the first update from which on the path is within `tolerance` of that minimum; None
            if the end is not.
        sign_changes: for each coordinate, the share of updates whose sign differs from that of the update before.
        zigzag: the largest of these shares: with 0 the path never turns back along an axis, with 1 at every update.
        turning_angle: the mean angle between successive updates, in degrees: 0 is straight on, 180 straight back.
        length, straight: the length of the path, and the distance from its start to its end.
        tortuosity: length / straight (the arc-chord ratio), at least 1; None if the path ends at its start.
    """
    finite = np.isfinite(path.points).all(1) & np.isfinite(path.values)
    points = path.points[finite]
    moves = np.diff(points, axis=0)
    length, straight = float(np.linalg.norm(moves, axis=1).sum()), float(np.linalg.norm(points[-1] - points[0]))
    changes = sign_changes(moves)
    return {
        "status": "diverged" if path.diverged else "finished",
        "updates": len(path.rates),
        "end": points[-1].tolist(),
        "value": float(path.values[finite][-1]),
        **arrival(path, points, minima, tolerance),
        "sign_changes": changes.tolist(),
        "zigzag": float(changes.max()),
        "turning_angle": turning_angle(moves),
        "length": length,
        "straight": straight,
        "tortuosity": length / straight if straight > 0 and math.isfinite(length) else None,
    }


def arrival(
    path: DescentPath, points: NDArray[np.float64], minima: Sequence[Sequence[float]], tolerance: float
) -> Mapping[str, float | int | None]:
    """Return the distance of the end from the nearest minimum, and the settling time; see `measured`.

    Args:
        path: see `measured`.
        points: (points, coordinates), the finite ones of the path.
        minima, tolerance: see `measured`.
    """
    if not minima:
        return {"distance": None, "settled": None}
    distances = np.linalg.norm(points[:, None] - np.array(minima), axis=2)
    nearest = distances[:, distances[-1].argmin()]
    outside = np.flatnonzero(nearest > tolerance)
    settled = int(outside[-1]) + 1 if len(outside) else 0
    arrived = not path.diverged and settled < len(points)
    return {"distance": float(nearest[-1]), "settled": settled if arrived else None}


def sign_changes(moves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each coordinate the share of moves in the opposite direction to the move before.

    Args:
        moves: (updates, coordinates).
    """
    if len(moves) < 2:
        return np.zeros(moves.shape[1])
    signs = np.sign(moves)
    return (signs[1:] * signs[:-1] < 0).mean(0)


def turning_angle(moves: NDArray[np.float64]) -> float | None:
    """Return the mean angle between successive moves in degrees; None if there are fewer than two moves.

    The angle is 2 atan2(|u - v|, |u + v|) for unit vectors u and v, which is accurate near 0 and 180 degrees (Kahan).

    Args:
        moves: (updates, coordinates).
    """
    norms = np.linalg.norm(moves, axis=1)
    moved = np.isfinite(norms) & (norms > 0)
    directions = moves[moved] / norms[moved, None]
    if len(directions) < 2:
        return None
    apart = np.linalg.norm(directions[1:] - directions[:-1], axis=1)
    along = np.linalg.norm(directions[1:] + directions[:-1], axis=1)
    return float(np.degrees(2 * np.arctan2(apart, along)).mean())
