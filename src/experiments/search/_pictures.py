"""Pictures of a search: the best so far, and the objective over each hyperparameter and over the top two."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from experiments.common.files import write_whole

from ._study import better_first, counted
from .space import Dimension, Space, moved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 3
FEWEST = 5
"""The fewest complete trials for which a contour is drawn."""
LONGEST_LABEL = 14
DOT: dict[str, Any] = {"s": 28, "edgecolors": "white", "linewidths": 0.6, "zorder": 3}
RING: dict[str, Any] = {"facecolors": "none", "edgecolors": "tab:red", "linewidths": 1.6, "zorder": 4}
NEAR = 0.1
"""The weight of all trials at a point, below which the point is far from them."""
SMOOTHING = 0.1
"""How far a trial's value reaches in the contour, as a share of the range."""


def draw(study: optuna.Study, space: Space, important: Sequence[str], folder: Path) -> None:
    """Draw the pictures: none without a result, the contour only with two hyperparameters.

    Args:
        study: the search.
        space: the search space.
        important: hyperparameters, the most important first.
        folder: for the pictures.
    """
    trials = counted(study)
    complete = better_first(study, trials)
    if not complete:
        return
    objective = str(study.user_attrs.get("objective", "objective"))
    rising = study.direction == optuna.study.StudyDirection.MAXIMIZE
    save(history_figure(trials, objective, rising), folder / "history.png")
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED and trial.intermediate_values]
    names = [name for name in space.dimensions if all(name in trial.params for trial in [*complete, *pruned])]
    axes_of = {name: spanning(space.dimensions[name], name, trials) for name in names}
    if names:
        save(slice_figure(complete, pruned, axes_of, objective), folder / "slice.png")
    pair = list(dict.fromkeys(name for name in [*important, *names] if name in names))[:2]
    if len(pair) == 2 and len(complete) >= FEWEST:
        save(
            contour_figure(complete, pruned, {name: axes_of[name] for name in pair}, objective), folder / "contour.png"
        )


def spanning(dimension: Dimension, name: str, trials: Sequence[FrozenTrial]) -> Dimension:
    """Return a dimension whose range contains the ranges of all trials: rounds change them."""
    if not dimension.numeric:
        return dimension
    ranges: list[Any] = [dimension.distribution, *(t.distributions[name] for t in trials if name in t.distributions)]
    return moved(dimension, min(each.low for each in ranges), max(each.high for each in ranges))


def save(figure: Figure, path: Path) -> None:
    """Write a figure."""
    content = io.BytesIO()
    figure.savefig(content, format="png", pil_kwargs={"compress_level": 1})
    write_whole(path, content.getvalue())


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=100, layout="constrained")


def history_figure(trials: Sequence[FrozenTrial], objective: str, rising: bool) -> Figure:
    """Draw every trial's value, and the best so far."""
    figure = new_figure(7, 4.2)
    axes = figure.add_subplot()
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    values = [trial.value or 0.0 for trial in complete]
    numbers = [trial.number for trial in complete]
    best = (np.maximum if rising else np.minimum).accumulate(values)
    axes.step([*numbers, max(t.number for t in trials)], [*best, best[-1]], where="post", label="best so far")
    axes.scatter(numbers, values, color="tab:blue", label="trial", **DOT)
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED and trial.intermediate_values]
    last = [last_value(trial) for trial in pruned]
    if pruned:
        axes.scatter([t.number for t in pruned], last, color="0.6", label="pruned: last value", **DOT)
    failed = [trial.number for trial in trials if trial.state == TrialState.FAIL]
    if failed:
        low = min([*values, *last])
        axes.scatter(failed, [low] * len(failed), color="tab:red", marker="x", label="no result")
    axes.locator_params(axis="x", integer=True)
    axes.set(xlabel="trial", ylabel=objective, title="The best so far")
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize="small", framealpha=0.9)
    return figure


def slice_figure(
    complete: Sequence[FrozenTrial], pruned: Sequence[FrozenTrial], dimensions: Mapping[str, Dimension], objective: str
) -> Figure:
    """Draw the objective over each hyperparameter; later points are darker, pruned ones grey."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import MaxNLocator

    columns = 2 if len(dimensions) in (2, 4) else min(COLUMNS, len(dimensions))
    rows = math.ceil(len(dimensions) / columns)
    figure = new_figure(1.2 + 3.2 * columns, 0.5 + 2.9 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    values = [trial.value or 0.0 for trial in complete]
    order = [trial.number for trial in complete]
    shades = LinearSegmentedColormap.from_list("later is darker", ["#b7d3ea", "#08306b"])
    shown: Any = None
    for number, (axes, (name, dimension)) in enumerate(zip(panels.flat, dimensions.items(), strict=False)):
        positions = placed(axes.xaxis, dimension, [trial.params[name] for trial in complete])
        given_up = placed(axes.xaxis, dimension, [trial.params[name] for trial in pruned])
        axes.scatter(given_up, [last_value(trial) for trial in pruned], color="0.75", **DOT)
        shown = axes.scatter(positions, values, c=order, cmap=shades, **DOT)
        axes.scatter(positions[:1], values[:1], s=110, clip_on=False, **RING)
        axes.set_xlabel(name)
        axes.grid(alpha=0.3)
        if number % columns == 0:
            axes.set_ylabel(objective)
    for axes in panels.flat[len(dimensions) :]:
        axes.set_visible(False)
    figure.colorbar(shown, ax=panels, label="trial", fraction=0.03, ticks=MaxNLocator(integer=True))
    grey = ", grey: pruned" if pruned else ""
    figure.suptitle(f"The objective over each hyperparameter (red: the best trial{grey})")
    return figure


def contour_figure(
    complete: Sequence[FrozenTrial], pruned: Sequence[FrozenTrial], dimensions: Mapping[str, Dimension], objective: str
) -> Figure:
    """Draw the objective over two hyperparameters: the trials, and between them a mean of the near ones."""
    figure = new_figure(6.6, 5)
    axes = figure.add_subplot()
    values = np.array([trial.value for trial in complete])
    points, given_up, grid = [], [], []
    for axis, (name, dimension) in zip((axes.xaxis, axes.yaxis), dimensions.items(), strict=True):
        points.append(placed(axis, dimension, [trial.params[name] for trial in complete]))
        given_up.append(placed(axis, dimension, [trial.params[name] for trial in pruned]))
        grid.append(along(dimension))
    low, high = float(values.min()), float(values.max())
    scale: dict[str, Any] = {"cmap": "viridis", "vmin": low, "vmax": high if high > low else low + 1e-9}
    levels = np.linspace(scale["vmin"], scale["vmax"], 13)
    surface = axes.contourf(*grid, smoothed(points, values, grid, list(dimensions.values())), levels=levels, **scale)
    axes.scatter(*given_up, color="0.75", **DOT)
    axes.scatter(points[0], points[1], c=values, **DOT, **scale)
    axes.scatter(points[0][:1], points[1][:1], s=140, clip_on=False, **RING)
    figure.colorbar(surface, label=objective, format="%.3g")
    first, second = dimensions
    axes.set(xlabel=first, ylabel=second, title="The two most important hyperparameters (red: the best trial)")
    return figure


def last_value(trial: FrozenTrial) -> float:
    """Return the last value that a pruned trial reported."""
    return trial.intermediate_values[max(trial.intermediate_values)]


def placed(axis: Any, dimension: Dimension, values: Sequence[Any]) -> list[float]:
    """Set up an axis for a hyperparameter, and return the positions of its values on it."""
    if not dimension.numeric:
        choices = dimension.values() or []
        labels = [shortened(str(choice)) for choice in choices]
        axis.set_ticks(range(len(choices)), labels)
        axis.set_tick_params(labelrotation=30 if sum(map(len, labels)) > 24 else 0)
        ends, log = (-0.5, len(choices) - 0.5), False
        positions = [float(choices.index(value)) for value in values]
    else:
        ends, log = (dimension.at(-0.03), dimension.at(1.03)), dimension.log
        positions = [float(value) for value in values]
    across = axis.axis_name == "x"
    (axis.axes.set_xlim if across else axis.axes.set_ylim)(ends)
    if log:
        (axis.axes.set_xscale if across else axis.axes.set_yscale)("log")
    return positions


def shortened(text: str) -> str:
    """Return a label that is short enough."""
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def along(dimension: Dimension) -> np.ndarray:
    """Return 80 positions along a hyperparameter's axis."""
    if not dimension.numeric:
        return np.linspace(-0.5, len(dimension.values() or []) - 0.5, 80)
    return np.array([dimension.at(position) for position in np.linspace(-0.03, 1.03, 80)])


def smoothed(
    points: Sequence[Sequence[float]], values: np.ndarray, grid: Sequence[np.ndarray], dimensions: Sequence[Dimension]
) -> np.ma.MaskedArray:
    """Return the mean of the trials at each point of a grid, near trials with the most weight; masked far from all.

    Args:
        points: the positions of the trials on the two axes.
        values: (trials,).
        grid: positions along the two axes.
        dimensions: of the two axes.

    Returns:
        (positions along the second axis, positions along the first).
    """

    def unit(positions: Sequence[float] | np.ndarray, axis: int) -> np.ndarray:
        scaled = np.log if dimensions[axis].log else np.asarray
        low, high = scaled(grid[axis][0]), scaled(grid[axis][-1])
        return (scaled(np.asarray(positions, dtype=float)) - low) / (high - low)

    distance = (unit(grid[0], 0)[None, :, None] - unit(points[0], 0)) ** 2
    distance = distance + (unit(grid[1], 1)[:, None, None] - unit(points[1], 1)) ** 2
    weight = np.exp(-distance / (2 * SMOOTHING**2))
    near = weight.sum(-1)
    return np.ma.masked_where(near < NEAR, (weight * values).sum(-1) / np.maximum(near, NEAR))
