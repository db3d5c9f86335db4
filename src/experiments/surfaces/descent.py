"""The path that an optimizer takes down a function of a few numbers, and measures of it."""

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

Place = Annotated[list[float], Len(1, 2)]
Range = Annotated[list[float], Len(2, 2)]

RUNAWAY = 1e6
"""Times the value at the start (at least 1): a path that is higher, or as far below 0, has diverged."""


@dataclass(frozen=True)
class Surface:
    """A function to descend, and what is known of it.

    Args:
        function: is given each coordinate as a tensor of one shape, and returns values of that shape.
        start: where paths begin, a number a coordinate.
        steps: updates of a path.
        minima: the places where the function is lowest.
        tolerance: the distance from a minimum within which a path has arrived.
        view: what to draw at least, the lowest and the highest number of each coordinate; None for what the paths need.
    """

    function: Callable[..., Tensor]
    start: Place
    steps: Annotated[int, Ge(1)]
    minima: tuple[Place, ...] = ()
    tolerance: Annotated[float, Gt(0)] = 0.01
    view: list[Range] | None = None


@dataclass(frozen=True)
class DescentPath:
    """Where an optimizer went, in float64.

    Args:
        points: (updates + 1, coordinates), from the start on.
        values: (updates + 1,), of the function there.
        rates: (updates,), the learning rate of each update.
        diverged: whether the last value is not finite, or `RUNAWAY`; there the path was left.
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
    """Follow an optimizer from a place.

    Args:
        function: see `Surface`.
        optimizer: makes it for the parameters: one, of shape (coordinates,) in float64.
        start: a number a coordinate.
        steps: updates to make.
        schedule: what the rate is multiplied by; for validation losses it is given the values so far.
    """
    point = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    made = optimizer([point])
    full = [group["lr"] * group.get("lr_scale", 1.0) for group in made.param_groups]
    closed = needs_closure(made)

    def evaluate() -> Tensor:
        point.grad = None
        value = function(*point)
        value.backward()
        return value.detach()

    points, values, rates = [point.tolist()], [evaluate().item()], []
    for step in range(steps):
        multiplier = schedule(step / steps, values)
        for group, rate in zip(made.param_groups, full, strict=True):
            group["lr"] = rate * multiplier
        if closed:
            made.step(evaluate)  # type: ignore[arg-type]
        else:
            made.step()
        points.append(point.tolist())
        values.append(evaluate().item())
        rates.append(full[0] * multiplier)
        if ran_away(values):
            break
    return DescentPath(np.array(points), np.array(values), np.array(rates), ran_away(values))


def ran_away(values: Sequence[float]) -> bool:
    """Whether the last value is not finite, or out of all proportion to the first."""
    return not abs(values[-1]) <= RUNAWAY * max(1.0, abs(values[0]))


def measured(path: DescentPath, minima: Sequence[Sequence[float]], tolerance: float) -> dict[str, Any]:
    """Measure a path; what a diverged one came to at its last finite point.

    Returns:
        status: `finished` or `diverged`.
        updates: that were made; a diverged path diverged at this one.
        end, value: the last point, and the function there.
        distance: from there to the nearest minimum; None where none is known.
        settled: the settling time: the first update from which on the path is within `tolerance` of that minimum; None
            where it is not at the end.
        sign_changes: for each coordinate, the share of updates whose component has the other sign than that of the
            update before.
        zigzag: the largest of these shares: 0 never turns back along any axis, 1 does at every update.
        turning_angle: the mean angle between successive updates, in degrees: 0 is straight on, 180 straight back.
        length, straight: of the path, and from its start to its end.
        tortuosity: the one over the other (the arc-chord ratio), at least 1; None for a path that ends where it began.
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
    """Return the distance from the minimum that is nearest in the end, and since when it is within the tolerance."""
    if not minima:
        return {"distance": None, "settled": None}
    distances = np.linalg.norm(points[:, None] - np.array(minima), axis=2)
    nearest = distances[:, distances[-1].argmin()]
    outside = np.flatnonzero(nearest > tolerance)
    since = int(outside[-1]) + 1 if len(outside) else 0
    arrived = not path.diverged and since < len(points)
    return {"distance": float(nearest[-1]), "settled": since if arrived else None}


def sign_changes(moves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each coordinate the share of moves that go against the one before.

    Args:
        moves: (updates, coordinates).
    """
    if len(moves) < 2:
        return np.zeros(moves.shape[1])
    signs = np.sign(moves)
    return (signs[1:] * signs[:-1] < 0).mean(0)


def turning_angle(moves: NDArray[np.float64]) -> float | None:
    """Return the mean angle between successive moves in degrees; None where there are not two.

    As twice the arctangent of the difference over the sum of the unit vectors, which is exact near 0 and 180 (Kahan).
    """
    norms = np.linalg.norm(moves, axis=1)
    moved = np.isfinite(norms) & (norms > 0)
    directions = moves[moved] / norms[moved, None]
    if len(directions) < 2:
        return None
    apart = np.linalg.norm(directions[1:] - directions[:-1], axis=1)
    along = np.linalg.norm(directions[1:] + directions[:-1], axis=1)
    return float(np.degrees(2 * np.arctan2(apart, along)).mean())
