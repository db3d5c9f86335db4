"""Draw `docs/verdicts.png`: for each verdict, the curve of a real training that shows it.

`python -m benchmarks.verdict_pictures docs/verdicts.png` trains them again, in a few minutes.
"""

from __future__ import annotations

import contextlib
import csv
import io
import shlex
import sys
import tempfile
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.runs import alone
from experiments.runs.library import compose, job_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EXAMPLES: Mapping[str, tuple[str, str]] = {
    "symmetry": ("init=zeros", "twins"),
    "initial loss off": ("init=unit_normal", "loss"),
    "learning rate too high": ("optimizer=sgd optimizer.lr=2 data.limit=400", "loss"),
    "learning rate too low": ("optimizer=sgd optimizer.lr=1e-4", ""),
    "stuck": ("init.bias=-3 optimizer=sgd optimizer.lr=0.01", ""),
    "vanishing gradients": (
        "init=small_normal model.activation=tanh model.hidden=[50,50,50,50,50] training.epochs=6", "signal",
    ),
    "exploding gradients": ("init=unit_normal model.hidden=[50,50,50,50,50,50] training.epochs=5", "signal"),
    "dead units": ("optimizer=adagrad optimizer.lr=0.2", "dead"),
    "saturation": ("init=unit_normal model.activation=tanh", "saturated"),
    "one class": ("data=moons data.imbalance=3 init=small_normal optimizer=sgd optimizer.lr=0.05 training.epochs=5",
                  "top_class"),
    "updates too large": ("optimizer=sgd optimizer.lr=0.1 optimizer.weight_decay=3", "update_ratio"),
    "updates too small": ("optimizer.lr_scale={features:1e-4,head:1}", "update_ratio"),
    "overfitting": ("data.limit=60 training.epochs=60", ""),
    "best epoch long past": ("optimizer=lbfgs training.epochs=10", ""),
    "underfitting": ("init=he optimizer=adam model.dropout=0.9", ""),
    "limited by the data or by the model": ("init=he optimizer=adam data=two_gaussians data.distance=1.68", ""),
    "not better than a constant": ("data=linnerud training.epochs=60", ""),
    "data suspect": ("data.label_noise=0.9", ""),
    "still improving": ("optimizer=sgd optimizer.lr=0.001", ""),
    "large batch": ("training.batch_size=1000 training.epochs=150", ""),
    "healthy": ("", ""),
}  # fmt: skip
"""Verdict -> a command line that gets it, and the quantity of `layers.csv` that shows it; the losses without one."""
COLUMNS = 4
HIDDEN = [
    f"observers.{name}.enabled=false" for name in ("progress", "tensorboard", "histograms", "pictures", "regions")
]
LOGARITHMIC = ("update_ratio", "signal", "loss")
WORDS: Mapping[str, str] = {
    "": "loss",
    "twins": "units with equal weights (share)",
    "loss": "loss of the probe",
    "signal": "gradient (root mean square)",
    "dead": "dead units (share)",
    "saturated": "saturated outputs (share)",
    "top_class": "most frequent answer (share)",
    "update_ratio": "update : weight",
}
"""Quantity -> the words at its axis."""
DASHES = ("-", "--", "-.", ":")
MOST_INSIDE = 3
"""The lines up to which the legend is inside the axes, and not below them."""
Curves = Mapping[str, Sequence[tuple[float, float]]]


def curves(folder: Path, quantity: str) -> Curves:
    """Return the curves of a run: of a quantity by layer, or of the losses."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    if not quantity:
        with (folder / "metrics.csv").open() as file:
            for row in csv.DictReader(file):
                for split in ("train", "val"):
                    found[split].append((float(row["epoch"]), float(row[f"{split}/loss"])))
        return found
    with (folder / "layers.csv").open() as file:
        for row in csv.DictReader(file):
            if row["quantity"] == quantity and not row["layer"].endswith("bias"):
                found[row["layer"].removeprefix("features.").partition(".")[0]].append(
                    (float(row["epoch"]), float(row["value"]))
                )
    return found


def draw(axes: Axes, verdict: str, quantity: str, drawn: Curves) -> None:
    """Draw the curves of a run.

    Args:
        axes: to draw into.
        verdict: the title.
        quantity: of the curves.
        drawn: the curves.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for number, (name, points) in enumerate(drawn.items()):
        axes.plot(
            *zip(*points, strict=True),
            marker="." if len(points) < 8 else None,
            linestyle=DASHES[number % len(DASHES)],
            linewidth=max(1.3, 2.5 - 0.8 * number),  # a line that is covered is wider than the one that covers it
            label=name,
        )
    if quantity in LOGARITHMIC:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        if high < 10 * low:  # no power of ten, or only one
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.ticklabel_format(axis="y", useOffset=False)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_title(textwrap.fill(verdict, 30), fontsize=9, loc="left", fontweight="bold")
    axes.set_ylabel(WORDS[quantity], fontsize=8)
    axes.set_xlabel("epoch", fontsize=8)
    axes.tick_params(which="both", labelsize=7)
    if len(drawn) > MOST_INSIDE:
        axes.legend(
            fontsize=6, loc="upper center", bbox_to_anchor=(0.45, -0.24), ncols=4, frameon=False, handlelength=3
        )
    elif len(drawn) > 1:
        axes.legend(fontsize=6, loc="best", handlelength=3)


def main(path: str) -> None:
    """Train, and draw."""
    from matplotlib.figure import Figure

    rows = -(-len(EXAMPLES) // COLUMNS)
    figure = Figure(figsize=(13, 2.6 * rows), layout="constrained", dpi=100)
    grid = figure.subplots(rows, COLUMNS).flat
    with tempfile.TemporaryDirectory() as below, contextlib.chdir(below):
        for (verdict, (line, quantity)), axes in zip(EXAMPLES.items(), grid, strict=False):
            job = job_of(compose(*shlex.split(line), *HIDDEN, f"name={verdict.replace(' ', '_')}"))
            with contextlib.redirect_stdout(io.StringIO()):
                summary = alone.train(job.config, job.folder, choices=job.choices, overrides=job.overrides, own=True)
            if verdict not in [one["name"] for one in summary["verdicts"]]:
                print(f"{line} is not {verdict} any more: {[one['name'] for one in summary['verdicts']]}")
            draw(axes, verdict, quantity, curves(job.folder.path, quantity))
    for axes in grid:  # that are left
        axes.set_axis_off()
    figure.savefig(path)


if __name__ == "__main__":
    main(str(Path(sys.argv[1]).absolute()))
