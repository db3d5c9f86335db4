"""BatchNorm: the effect on learning, the noise of mini-batches, and the running averages at test time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from experiments.evaluation.loading import Restored, load
from experiments.figures.canvas import canvas, logarithmic, on_axes
from experiments.figures.palette import INK, styles
from experiments.folders.reading import Record
from experiments.losses import cross_entropy
from experiments.recipes.drawing import bars, curves_of
from experiments.recipes.measured import Measured, by, last, lead, level, of_seeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {"false": "without BatchNorm", "true": "with BatchNorm"}
LEARNED, CHANCE = 0.9, 0.1
"""Accuracies on the ten digits."""
SIZES = (8, 32, 128)
"""Examples in a batch."""
DRAWS = 400
"""Batches that are drawn to measure the noise of their means."""
BATCH = 32
EXAMPLES = 200
DRAWN = 4
"""Every fourth score is drawn: all of them are a sixth of the gallery."""


def accuracy(run: Record) -> float:
    """Return the validation accuracy at the end; chance for a run that diverged."""
    final = last(run, "val/accuracy")
    return final if math.isfinite(final) else CHANCE


def mean_accuracies(runs: Sequence[Record], key: str) -> dict[str, dict[str, float]]:
    """Return the mean accuracy without and with BatchNorm, by the values of a key."""
    return {
        NAMES[norm]: {value: fmean(map(accuracy, own)) for value, own in by(group, key).items()}
        for norm, group in by(runs, "model.batch_norm").items()
    }


def largest_rate(runs: Sequence[Record]) -> Measured:
    """Measure the largest rate with which a network learns, with BatchNorm divided by without."""
    accuracies = mean_accuracies(runs, "optimizer.lr")
    largest = {
        name: max((float(rate) for rate, value in own.items() if value >= LEARNED), default=math.nan)
        for name, own in accuracies.items()
    }
    values = {"largest rate, with over without": largest[NAMES["true"]] / largest[NAMES["false"]]}
    said = [f"The largest rate with which the network learns is {rate:g} {name}" for name, rate in largest.items()]

    @on_axes(6.5, 3.8)
    def draw(axes: Axes) -> None:
        for (name, own), look in zip(accuracies.items(), styles(2), strict=True):
            shown = [100 * value for value in own.values()]
            axes.plot([float(rate) for rate in own], shown, "o", color=look.color, linestyle=look.linestyle, label=name)
        axes.axhline(100 * LEARNED, color=INK, linewidth=0.8, linestyle=":")
        logarithmic(axes.xaxis)
        axes.set_xlabel("learning rate")
        axes.set_ylabel("validation accuracy (%)")
        axes.legend()

    return Measured(values, draw, said)


def initializers(runs: Sequence[Record]) -> Measured:
    """Measure the difference in accuracy between the best and the worst initializer, with BatchNorm and without."""
    accuracies = mean_accuracies(runs, "init")
    spread = {name: max(own.values()) - min(own.values()) for name, own in accuracies.items()}
    values = {
        "spread of the accuracy, without": spread[NAMES["false"]],
        "spread of the accuracy, with over without": spread[NAMES["true"]] / spread[NAMES["false"]],
    }
    said = [f"The accuracies differ by {100 * size:.1f} points {name}" for name, size in spread.items()]

    @on_axes(6.5, 3.8)
    def draw(axes: Axes) -> None:
        heights = {name: [100 * value for value in own.values()] for name, own in accuracies.items()}
        bars(axes, heights, list(next(iter(accuracies.values()))))
        axes.axhline(100 * CHANCE, color=INK, linewidth=0.8, linestyle=":")
        axes.set_ylabel("validation accuracy (%; dotted: chance)")
        axes.set_ylim(0, 120)
        axes.set_yticks(range(0, 101, 20))
        axes.legend(loc="upper center", ncols=2)

    return Measured(values, draw, said)


def noise(runs: Sequence[Record]) -> Measured:
    """Measure by batch size: the noise of a mini-batch's mean, divided by theory, and the loss that it costs."""
    restored = [load(run.folder) for run in runs]
    deviations = {m: fmean(deviation(run, m) for run in restored) for m in SIZES}
    losses = {m: fmean(training_loss(run, m) for run in restored) for m in SIZES}
    without = fmean(training_loss(run, None) for run in restored)
    values = {f"deviation of the mean over theory, batches of {m}": value for m, value in deviations.items()}
    values |= {
        "training loss, batches of 8 over 32": losses[8] / losses[32],
        "training loss, batches of 32 over 128": losses[32] / losses[128],
        "training loss, batches of 8 over running averages": losses[8] / without,
    }
    listed = ", ".join(f"{loss:.3g} (batches of {m})" for m, loss in losses.items())
    said = [f"With the same weights the training loss is {listed} and {without:.3g} (running averages)"]

    def draw() -> Figure:
        figure = canvas(9.5, 3.6)
        first, second = figure.subplots(1, 2)
        (look,) = styles(1)
        sizes = np.geomspace(SIZES[0], SIZES[-1])
        total = len(restored[0].data.splits["train"])
        first.plot(sizes, [standard_error(m, total) for m in sizes], color=INK, linewidth=0.8, label="theory")
        measured = [value * standard_error(m, total) for m, value in deviations.items()]
        first.plot(SIZES, measured, "o", color=look.color, label="measured")
        first.set_ylabel("noise of a unit's mean (by its spread)")
        logarithmic(first.yaxis)
        first.legend()
        second.plot(SIZES, list(losses.values()), "o", color=look.color, label="mini-batch's own mean and variance")
        second.axhline(without, color=INK, linewidth=0.8, linestyle=":", label="running averages")
        second.set_ylabel("loss on the training examples")
        second.legend()
        for axes in (first, second):
            logarithmic(axes.xaxis)
            axes.set_xlabel("examples in a batch")
        return figure

    return Measured(values, draw, said)


def deviation(run: Restored, size: int) -> float:
    """Return the standard deviation of the mini-batches' means at the first hidden layer, divided by theory's."""
    outputs = first_outputs(run)
    draw = torch.Generator().manual_seed(size)
    means = torch.stack([outputs[torch.randperm(len(outputs), generator=draw)[:size]].mean(0) for _ in range(DRAWS)])
    variance = (means - outputs.mean(0)).square().mean(0) / outputs.var(0, correction=0)
    return float(variance.mean().sqrt()) / standard_error(size, len(outputs))


def standard_error(size: float, total: int) -> float:
    """Return the standard deviation of the mean of `size` out of `total` examples, in that of one example.

    The examples are drawn without replacement.
    """
    return math.sqrt((total - size) / (total - 1) / size)


def first_outputs(run: Restored) -> Tensor:
    """Return the outputs of the first linear layer for the training examples, (examples, units), in float64."""
    split = run.data.splits["train"]
    x, _ = split.first(len(split))
    layer = next(module for module in run.model.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        return layer(x.flatten(1)).double()


def training_loss(run: Restored, size: int | None) -> float:
    """Return the loss on the training examples.

    Args:
        run: to evaluate.
        size: of the mini-batches whose statistics normalize; None for the running averages.
    """
    split = run.data.splits["train"]
    x, y = split.first(len(split))
    if size is None:
        with torch.no_grad():
            return float(cross_entropy(run.model(x), y))
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    parts = [part for part in order.split(size) if len(part) == size]  # a smaller one has more noise
    return fmean(float(cross_entropy(batch_normalized(run.model, x[part]), y[part])) for part in parts)


def batch_normalized(model: nn.Module, x: Tensor) -> Tensor:
    """Return the scores of a batch, normalized by its own statistics; the running averages do not change.

    Args:
        model: in evaluation mode.
        x: (batch, *input_shape).
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    kept = [{name: value.clone() for name, value in norm.state_dict().items()} for norm in norms]
    model.train()
    try:
        with torch.no_grad():
            return model(x)
    finally:
        model.eval()
        for norm, state in zip(norms, kept, strict=True):
            norm.load_state_dict(state)


def single(runs: Sequence[Record]) -> Measured:
    """Measure how far an example's scores depend on the rest of its batch, by the scores' spread, in the worst run."""
    restored = [load(run.folder) for run in runs]
    alone = [alone_and_in_batch(run) for run in restored]
    mixed = [in_two_batches(run) for run in restored]
    values = {
        "running averages, alone against in a batch": max(float((a - b).abs().max()) for a, b in alone),
        "mini-batch's own, in one company against another": min(
            float((a - b).square().mean().sqrt()) for a, b in mixed
        ),
        "running mean against that of all training examples": max(map(drift, restored)),
    }

    def draw() -> Figure:
        figure = canvas(8, 4)
        for axes, (pair, name, other), look in zip(
            figure.subplots(1, 2),
            (
                (alone[0], "running averages", "score in a batch of 200"),
                (mixed[0], "mini-batch's own mean and variance", "score in another batch of 32"),
            ),
            styles(2),
            strict=True,
        ):
            first, second = (part.flatten()[::DRAWN].numpy() for part in pair)
            axes.plot(first, second, ".", color=look.color, markersize=2)
            axes.axline((0, 0), slope=1, color=INK, linewidth=0.8, linestyle=":")
            axes.set_title(name)
            axes.set_xlabel(f"{'score alone' if pair is alone[0] else 'score in one batch of 32'} (every fourth)")
            axes.set_ylabel(other)
            axes.set_aspect("equal")
        return figure

    return Measured(values, draw)


Scores = tuple[Tensor, Tensor]
"""Two sets of scores of the same examples, divided by their spread."""


def alone_and_in_batch(run: Restored) -> Scores:
    """Return the scores of test examples alone and in one batch, (examples, classes), with the running averages."""
    x, _ = run.data.splits["test"].first(EXAMPLES)
    with torch.no_grad():
        together = run.model(x)
        return spread(torch.cat([run.model(example) for example in x.split(1)]), together)


def in_two_batches(run: Restored) -> Scores:
    """Return the scores of test examples in two different batches, (examples, classes).

    They are normalized by the batches' own statistics.
    """
    x, _ = run.data.splits["test"].first(EXAMPLES // BATCH * BATCH)
    draw = torch.Generator().manual_seed(0)
    first, second = (shuffled(run.model, x, torch.randperm(len(x), generator=draw)) for _ in range(2))
    return spread(first, second)


def shuffled(model: nn.Module, x: Tensor, order: Tensor) -> Tensor:
    """Return the scores of examples that are batched in another order; the scores are in the examples' order.

    Args:
        model: in evaluation mode.
        x: (examples, *input_shape).
        order: (examples,), a permutation of their indices.
    """
    scores = torch.cat([batch_normalized(model, x[part]) for part in order.split(BATCH)])
    return scores[order.argsort()]


def spread(first: Tensor, second: Tensor) -> Scores:
    """Return both sets of scores, divided by the standard deviation of the second.

    Args:
        first, second: (examples, classes).
    """
    return first / second.std(), second / second.std()


def drift(run: Restored) -> float:
    """Return the distance of the first running mean from the mean of all training examples.

    It is the root mean square over the units, each in its spread; 0 without BatchNorm.
    """
    norms = [module for module in run.model.modules() if isinstance(module, nn.BatchNorm1d)]
    if not norms or norms[0].running_mean is None:
        return 0.0
    outputs = first_outputs(run)
    return float((norms[0].running_mean - outputs.mean(0)).div(outputs.std(0)).square().mean().sqrt())


def regularization(runs: Sequence[Record]) -> Measured:
    """Measure by how much BatchNorm narrows the gap between validation and training loss, with two batch sizes.

    Both losses are those of the last weights, with the running averages.
    """
    small, large = (by(group, "model.batch_norm") for group in by(runs, "training.batch_size").values())
    losses = {run.folder: split_losses(run) for run in runs}

    def gap(run: Record) -> float:
        return losses[run.folder]["val"] - losses[run.folder]["train"]

    def narrowed(groups: Mapping[str, Sequence[Record]]) -> dict[str, float]:
        with_norm = of_seeds(groups["true"], gap)
        return {seed: value - with_norm[seed] for seed, value in of_seeds(groups["false"], gap).items()}

    values = {
        "gap narrowed, small batches, least": lead(of_seeds(small["false"], gap), of_seeds(small["true"], gap)),
        "more than with large batches, least": lead(narrowed(small), narrowed(large)),
    }
    plain, normed = (fmean(map(gap, small[norm])) for norm in ("false", "true"))
    values["share of the gap that is narrowed, small batches"] = 1 - normed / plain
    groups = {
        f"{NAMES[norm]}, batches of {own[0].config['training.batch_size']}": own
        for group in (small, large)
        for norm, own in group.items()
    }
    said = [
        f"{name}: a training loss of {fmean(losses[run.folder]['train'] for run in own):.3g}, "
        f"a validation loss of {fmean(losses[run.folder]['val'] for run in own):.3g} and "
        f"a validation accuracy of {100 * fmean(map(accuracy, own)):.1f} %"
        for name, own in groups.items()
    ]
    return Measured(values, lambda: curves_of(groups, "val/loss", "val/accuracy"), said)


def split_losses(run: Record) -> dict[str, float]:
    """Return the loss of a run's last weights on the training and the validation split."""
    restored = load(run.folder, checkpoint="last.pt")
    losses = {}
    for name in ("train", "val"):
        scores, y = (torch.cat(parts) for parts in zip(*restored.batches(restored.data.splits[name]), strict=True))
        losses[name] = float(cross_entropy(scores, y))
    return losses


def identity(eps: float = 1e-5, restored: bool = True) -> Measured:
    """Measure how far BatchNorm's outputs are from its inputs if gamma and beta are the inputs' spread and mean.

    Args:
        eps: of BatchNorm.
        restored: whether gamma and beta are set so, instead of being left at 1 and 0.
    """
    x = 3 + 2 * torch.randn(EXAMPLES, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    norm = nn.BatchNorm1d(5, eps=eps, dtype=torch.float64)
    with torch.no_grad():
        plain = norm(x)
        if restored:
            norm.weight.copy_((x.var(0, correction=0) + eps).sqrt())
            norm.bias.copy_(x.mean(0))
        outputs = norm(x)
    values = {
        "largest distance of the outputs from the inputs": float((outputs - x).abs().max()),
        "with gamma 1 and beta 0: largest mean of a unit": float(plain.mean(0).abs().max()),
        "with gamma 1 and beta 0: smallest spread of a unit": float(plain.std(0, correction=0).min()),
    }

    @on_axes(6.5, 3.6)
    def draw(axes: Axes) -> None:
        pairs = {"gamma = 1, beta = 0": plain, "gamma = spread, beta = mean": outputs}
        for (name, own), look in zip(pairs.items(), styles(2), strict=True):
            axes.plot(x[:, 0].numpy(), own[:, 0].numpy(), ".", color=look.color, label=name)
        axes.axline((0, 0), slope=1, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xlabel("input of BatchNorm")
        axes.set_ylabel("output")
        axes.legend()

    return Measured(values, draw)


def order(runs: Sequence[Record]) -> Measured:
    """Compare BatchNorm before the activation, after it, and no BatchNorm."""
    groups: dict[str, list[Record]] = {}
    for run in runs:
        normed = level(run, "model.batch_norm") == "true"
        after = level(run, "model._target_").endswith("NormalizedAfter")
        groups.setdefault(("after the activation" if after else "before it") if normed else "none", []).append(run)
    before, after_it = (groups[name] for name in ("before it", "after the activation"))
    ours, theirs = of_seeds(before, accuracy), of_seeds(after_it, accuracy)
    losses = {name: fmean(last(run, "train/loss") for run in own) for name, own in groups.items()}
    values = {
        "accuracy, before less after, least": lead(ours, theirs),
        "accuracy, before less after, most": -lead(theirs, ours),
        "accuracy, worse of the two": min(fmean(ours.values()), fmean(theirs.values())),
        "training loss, without by the worse of the two": losses["none"]
        / max(losses["before it"], losses["after the activation"]),
    }
    said = [
        f"BatchNorm {name}: a training loss of {losses[name]:.3g} and a validation accuracy of "
        f"{100 * fmean(map(accuracy, own)):.1f} %"
        for name, own in groups.items()
    ]
    return Measured(values, lambda: curves_of(groups, "train/loss", "val/accuracy", log=True), said)


def instead_of_dropout(runs: Sequence[Record]) -> Measured:
    """Measure what Dropout adds to networks with BatchNorm, and how far a network with BatchNorm only overfits."""
    groups: dict[str, list[Record]] = {}
    for run in runs:
        normed, dropped = level(run, "model.batch_norm") == "true", float(level(run, "model.dropout")) > 0
        name = {(False, False): "neither", (True, False): "BatchNorm", (False, True): "Dropout", (True, True): "both"}
        groups.setdefault(name[normed, dropped], []).append(run)
    both, norm = of_seeds(groups["both"], accuracy), of_seeds(groups["BatchNorm"], accuracy)

    def gap(run: Record) -> float:
        return last(run, "train/accuracy") - accuracy(run)

    values = {
        "accuracy that Dropout adds to BatchNorm, most": -lead(norm, both),
        "training accuracy, BatchNorm only": fmean(last(run, "train/accuracy") for run in groups["BatchNorm"]),
        "gap, BatchNorm only": fmean(map(gap, groups["BatchNorm"])),
    }
    said = [
        f"{name}: training accuracy {fmean(last(run, 'train/accuracy') for run in own):.1%}, validation "
        f"accuracy {fmean(map(accuracy, own)):.1%}"
        for name, own in groups.items()
    ]
    return Measured(values, lambda: curves_of(groups, "val/loss", "val/accuracy"), said)
