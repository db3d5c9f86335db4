"""Pictures of a search: the best so far, the objective over each hyperparameter, and over the two that matter."""

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
"""Complete trials below which no contour is drawn."""
LONGEST_LABEL = 14
DOT: dict[str, Any] = {"s": 28, "edgecolors": "white", "linewidths": 0.6, "zorder": 3}
RING: dict[str, Any] = {"facecolors": "none", "edgecolors": "tab:red", "linewidths": 1.6, "zorder": 4}
NEAR = 0.1
"""The weight of all trials below which a place is far from them."""
SMOOTHING = 0.1
"""How far a trial's value reaches in the contour, as a share of the range."""


def draw(study: optuna.Study, space: Space, important: Sequence[str], folder: Path) -> None:
    """Draw what the trials allow: nothing without a result, the contour with two hyperparameters.

    Args:
        study: the search.
        space: what was asked for.
        important: hyperparameters, the most important first.
        folder: where the pictures go.
    """
    trials = counted(study)
    complete = better_first(study, trials)
    if not complete:
        return
    objective = str(study.user_attrs.get("objective", "objective"))
    rising = study.direction == optuna.study.StudyDirection.MAXIMIZE
    keep(history_figure(trials, objective, rising), folder / "history.png")
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED and trial.intermediate_values]
    names = [name for name in space.dimensions if all(name in trial.params for trial in [*complete, *pruned])]
    axes_of = {name: spanning(space.dimensions[name], name, trials) for name in names}
    if names:
        keep(slice_figure(complete, pruned, axes_of, objective), folder / "slice.png")
    pair = list(dict.fromkeys(name for name in [*important, *names] if name in names))[:2]
    if len(pair) == 2 and len(complete) >= FEWEST:
        keep(
            contour_figure(complete, pruned, {name: axes_of[name] for name in pair}, objective), folder / "contour.png"
        )


def spanning(dimension: Dimension, name: str, trials: Sequence[FrozenTrial]) -> Dimension:
    """Return a dimension with the ends that all trials' ranges had together: rounds move them."""
    if not dimension.numeric:
        return dimension
    ranges: list[Any] = [dimension.distribution, *(t.distributions[name] for t in trials if name in t.distributions)]
    return moved(dimension, min(each.low for each in ranges), max(each.high for each in ranges))


def keep(figure: Figure, path: Path) -> None:
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
        axes.scatter([t.number for t in pruned], last, color="0.6", label="pruned, its last value", **DOT)
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
    """Draw the objective over each hyperparameter; darker points came later, those that were pruned are grey."""
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
        places = placed(axes.xaxis, dimension, [trial.params[name] for trial in complete])
        given_up = placed(axes.xaxis, dimension, [trial.params[name] for trial in pruned])
        axes.scatter(given_up, [last_value(trial) for trial in pruned], color="0.75", **DOT)
        shown = axes.scatter(places, values, c=order, cmap=shades, **DOT)
        axes.scatter(places[:1], values[:1], s=110, clip_on=False, **RING)
        axes.set_xlabel(name)
        axes.grid(alpha=0.3)
        if number % columns == 0:
            axes.set_ylabel(objective)
    for axes in panels.flat[len(dimensions) :]:
        axes.set_visible(False)
    figure.colorbar(shown, ax=panels, label="trial", fraction=0.03, ticks=MaxNLocator(integer=True))
    grey = ", grey: pruned" if pruned else ""
    figure.suptitle(f"Each hyperparameter alone (red: the best trial{grey})")
    return figure


def contour_figure(
    complete: Sequence[FrozenTrial], pruned: Sequence[FrozenTrial], dimensions: Mapping[str, Dimension], objective: str
) -> Figure:
    """Draw the objective over two hyperparameters: the trials, and a mean of near ones between them."""
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
    axes.set(xlabel=first, ylabel=second, title="The two that matter most (red: the best trial)")
    return figure


def last_value(trial: FrozenTrial) -> float:
    """Return what a pruned trial reported last."""
    return trial.intermediate_values[max(trial.intermediate_values)]


def placed(axis: Any, dimension: Dimension, values: Sequence[Any]) -> list[float]:
    """Set up an axis for a hyperparameter, and return where its values lie on it."""
    if not dimension.numeric:
        choices = dimension.values() or []
        labels = [shortened(str(choice)) for choice in choices]
        axis.set_ticks(range(len(choices)), labels)
        axis.set_tick_params(labelrotation=30 if sum(map(len, labels)) > 24 else 0)
        ends, log = (-0.5, len(choices) - 0.5), False
        places = [float(choices.index(value)) for value in values]
    else:
        ends, log = (dimension.at(-0.03), dimension.at(1.03)), dimension.log
        places = [float(value) for value in values]
    across = axis.axis_name == "x"
    (axis.axes.set_xlim if across else axis.axes.set_ylim)(ends)
    if log:
        (axis.axes.set_xscale if across else axis.axes.set_yscale)("log")
    return places


def shortened(text: str) -> str:
    """Return a label that fits."""
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def along(dimension: Dimension) -> np.ndarray:
    """Return 80 places along a hyperparameter's axis."""
    if not dimension.numeric:
        return np.linspace(-0.5, len(dimension.values() or []) - 0.5, 80)
    return np.array([dimension.at(position) for position in np.linspace(-0.03, 1.03, 80)])


def smoothed(
    points: Sequence[Sequence[float]], values: np.ndarray, grid: Sequence[np.ndarray], dimensions: Sequence[Dimension]
) -> np.ma.MaskedArray:
    """Return the mean of the trials at each place of a grid, near ones counting most; nothing far from all.

    Args:
        points: where the trials lie on the two axes.
        values: (trials,).
        grid: places along the two axes.
        dimensions: of the two axes.

    Returns:
        (places along the second axis, places along the first).
    """

    def unit(places: Sequence[float] | np.ndarray, axis: int) -> np.ndarray:
        scaled = np.log if dimensions[axis].log else np.asarray
        low, high = scaled(grid[axis][0]), scaled(grid[axis][-1])
        return (scaled(np.asarray(places, dtype=float)) - low) / (high - low)

    distance = (unit(grid[0], 0)[None, :, None] - unit(points[0], 0)) ** 2
    distance = distance + (unit(grid[1], 1)[:, None, None] - unit(points[1], 1)) ** 2
    weight = np.exp(-distance / (2 * SMOOTHING**2))
    near = weight.sum(-1)
    return np.ma.masked_where(near < NEAR, (weight * values).sum(-1) / np.maximum(near, NEAR))
