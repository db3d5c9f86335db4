"""What precision, compiling and the layout of pictures gain, against the plain run."""

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from experiments.cli.overrides import quoted
from experiments.training.device import cores

from .measure import Settings, interleaved, ratios, timed
from .project import Project
from .report import Line, tabulated

EXAMPLES = 2048
PLAIN = "fp32"
CHOICES = {
    PLAIN: (),
    "bf16": ("training.precision=bf16",),
    "fp16": ("training.precision=fp16",),
    "channels last": ("training.channels_last=true",),
    "compiled": ("training.compile=true",),
    "bf16, channels last, compiled": (
        "training.precision=bf16",
        "training.channels_last=true",
        "training.compile=true",
    ),
}
WITH_GRAPHS = {"compiled, CUDA graphs": ("training.compile=reduce-overhead",)}
MODELS = {
    "MLP 3072-100-100-10": ("model=mlp",),
    "CNN 32-64-128 with BatchNorm": ("model=cnn", "model.stages=[[32],[64],[128]]", "model.batch_norm=true"),
}
ROUNDS = 8


def run(settings: Settings, console: Console) -> None:
    """Print the tables."""
    console.print(f"An epoch of {EXAMPLES:,} pictures of 3 x 32 x 32 with validation, batch 128; without the first one")
    places = [("cpu", cores())] + [("cuda:0", 1)] * torch.cuda.is_available()
    before = torch.get_num_threads()
    for device, threads in places:
        torch.set_num_threads(threads)
        try:
            for model in MODELS:
                compare(settings, model, device, console)
        finally:
            torch.set_num_threads(before)


def compare(settings: Settings, model: str, device: str, console: Console) -> None:
    """Measure all choices for one model on one device, and print the table."""
    console.print(f"\n[bold]{model}, {device}[/bold]")
    console.print(tabulated("s", lines(settings, model, device, choices(torch.device(device)))))


def choices(device: torch.device) -> dict[str, tuple[str, ...]]:
    """Return the settings to measure on a device, by name."""
    return {**CHOICES, **(WITH_GRAPHS if device.type == "cuda" else {})}


def lines(settings: Settings, model: str, device: str, choices: Mapping[str, tuple[str, ...]]) -> list[Line]:
    """Measure some choices for one model on one device."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        common = (
            "data=npz",
            f"data.path={quoted(pictures(folder))}",
            f"training.device={device}",
            "training.batch_size=128",
            *MODELS[model],
        )
        actions = {}
        for number, (name, choice) in enumerate(choices.items()):
            project = stack.enter_context(Project([*common, *choice], folder / str(number), watched=["metrics"]))
            project.epoch()  # compiles
            actions[name] = timed(project.epoch)
        samples = interleaved(actions, dict.fromkeys(actions, settings.repeats(ROUNDS)))
    others = [name for name in choices if name != PLAIN]
    compared = [Line(name, samples[name], f"{PLAIN} / this", ratios(samples, PLAIN, name)) for name in others]
    return [Line(PLAIN, samples[PLAIN]), *compared]


def pictures(folder: Path) -> Path:
    """Write pictures of noise in which each class is a little brighter."""
    draw = np.random.default_rng(0)
    y = np.arange(EXAMPLES) % 10
    x = draw.integers(0, 200, (EXAMPLES, 32, 32, 3), dtype=np.uint8) + (5 * y).astype(np.uint8)[:, None, None, None]
    path = folder / "pictures.npz"
    if not path.exists():
        np.savez(path, x_train=x, y_train=y, x_test=x[:100], y_test=y[:100])
    return path
