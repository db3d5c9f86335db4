"""Pictures of a search: the best so far, the objective over each hyperparameter, and over the two that matter."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from experiments.run import write_whole

from .space import Dimension, Space
from .study import better_first, counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 3
LONGEST_LABEL = 14
DOT: dict[str, Any] = {"s": 28, "edgecolors": "white", "linewidths": 0.6, "zorder": 3}
SMOOTHING = 0.12
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
    names = [name for name in space.dimensions if all(name in trial.params for trial in complete)]
    if names:
        keep(slice_figure(complete, space, names, objective), folder / "slice.png")
    pair = [name for name in [*important, *names] if name in names]
    pair = list(dict.fromkeys(pair))[:2]
    if len(pair) == 2:
        first, second = (space.dimensions[name] for name in pair)
        keep(contour_figure(complete, pair, (first, second), objective), folder / "contour.png")


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
    last = [trial.intermediate_values[max(trial.intermediate_values)] for trial in pruned]
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


def slice_figure(complete: Sequence[FrozenTrial], space: Space, names: Sequence[str], objective: str) -> Figure:
    """Draw the objective over each hyperparameter; darker points came later."""
    columns = min(COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    figure = new_figure(1.2 + 3.2 * columns, 0.5 + 2.9 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    values = [trial.value or 0.0 for trial in complete]
    order = [trial.number for trial in complete]
    best = complete[0]
    shown: Any = None
    for number, axes in enumerate(panels.flat):
        if number >= len(names):
            axes.set_visible(False)
            continue
        name = names[number]
        places = placed(axes.xaxis, space.dimensions[name], [trial.params[name] for trial in complete])
        shown = axes.scatter(places, values, c=order, cmap="Blues", vmin=-0.4 * max(order), **DOT)
        axes.scatter(places[:1], [best.value], s=110, facecolors="none", edgecolors="tab:red", linewidths=1.4, zorder=4)
        axes.set_xlabel(name)
        axes.grid(alpha=0.3)
        if number % columns == 0:
            axes.set_ylabel(objective)
    figure.colorbar(shown, ax=panels, label="trial", fraction=0.03)
    figure.suptitle("Each hyperparameter alone (red: the best trial)")
    return figure


def contour_figure(
    complete: Sequence[FrozenTrial], names: Sequence[str], dimensions: tuple[Dimension, Dimension], objective: str
) -> Figure:
    """Draw the objective over two hyperparameters: the trials, and a mean of near ones between them."""
    figure = new_figure(6.6, 5)
    axes = figure.add_subplot()
    values = np.array([trial.value for trial in complete])
    points = []
    for axis, name, dimension in zip((axes.xaxis, axes.yaxis), names, dimensions, strict=True):
        points.append(placed(axis, dimension, [trial.params[name] for trial in complete]))
    xs, ys = (ticks(place, d) for place, d in zip(points, dimensions, strict=True))
    field = smoothed(points, values, xs, ys, dimensions)
    scale: dict[str, Any] = {
        "cmap": "viridis",
        "vmin": float(values.min()),
        "vmax": float(max(values.max(), values.min() + 1e-12)),
    }
    surface = axes.contourf(xs, ys, field, levels=np.linspace(scale["vmin"], scale["vmax"], 12), alpha=0.85, **scale)
    axes.scatter(points[0], points[1], c=values, **DOT, **scale)
    axes.scatter(points[0][:1], points[1][:1], s=140, facecolors="none", edgecolors="tab:red", linewidths=1.6, zorder=4)
    figure.colorbar(surface, label=objective)
    axes.set(xlabel=names[0], ylabel=names[1], title="The two that matter most (red: the best trial)")
    return figure


def placed(axis: Any, dimension: Dimension, values: Sequence[Any]) -> list[float]:
    """Set up an axis for a hyperparameter, and return where its values lie on it."""
    if not dimension.numeric:
        choices = dimension.values() or []
        labels = [shortened(str(choice)) for choice in choices]
        axis.set_ticks(range(len(choices)), labels)
        axis.set_tick_params(labelrotation=30 if sum(map(len, labels)) > 24 else 0)
        return [float(choices.index(value)) for value in values]
    if dimension.log:
        axis._set_axes_scale("log")
    return [float(value) for value in values]


def shortened(text: str) -> str:
    """Return a label that fits."""
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def ticks(places: Sequence[float], dimension: Dimension) -> np.ndarray:
    """Return 60 places along an axis, over all the trials on it."""
    low, high = min(places), max(places)
    if low == high:
        low, high = (low / 2, high * 2) if dimension.log else (low - 0.5, high + 0.5)
    return np.geomspace(low, high, 60) if dimension.log else np.linspace(low, high, 60)


def smoothed(
    points: Sequence[Sequence[float]],
    values: np.ndarray,
    xs: np.ndarray,
    ys: np.ndarray,
    dimensions: tuple[Dimension, Dimension],
) -> np.ndarray:
    """Return the mean of the trials at each place of a grid, near ones counting most; (ys, xs)."""

    def unit(place: Any, along: np.ndarray, dimension: Dimension) -> np.ndarray:
        scaled = np.log if dimension.log else np.asarray
        low, high = scaled(along[0]), scaled(along[-1])
        return (scaled(np.asarray(place, dtype=float)) - low) / (high - low)

    distance = (unit(xs, xs, dimensions[0])[None, :, None] - unit(points[0], xs, dimensions[0])) ** 2
    distance = distance + (unit(ys, ys, dimensions[1])[:, None, None] - unit(points[1], ys, dimensions[1])) ** 2
    weight = np.exp(-distance / (2 * SMOOTHING**2)) + 1e-9
    return (weight * values).sum(-1) / weight.sum(-1)
