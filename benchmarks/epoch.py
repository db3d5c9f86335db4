"""An epoch of MNIST: this project against hand-written loops, the usual loader and Lightning."""

import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from experiments.cli.overrides import quoted
from experiments.training.device import cores

from . import lightning_loop
from .loops import Arrays, evaluate, fused_epoch, loader, loader_epoch, perceptron, usual_epoch
from .measure import Settings, interleaved, ratios, timed
from .project import Project
from .report import Line, Target, tabulated

BATCH = 128
DIGITS_BATCH = 32
HIDDEN = (100, 100)
ROUNDS, SLOW_ROUNDS = 30, 3
WORKERS = 2

PROJECT = "a   this project, all observers, checkpoint, validation"
FUSED = "b   by hand, tensors in memory, fused Adam, nothing else"
EVALUATED = "b2  b with the validation pass"
USUAL = "b3  by hand, tensors in memory, as mostly written"
LOADER = "c   usual loop, DataLoader, 0 workers"
LOADER_WORKERS = f"c2  usual loop, DataLoader, {WORKERS} workers"
LIGHTNING = "d   Lightning, the loader of c, 0 workers"

AGAINST_HAND = Target(1.05)
AGAINST_EVALUATED = Target(1.0)
AGAINST_LOADER = Target(5, least=True)


def run(settings: Settings, console: Console) -> None:
    """Print the table."""
    root = settings.mnist()
    places = [("cpu", 1)] + [("cpu", 2)] * (cores() > 1) + [("cuda:0", 1)] * torch.cuda.is_available()
    console.print(f"An epoch of MNIST: 48,000 examples, batch {BATCH}, MLP 784-100-100-10, Adam; seconds")
    console.print("c, c2 and d are compared with the median of a")
    if not lightning_loop.available():
        console.print("skipped: d, because lightning is not installed (pip install -e '.\\[bench]')")
    before = torch.get_num_threads()
    for name, threads in places:
        torch.set_num_threads(threads)
        try:
            compare(settings, root, torch.device(name), console)
            others(settings, root, torch.device(name), console)
        finally:
            torch.set_num_threads(before)


def others(settings: Settings, root: Path, device: torch.device, console: Console) -> None:
    """Print the epochs of other runs, and of loops by hand over a copy of their model."""
    few = ["data=mnist", f"data.root={quoted(root)}", "data.limit=15000", "model=cnn", f"training.batch_size={BATCH}"]
    noisy = [*few, "model.norm=batch", "model.dropout=0.2"]
    made = [
        *other(settings, "digits, the default run", [], device, DIGITS_BATCH, Target(1.5), rounds=20, epochs=20),
        *other(settings, "CNN, 12,000 pictures of MNIST", few, device, BATCH, Target(1.05)),
        *other(settings, "the same with BatchNorm and Dropout", noisy, device, BATCH, Target(1.05)),
    ]
    console.print(tabulated("s", made))


def other(
    settings: Settings,
    title: str,
    words: list[str],
    device: torch.device,
    batch: int,
    target: Target,
    *,
    rounds: int = 4,
    epochs: int = 1,
) -> list[Line]:
    """Measure some epochs of a run, everything included, and the same by hand with the validation pass."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        project = stack.enter_context(Project([*words, f"training.device={device}"], folder))
        train, val = (prepared(project, split) for split in ("train", "val"))
        peer = deepcopy(project.model)
        epoch = fused_epoch(peer, train, batch, torch.Generator().manual_seed(0))

        def by_hand() -> None:
            for _ in range(epochs):
                epoch()
                evaluate(peer, val)

        actions: dict[str, Callable[[], None]] = {"project": lambda: project.epoch(epochs), "by hand": by_hand}
        for action in actions.values():
            action()
        timings = {name: timed(action) for name, action in actions.items()}
        samples = interleaved(timings, dict.fromkeys(timings, settings.repeats(rounds)))
    figures = ratios(samples, "project", "by hand")
    length = f"{epochs} epochs" if epochs > 1 else "an epoch"
    return [
        Line(f"{title}: {length} of this project", samples["project"], "project / by hand", figures, target=target),
        Line("by hand, fused Adam, with the validation pass", samples["by hand"]),
    ]


def compare(settings: Settings, root: Path, device: torch.device, console: Console) -> None:
    """Measure all on one device with the threads that are set, and print the table."""
    threads = torch.get_num_threads()
    samples, difference = measured(settings, root, device)
    where = f"{device}, {threads} thread{'s' * (threads > 1)}" if device.type == "cpu" else str(device)
    same = "the same to the bit" if difference == 0 else f"within {difference:.1e} of each other"
    console.print(f"\n[bold]{where}[/bold]  (after the first epoch the weights of a and b are {same})")
    console.print(tabulated("s", lines(samples)))


def measured(
    settings: Settings, root: Path, device: torch.device, *, loaders: bool = True
) -> tuple[dict[str, list[float]], float]:
    """Return the seconds of an epoch in each way, and the largest difference between weights, see `contestants`.

    Args:
        settings, root, device: what is measured.
        loaders: whether the usual loaders take part, which are many times slower.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        project = stack.enter_context(Project(overrides(root, device), folder))
        actions, difference = contestants(project, root, device)
        slow = {LOADER, LOADER_WORKERS, LIGHTNING}
        actions = {name: action for name, action in actions.items() if loaders or name not in slow}
        rounds = {name: settings.repeats(SLOW_ROUNDS if name in slow else ROUNDS) for name in actions}
        return interleaved(actions, rounds), difference


def overrides(root: Path, device: torch.device) -> list[str]:
    """Return the command line of the measured training."""
    return ["data=mnist", f"data.root={quoted(root)}", f"training.batch_size={BATCH}", f"training.device={device}"]


def contestants(project: Project, root: Path, device: torch.device) -> tuple[dict[str, Callable[[], float]], float]:
    """Return what makes an epoch in each way, after a first epoch of the fast ones that is not measured.

    Also returns the largest difference between a weight of the project and of the strict peer after it, since
    both begin with the same weights and take the same examples in the same order.
    """
    train, val = (arrays(project, split) for split in ("train", "val"))
    start = [p.detach().clone() for p in project.model.parameters()]
    order = project.streams.order.get_state()

    def model() -> nn.Module:
        return perceptron(train.x.shape[1], HIDDEN, len(project.data.classes), start).to(device)

    def generator() -> torch.Generator:
        made = torch.Generator()
        made.set_state(order)
        return made

    peer, evaluated = model(), model()
    fused = fused_epoch(peer, train, BATCH, generator())
    fused_to_evaluate = fused_epoch(evaluated, train, BATCH, generator())

    def with_validation() -> None:
        fused_to_evaluate()
        evaluate(evaluated, val)

    fast: dict[str, Callable[[], None]] = {
        PROJECT: project.epoch,
        FUSED: fused,
        EVALUATED: with_validation,
        USUAL: usual_epoch(model(), train, BATCH),
    }
    for epoch in fast.values():
        epoch()
    weights = zip(project.model.parameters(), peer.parameters(), strict=True)
    difference = max((own - other).abs().max().item() for own, other in weights)

    actions = {name: timed(epoch) for name, epoch in fast.items()}
    for name, workers in ((LOADER, 0), (LOADER_WORKERS, WORKERS)):
        batches = loader(root, len(train.y), BATCH, workers)
        actions[name] = timed(loader_epoch(flat(model()), batches, device))
    if lightning_loop.available():
        batches = loader(root, len(train.y), BATCH, 0)
        actions[LIGHTNING] = lightning_loop.lightning_epoch(flat(model()), batches, device)
    return actions, difference


def arrays(project: Project, split: str) -> Arrays:
    """Return a split of the project prepared beforehand, in float32, with one row of features for each example."""
    examples = prepared(project, split)
    return Arrays(examples.x.flatten(1), examples.y)


def prepared(project: Project, split: str) -> Arrays:
    """Return a split of the project prepared beforehand, in float32."""
    examples = project.data.splits[split]
    return Arrays(examples.prepare(examples.raw()), examples.y)


def flat(model: nn.Module) -> nn.Module:
    """Let a model take pictures."""
    return nn.Sequential(nn.Flatten(), model)


def lines(samples: dict[str, list[float]]) -> list[Line]:
    """Hold the project against each of the others."""
    made = [Line(PROJECT, samples[PROJECT])]
    for name, target in ((FUSED, AGAINST_HAND), (EVALUATED, AGAINST_EVALUATED), (USUAL, None)):
        figures = ratios(samples, PROJECT, name)
        made.append(Line(name, samples[name], f"a / {label(name)}", figures, target=target))
    typical = statistics.median(samples[PROJECT])  # an epoch of theirs outlasts many of ours
    for name in (LOADER, LOADER_WORKERS, LIGHTNING):
        if name in samples:
            figures = [seconds / typical for seconds in samples[name]]
            made.append(Line(name, samples[name], f"{label(name)} / a", figures, target=AGAINST_LOADER))
    return made


def label(name: str) -> str:
    """Return a contestant's letter."""
    return name.split()[0]
