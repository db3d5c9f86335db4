"""One look at a CUDA device: its tests, steps, gains, an epoch and stacks, in one table; on a CPU a rehearsal."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console

from experiments import assembly
from experiments.assembly.run import Parts, assembled
from experiments.common.screen import Screen
from experiments.folders.run import RunFolder
from experiments.training.device import describe, kernels, torch_threads
from experiments.training.stack import Stack
from experiments.training.streams import global_state

from . import epoch, gains, stacks
from .loops import perceptron, wait
from .measure import Settings, SkipError
from .project import composed
from .report import Line, Target, tabulated

TESTS = Path(__file__).resolve().parents[1] / "tests" / "training" / "test_cuda.py"
MLP, CNN = ("model.hidden=[50,50]",), ("model=cnn", "model.batch_norm=true")
SINGLES = {
    "MLP": MLP,
    "MLP, Dropout": (*MLP, "model.dropout=0.2"),
    "CNN": CNN,
    "CNN, tf32": (*CNN, "training.precision=tf32"),
    "CNN, crop_flip": (*CNN, "data.augment=crop_flip"),
    "CNN, bf16": (*CNN, "training.precision=bf16"),
    "CNN, fp16": (*CNN, "training.precision=fp16"),
    "CNN, bf16, channels last": (*CNN, "training.precision=bf16", "training.channels_last=true"),
}
COMPILED = {
    "CNN, compiled": (*CNN, "training.compile=true"),
    "CNN, reduce-overhead": (*CNN, "training.compile=reduce-overhead"),
    "CNN, reduce-overhead, accumulated": (
        *CNN,
        "training.compile=reduce-overhead",
        "training.accumulate=2",
        "training.batch_size=16",
    ),
}
"""Only on CUDA, as compiling takes minutes on a CPU."""
STACKED = {"MLP": MLP, "MLP, Dropout": (*MLP, "model.dropout=0.2"), "CNN": CNN}
SIZES, REHEARSED = (1, 4, 16, 64, 256), (2, 4)
AIMS = {
    "by hand, in a CUDA graph": Target(0.5),
    "single, MLP": Target(1.10),
    "stack of 64, MLP": Target(60, least=True),
    "stack of 64, MLP, Dropout": Target(40, least=True),
    "stack of 256, MLP": Target(150, least=True),
}
"""Aims on one H100; figures of singles are compared with the step by hand, those of stacks with as many singles."""
SWEEP = Target(5, least=True)
MILLI = 1e3
WIDE = 190
"""The characters of the table: a line names what is measured in full."""


@dataclass
class Look:
    """A look at a device.

    Args:
        settings: of the benchmarks.
        device: what is looked at.
        folder: where runs write.
        lines: of the table.
    """

    settings: Settings
    device: torch.device
    folder: Path
    lines: list[Line] = field(default_factory=list)

    @property
    def on_cuda(self) -> bool:
        """Whether this is no rehearsal."""
        return self.device.type == "cuda"

    def seconds(self, step: Callable[[], object], steps: int, rounds: int = 5) -> list[float]:
        """Return the seconds per step in each round, until the device is done; a rehearsal does few steps."""
        steps, rounds = (steps, rounds) if self.on_cuda else (3, 2)
        for _ in range(10 if self.on_cuda else 1):
            step()
        samples = []
        for _ in range(rounds):
            wait(self.device)
            began = time.perf_counter()
            for _ in range(steps):
                step()
            wait(self.device)
            samples.append((time.perf_counter() - began) / steps)
        return samples

    def parts(self, words: Sequence[str], seed: int = 0, sources: assembly.Sources | None = None) -> Parts:
        """Build a run on the device."""
        config = composed([*words, f"seed={seed}", f"training.device={self.device}"])
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        screen = Screen(folder / "log", quiet=True)
        general, settings = assembly.general(config), assembly.training(config)
        try:
            return assembled(config, general, settings, self.device, RunFolder(folder), screen, sources)
        finally:
            screen.close()


def run(settings: Settings, console: Console) -> None:
    """Print the table."""
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    console.print(heading(device))
    with tempfile.TemporaryDirectory() as folder:
        look = Look(settings, device, Path(folder))
        for name, part in PARTS.items():
            began = time.perf_counter()
            try:
                part(look)
                ended = "measured"
            except SkipError as reason:
                ended = f"skipped, {reason};"
            except Exception as error:  # the other parts are worth their time nevertheless
                ended = f"failed, {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''};"
            console.print(f"{name:8} {ended} in {time.perf_counter() - began:.0f} s")
        wide = Console(file=console.file, highlight=False, width=max(console.width, WIDE))
        wide.print(tabulated("ms", look.lines))


def heading(device: torch.device) -> str:
    """Return the name of the device, and what a launch and a wait cost."""
    if device.type == "cpu":
        return "device   cpu: a rehearsal, which shows that all parts run; its numbers say nothing about a GPU"
    properties = torch.cuda.get_device_properties(device)
    one = torch.zeros(1, device=device)
    launch, waiting = cost(lambda: one.add_(1), device), cost(one.item, device)
    return (
        f"device   {describe(device)}, {properties.total_memory / 2**30:.0f} GiB, "
        f"{properties.multi_processor_count} multiprocessors; CUDA {torch.version.cuda}\n"
        f"launch   {1e6 * launch:.1f} us; .item() {1e6 * waiting:.1f} us"
    )


def cost(action: Callable[[], object], device: torch.device, times: int = 1000) -> float:
    """Return the seconds of a small action on a CUDA device."""
    action()
    wait(device)
    began = time.perf_counter()
    for _ in range(times):
        action()
    wait(device)
    return (time.perf_counter() - began) / times


def tests(look: Look) -> None:
    """Run the tests of a CUDA device."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS)]
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=TESTS.parents[2], capture_output=True, text=True, env={**os.environ, "TEST_DEVICE": "cuda"}
    )
    counts = done.stdout.strip().splitlines()[-1].strip("= ") if done.stdout.strip() else done.stderr[-200:]
    failed = [line.partition(" - ")[0] for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    look.lines.append(Line(f"tests: {counts}", [MILLI * (time.perf_counter() - began)]))
    look.lines += [Line(f"  {line}") for line in failed]


def steps(look: Look) -> None:
    """Measure a step by hand, of single runs and of stacks; digits, batch 32."""
    hand = add(look, "by hand", partial(by_hand, look.device))
    if look.on_cuda:
        add(look, "by hand, in a CUDA graph", partial(graphed, look.device), hand)
    singles = {}
    for name, words in {**SINGLES, **(COMPILED if look.on_cuda else {})}.items():
        singles[name] = add(look, f"single, {name}", partial(single_step, look, words), hand)
    sizes = SIZES if look.on_cuda else REHEARSED
    for name, words in STACKED.items():
        for size in sizes if name == "MLP" else sizes[1:4]:
            add(look, f"stack of {size}, {name}", partial(stack_step, look, words, size), singles[name], size)


def add(
    look: Look,
    name: str,
    build: Callable[[], Callable[[], object]],
    against: Sequence[float] | None = None,
    runs: int = 1,
) -> list[float]:
    """Add a line about a step, and return its samples in seconds; a step that fails gets a line that says so.

    Args:
        look: where the line goes.
        name: of the line.
        build: returns the step.
        against: the samples of the step that it is compared with.
        runs: of a stack, whose figure is how many times as fast it is as its runs one by one.
    """
    try:
        with kernels(deterministic=False, precision="tf32" if "tf32" in name else "fp32"):
            step = build()
            samples = look.seconds(step, 200 if runs == 1 else 50)
            launches = counted_kernels(look, step)
    except Exception as error:
        look.lines.append(Line(f"{name}: failed, {str(error).splitlines()[0][:80]}"))
        return []
    figures, compared = [], ""
    if against and runs > 1:
        compared, figures = f"{runs} singles / this", [runs * statistics.median(against) / own for own in samples]
    elif against:
        compared, figures = "this / by hand", [own / statistics.median(against) for own in samples]
    target = AIMS.get(name) if look.on_cuda else None
    look.lines.append(Line(f"{name}{launches}", [MILLI * s for s in samples], compared, figures, target=target))
    return samples


def counted_kernels(look: Look, step: Callable[[], object]) -> str:
    """Return the number of kernels of a step, and their time, for its name."""
    if not look.on_cuda:
        return ""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
        step()
        wait(look.device)
    events = [event for event in seen.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return f" ({len(events)} kernels, {sum(event.device_time_total for event in events):.0f} us)"


def by_hand(device: torch.device, *, capturable: bool = False) -> Callable[[], None]:
    """Return a step as a loop by hand has it."""
    x, y = torch.randn(32, 64, device=device), torch.arange(32, device=device) % 10
    model = perceptron(64, [50, 50], 10).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True, capturable=capturable)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def graphed(device: torch.device) -> Callable[[], None]:
    """Return the step by hand as a CUDA graph: the least that a step can take."""
    step = by_hand(device, capturable=True)
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    replay: Callable[[], None] = graph.replay
    return replay


def single_step(look: Look, words: Sequence[str]) -> Callable[[], object]:
    """Return a step of one run."""
    parts = look.parts(words)
    index = torch.arange(parts.plan.batch_size).to(look.device)[None]
    return lambda: parts.program.step(index, [1e-3])


def stack_step(look: Look, words: Sequence[str], size: int) -> Callable[[], object]:
    """Return a step of a stack of runs with different seeds."""
    sources = assembly.Sources()
    parts = [look.parts(words, seed, sources) for seed in range(size)]
    stack = Stack([each.program for each in parts], [global_state(look.device)] * size)
    index = torch.arange(parts[0].plan.batch_size).to(look.device).expand(size, -1)
    return lambda: stack.step(index, [1e-3] * size)


def gains_of_settings(look: Look) -> None:
    """Measure what precision, compiling and the layout gain; on a CPU without compiling."""
    choices = gains.choices(look.device)
    if not look.on_cuda:
        choices = {name: words for name, words in choices.items() if "compiled" not in name}
    with kernels(deterministic=False):
        for model in gains.MODELS if look.on_cuda else list(gains.MODELS)[:1]:
            for line in gains.lines(look.settings, model, str(look.device), choices):
                look.lines.append(scaled(line, f"epoch, {model}: {line.what}"))


def epoch_of_mnist(look: Look) -> None:
    """Measure an epoch of MNIST against loops by hand and, on CUDA, the usual loaders."""
    root = look.settings.mnist()
    with torch_threads(1):
        samples, difference = epoch.measured(look.settings, root, look.device, loaders=look.on_cuda)
    for line in epoch.lines(samples):
        look.lines.append(scaled(line, f"epoch of MNIST: {line.what}"))
    look.lines.append(Line(f"  largest difference between weights of a and b: {difference:.1e}"))


def stacks_of_runs(look: Look) -> None:
    """Measure the command of a sweep as stacks, against run by run."""
    runs = stacks.RUNS if look.on_cuda else len(stacks.OPTIMIZERS)
    words = (*stacks.DIGITS, f"training.device={look.device}", *(() if look.on_cuda else ("training.epochs=2",)))
    for line in stacks.sweep_lines(look.settings, words, SWEEP if look.on_cuda else None, runs):
        look.lines.append(scaled(line, f"sweep of {runs} runs on digits, {line.what}"))


def scaled(line: Line, what: str) -> Line:
    """Return a line of a table in seconds as one in milliseconds, with another name."""
    samples = [MILLI * sample for sample in line.samples]
    return Line(what, samples, line.compared, line.figures, line.unit, line.target)


PARTS: dict[str, Callable[[Look], None]] = {
    "tests": tests,
    "steps": steps,
    "gains": gains_of_settings,
    "epoch": epoch_of_mnist,
    "stacks": stacks_of_runs,
}
