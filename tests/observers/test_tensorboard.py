"""The dashboard: what the real TensorBoard server shows of a run."""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.observers.histograms import BINS, histograms
from experiments.runs._tensorboard import wait_for_next_second
from tests.helpers import Commands, metrics, start

LAYERS = ("features.hidden1.activation", "features.hidden2.activation", "head")
PARAMETERS = tuple(f"{layer}.{part}" for layer in ("features.hidden1.linear", "features.hidden2.linear", "head")
                   for part in ("weight", "bias"))  # fmt: skip
MODULES = {parameter.rpartition(".")[0] for parameter in PARAMETERS}


class Dashboard:
    """A TensorBoard server over a folder."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            self.port = free.getsockname()[1]
        command = ["-m", "tensorboard.main", "--logdir", "outputs", "--host", "localhost", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def ask(self, question: str, body: dict[str, Any] | None = None) -> Any:
        """Return the server's answer to an API call."""
        data = json.dumps(body).encode() if body is not None else None
        url = f"http://localhost:{self.port}/data/{question}"
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=20) as answer:
            return json.load(answer)

    def wait_for(self, runs: int) -> list[str]:
        """Wait until the server has loaded so many runs, and return their names."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                found = list(self.ask("plugin/scalars/tags"))
                if len(found) == runs:  # a sweep's own file has none
                    return found
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
            time.sleep(0.3)
        raise AssertionError("the dashboard did not load the runs")


@pytest.fixture
def show(tmp_path: Path) -> Iterator[Callable[[], Dashboard]]:
    """Starts a server over the test's outputs."""
    servers: list[Dashboard] = []

    def started() -> Dashboard:
        servers.append(Dashboard(tmp_path))
        return servers[-1]

    yield started
    for server in servers:
        server.process.kill()
        server.process.wait()


@pytest.mark.slow
def test_the_real_server_shows_a_run(commands: Commands, show: Callable[[], Dashboard]) -> None:
    folder = commands.trained("training.epochs=3", "model.batch_norm=false")
    dashboard = show()
    (name,) = dashboard.wait_for(1)
    assert name == str(folder.relative_to(commands.folder / "outputs"))

    scalars = dashboard.ask("plugin/scalars/tags")[name]
    expected = {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr", "examples_per_second"}
    of_layers = {tag for tag in scalars if tag.partition("/")[2] in {*LAYERS, *PARAMETERS, "model"} | MODULES}
    assert set(scalars) == expected | of_layers
    assert {"activation_std/head", "dead/features.hidden1.activation", "update_ratio/head.weight"} <= of_layers
    shown = dashboard.ask(f"plugin/scalars/scalars?run={name}&tag=val/loss")
    assert [point[1] for point in shown] == [1, 2, 3]
    assert [point[2] for point in shown] == pytest.approx([float(row["val/loss"]) for row in metrics(folder)])

    tags = dashboard.ask("plugin/histograms/tags")[name]
    activations = {f"activations/{layer}" for layer in LAYERS}
    assert set(tags) == activations | {f"{kind}/{p}" for kind in ("weights", "gradients") for p in PARAMETERS}
    drawn = dashboard.ask(f"plugin/histograms/histograms?run={name}&tag=activations/head")
    assert [point[1] for point in drawn] == [0, 1, 2, 3], "before training, and after each epoch"

    layout = dashboard.ask("plugin/custom_scalars/layout")
    charts, layers = (
        {chart["title"]: chart["multiline"]["tag"] for chart in category["chart"]} for category in layout["category"]
    )
    assert all(any(re.search(pattern, tag) for tag in of_layers) for pattern in layers["update_ratio"])
    assert charts == {"loss": ["train/loss", "val/loss"], "accuracy": ["train/accuracy", "val/accuracy"]}

    text = dashboard.ask(f"plugin/text/text?run={name}&tag=configuration/text_summary")
    assert "experiments.initializers.he" in text[0]["text"]

    url = f"http://localhost:{dashboard.port}/data/plugin/graphs/graph?run={name}"
    graph = urllib.request.urlopen(url, timeout=20).read().decode()
    assert re.findall(r'name: "(features/hidden1/[a-z]+|head)"', graph) == [
        "features/hidden1/linear", "features/hidden1/activation", "head",
    ]  # fmt: skip

    experiment = dashboard.ask("plugin/hparams/experiment", {"experimentName": ""})
    assert {info["name"] for info in experiment["hparamInfos"]} >= {"optimizer", "optimizer.lr", "init", "seed"}


@pytest.mark.slow
def test_a_sweep_is_one_trial_a_run(commands: Commands, show: Callable[[], Dashboard]) -> None:
    assert commands.train("-m", "training.epochs=1", "data.limit=64", "optimizer=sgd,adam").code == 0
    dashboard = show()
    names = dashboard.wait_for(2)
    assert len(names) == 2, "no runs beside the real ones"
    question = {
        "experimentName": "",
        "colParams": [],
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_RUNNING"],
        "startIndex": 0,
        "sliceSize": 10,
    }
    groups = dashboard.ask("plugin/hparams/session_groups", question)["sessionGroups"]
    assert {group["hparams"]["optimizer"] for group in groups} == {"sgd", "adam"}


@pytest.mark.slow
def test_epochs_written_after_the_checkpoint_are_not_shown_twice(commands: Commands) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    killed = start(commands.folder, "training.epochs=4", "data.limit=64", prelude=KILL_AFTER_EVENTS)
    killed.communicate(timeout=120)
    assert killed.returncode == -9
    (folder,) = commands.folder.glob("outputs/*/*")
    assert commands.train(f"resume={folder}").code == 0
    shown = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0})
    shown.Reload()
    assert [event.step for event in shown.Scalars("train/loss")] == [1, 2, 3, 4]
    assert [event.step for event in shown.Histograms("weights/head.weight")] == [0, 1, 2, 3, 4]


def test_a_new_event_file_has_a_later_name_than_those_that_are_there(tmp_path: Path) -> None:
    created = int(time.time())
    (tmp_path / f"events.out.tfevents.{created:010d}.host.1.0").touch()
    wait_for_next_second(tmp_path)
    assert int(time.time()) > created
    (tmp_path / f"events.out.tfevents.{created + 1000:010d}.host.1.0").touch()
    started = time.monotonic()
    wait_for_next_second(tmp_path)  # a clock that was wrong does not stop the run
    assert time.monotonic() - started < 5


KILL_AFTER_EVENTS = """
import os, signal
import experiments.training.engine as engine
real, count = engine.save, 0
def save(*args):
    global count
    count += 1
    if count == 4:
        import time; time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    real(*args)
engine.save = save
"""


@pytest.mark.parametrize("shape", [(1000,), (7, 13), (3,)])
def test_histograms_agree_with_numpy(shape: tuple[int, ...]) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    low, high, count, total, squares, *counts = histograms([values])[0].tolist()
    expected, edges = np.histogram(values.double().numpy(), BINS)
    assert (low, high) == (edges[0], edges[-1])
    assert count == values.numel() == sum(counts)
    assert np.abs(np.cumsum(counts) - np.cumsum(expected)).max() <= 1  # an edge may fall either way
    assert total == pytest.approx(values.double().sum().item(), rel=1e-4)
    assert squares == pytest.approx(values.double().square().sum().item(), rel=1e-4)


def test_histograms_of_constants_and_of_what_is_not_finite() -> None:
    flat, broken, infinite = histograms([torch.zeros(9), torch.tensor([1.0, torch.nan]), torch.tensor([torch.inf])])
    assert flat[:3].tolist() == [-0.5, 0.5, 9]
    assert flat[5:].sum() == 9
    assert broken[:2].isnan().all()
    assert infinite[:2].isnan().all()
