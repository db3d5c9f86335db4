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
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from experiments.folders.dashboard import addresses, crowded, has_old_runs
from experiments.folders.dashboard import main as dashboard
from experiments.folders.defaults import default_choices, differing
from experiments.folders.events import FILES, EventFile, records
from experiments.folders.hparams import METRICS, Hyperparameters, hparams_config, session
from experiments.observers._graph import free
from experiments.observers.histograms import BINS, histograms
from experiments.observers.layers import LINES, chart
from experiments.runs._tensorboard import hyperparameters, wait_for_next_second
from experiments.sweeps.jobs import combinations, domains
from tests.dashboards import Dashboard
from tests.helpers import NO_PICTURES, Commands, composed, metrics, run, run_folders, start, summary

CHOICES = default_choices()

LAYERS = ("features.hidden1.activation", "features.hidden2.activation", "head")
PARAMETERS = tuple(f"{layer}.{part}" for layer in ("features.hidden1.linear", "features.hidden2.linear", "head")
                   for part in ("weight", "bias"))  # fmt: skip
MODULES = {parameter.rpartition(".")[0] for parameter in PARAMETERS}


class Server:
    """A TensorBoard server over a folder, as a process of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            self.port = free.getsockname()[1]
        command = ["-m", "tensorboard.main", "--logdir", str(folder), "--host", "localhost", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def ask(self, question: str) -> Any:
        """Return the server's answer to an API call."""
        with urllib.request.urlopen(f"http://localhost:{self.port}/data/{question}", timeout=20) as answer:
            return json.load(answer)

    def wait_for(self, runs: int) -> dict[str, Any]:
        """Wait until the server has loaded this many folders with scalars, and return their tags."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                found: dict[str, Any] = self.ask("plugin/scalars/tags")
                if len(found) == runs:  # a sweep's own file has none
                    return found
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
            time.sleep(0.3)
        raise AssertionError("the dashboard did not load the runs")


@pytest.fixture
def start_server() -> Iterator[Callable[[Path], Server]]:
    """Starts servers, and ends them."""
    servers: list[Server] = []

    def started(folder: Path) -> Server:
        servers.append(Server(folder))
        return servers[-1]

    yield started
    for server in servers:
        server.process.kill()
        server.process.wait()


WORDS = ("training.epochs=3", "data.limit=120", "optimizer.lr=0.003", "optimizer.weight_decay=0.0")
MIXED: dict[str, str] = {
    "training.clip_norm": "null,1.0",
    "data.limit": "64,null",
    "init.bias": "0.0,torch",
    "model.batch_norm": "true,false",
    "training.early_stopping.patience": "2,null",
    "model.hidden": "[4],[4,5]",
    "optimizer.decay_exempt": "auto,[head]",
    "data.augment": "none,[crop_flip]",
    "optimizer.lr": "1e-3,1",
    "optimizer.lr_scale": "null,{head:2}",
    "seed": "0,7",
    "optimizer": "sgd,adam",
    "name": "one,two",
}
"""Settings with two values each: numbers, words, lists, mappings and null."""
TINY = ("training.epochs=1", "data.limit=64", "model.hidden=[4]")


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that belongs to no sweep."""
    folder = tmp_path_factory.mktemp("lone")
    outcome = run(folder, *WORDS)
    assert outcome.code == 0, outcome.err
    return run_folders(folder)[0]


@pytest.fixture(scope="module")
def shown(lone: Path) -> Dashboard:
    """TensorBoard as the command shows it that the run prints."""
    return Dashboard(lone)


@pytest.mark.slow
def test_time_series_opens_on_loss_and_accuracy_then_rates_and_speed(shown: Dashboard, lone: Path) -> None:
    assert shown.groups == ["curves", "epochs", "filters", "histograms", "layers", "pictures"]
    opened = {tag: runs for tag, runs in shown.tags.items() if tag.startswith(("curves/", "epochs/"))}
    assert opened == {
        "curves/accuracy": {".", "train"},
        "curves/loss": {".", "train"},
        "epochs/examples_per_second": {"."},
        "epochs/lr": {"."},
    }
    for tag in ("loss", "accuracy"):
        for split, folder in (("val", "."), ("train", "train")):
            points = shown.points(f"curves/{tag}", folder)
            assert points == [
                (int(row["epoch"]), pytest.approx(float(row[f"{split}/{tag}"]), rel=1e-6)) for row in metrics(lone)
            ]
    told = shown.ask("timeseries/tags")["scalars"]["tagDescriptions"]
    assert set(told) == {"curves/accuracy", "curves/loss"}
    assert "validation split" in told["curves/loss"]


@pytest.mark.slow
def test_layers_and_histograms_are_grouped_by_quantity(shown: Dashboard) -> None:
    of_layers = {tag.removeprefix("layers/") for tag in shown.tags if tag.startswith("layers/")}
    assert {"activation_std/head", "dead/features.hidden1.activation", "update_ratio/head.weight"} <= of_layers
    assert {tag.partition("/")[2] for tag in of_layers} == {*LAYERS, *PARAMETERS, "model"} | MODULES
    histograms = {tag for tag in shown.tags if tag.startswith("histograms/")}
    activations = {f"histograms/activations/{layer}" for layer in LAYERS}
    kinds = ("weights", "gradients")
    assert histograms == activations | {f"histograms/{kind}/{p}" for kind in kinds for p in PARAMETERS}
    drawn = shown.ask("histograms/histograms", run=".", tag="histograms/activations/head")
    assert [point[1] for point in drawn] == [0, 1, 2, 3], "before training, and after each epoch"


@pytest.mark.slow
def test_no_custom_chart_is_empty_and_its_lines_can_be_told_apart(shown: Dashboard) -> None:
    layout = charts(shown)
    assert list(layout) == ["curves", "layers"]
    assert list(layout["curves"]) == ["loss", "accuracy"]
    assert "saturated" not in layout["layers"], "no layer of this network can saturate"
    for category in layout.values():
        for title, patterns in category.items():
            matching = [tag for tag in shown.tags if any(re.match(pattern, tag) for pattern in patterns)]
            assert 0 < len(matching) <= LINES, title


def charts(shown: Dashboard) -> dict[str, dict[str, list[str]]]:
    """Return the charts of the Custom scalars tab."""
    layout = shown.ask("custom_scalars/layout")
    return {
        category["title"]: {one["title"]: one["multiline"]["tag"] for one in category["chart"]}
        for category in layout["category"]
    }


def test_a_chart_of_a_deep_network_shows_layers_from_the_first_to_the_last() -> None:
    title, patterns = chart("layers", "dead", [f"block{number}.act" for number in range(30)])
    assert title == "dead: 5 of 30 layers"
    assert patterns[0] == r"^layers/dead/block0\.act$"
    assert patterns[-1] == r"^layers/dead/block29\.act$"
    assert len(patterns) == LINES
    assert chart("layers", "dead", ["a", "b"]) == ("dead", ["^layers/dead/"])


@pytest.mark.slow
def test_texts_begin_with_the_verdicts_and_end_with_the_configuration(shown: Dashboard, lone: Path) -> None:
    (tags,) = shown.ask("text/tags").values()
    assert sorted(tags) == [f"{name}/text_summary" for name in ("1_verdicts", "2_overrides", "3_configuration")]
    verdicts, overrides, configuration = (shown.ask("text/text", run=".", tag=tag)[0]["text"] for tag in sorted(tags))
    assert summary(lone)["verdicts"][0]["name"] in verdicts
    assert all(word in overrides for word in WORDS)
    assert "experiments.initializers.xavier" in configuration


@pytest.mark.slow
def test_every_node_of_the_graph_has_a_name(shown: Dashboard) -> None:
    names = re.findall(r'^  name: "(.*)"', shown.text("graphs/graph", run="."), re.MULTILINE)
    assert names[0] == "input"
    assert names[-1] == "output"
    assert [name for name in names if name.startswith(("features/hidden1/", "head"))] == [
        "features/hidden1/linear", "features/hidden1/activation", "head",
    ]  # fmt: skip


def test_the_name_of_the_input_is_no_other_nodes_name() -> None:
    assert free("input", ["x", "head"]) == "input"
    assert free("input", ["input/linear", "input_"]) == "input__"


@pytest.mark.slow
def test_hparams_of_a_lone_run_show_what_differs_from_the_default_run(shown: Dashboard, lone: Path) -> None:
    assert sorted(shown.columns()) == ["data.limit", "optimizer.lr", "training.epochs"], "a decay of 0 is the default"
    (row,) = shown.rows(filtered=True)
    assert {name: row["hparams"][name] for name in shown.columns()} == {
        "data.limit": 120, "optimizer.lr": 0.003, "training.epochs": 3,
    }  # fmt: skip
    last = metrics(lone)[-1]
    assert list(shown.metrics(row)) == ["val/accuracy", "val/loss"]
    assert shown.metrics(row)["val/accuracy"] == pytest.approx(float(last["val/accuracy"]), rel=1e-6)


def test_hparams_of_the_default_run_show_its_main_choices(tmp_path: Path) -> None:
    config = composed()
    shown = written(tmp_path / "run", hyperparameters(config, CHOICES, [], validated=True))
    assert shown.columns() == ["data", "init", "model", "optimizer", "optimizer.lr"]
    (row,) = shown.rows(filtered=True)
    assert row["hparams"]["model"] == "mlp"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), {}),
        (("name=x", "training.threads=1", "observers.layers.every=2", "+data.root=x"), {}),
        (("optimizer.lr=0.002", "init=xavier_or_torch"), {}),
        (("optimizer=adam", "init=he"), {"optimizer": "adam", "init": "he"}),
        (("seed=3",), {"seed": 3}),
        (("optimizer=sgd",), {"optimizer": "sgd"}),
        (("optimizer=sgd", "optimizer.lr=0.5"), {"optimizer": "sgd", "optimizer.lr": 0.5}),
        (("training.clip_norm=2", "model.hidden=[7]"), {"training.clip_norm": 2, "model.hidden": [7]}),
        (("scheduler=cosine", "+optimizer.own=1"), {"scheduler": "cosine", "optimizer.own": 1}),
        (("training.ema=null", "training.early_stopping.patience=4"), {"training.early_stopping.patience": 4}),
    ],
    ids=" ".join,
)
def test_what_differs_from_the_default_run(overrides: tuple[str, ...], expected: dict[str, Any]) -> None:
    chosen = {key: value for key, _, value in (word.partition("=") for word in overrides) if key in CHOICES}
    assert differing(composed(*overrides), {**CHOICES, **chosen}, overrides) == expected


def test_what_was_typed_is_shown_first() -> None:
    words = ("training.batch_size=16", "data.limit=9")
    assert list(differing(composed(*words), CHOICES, words)) == ["training.batch_size", "data.limit"]


def test_a_choice_of_ones_own_is_one_setting_and_what_was_typed_of_it() -> None:
    config = composed("optimizer.lr=0.7")
    found = differing(config, {**CHOICES, "optimizer": "mine"}, ["optimizer=mine", "optimizer.lr=0.7"])
    assert found == {"optimizer": "mine", "optimizer.lr": 0.7}


@pytest.mark.slow
@pytest.mark.parametrize("key", MIXED)
def test_a_sweep_and_its_runs_give_the_values_of_a_setting_in_the_same_type(tmp_path: Path, key: str) -> None:
    overrides = OverridesParser.create().parse_overrides([f"{key}={MIXED[key]}"])
    hparams_config(tmp_path, domains(overrides), {"training.epochs": 3})
    (tmp_path / "sweep.yaml").touch()
    words = [words for (words,) in combinations(overrides)]
    for number, word in enumerate(words):
        choices = {**CHOICES, **({key: word.partition("=")[2]} if key in CHOICES else {})}
        described = hyperparameters(composed(word, "training.epochs=3"), choices, [word], validated=True)
        written(tmp_path / f"{number}_run", described)
    shown = Dashboard(tmp_path)
    assert shown.columns() == [key, "training.epochs"], "what is swept comes first"
    rows = shown.rows(filtered=True)
    assert len(rows) == len(shown.rows()) == len(words) == 2
    values = [row["hparams"][key] for row in rows]
    assert len({type(value) for value in values}) == 1
    assert values[0] != values[1]
    assert all(row["hparams"]["training.epochs"] == 3 for row in rows)


def written(folder: Path, described: Hyperparameters) -> Dashboard:
    """Write what a run writes for the HParams tab, and open TensorBoard on the folder above, or on a lone run."""
    folder.mkdir(parents=True)
    file = EventFile(folder)
    for one in session(folder, described):
        file.write(Event(summary=one))
    return Dashboard(folder)


def test_a_dashboard_of_many_runs_has_the_columns_of_all(tmp_path: Path) -> None:
    lone = {
        "b": ("optimizer.lr=0.1", "training.clip_norm=1.0"),
        "c": ("training.clip_norm=2.0",),
        "a": (),
    }
    for name, words in lone.items():
        written(tmp_path / name / "run", hyperparameters(composed(*words), CHOICES, words, validated=True))
    overrides = OverridesParser.create().parse_overrides(["seed=1,2", "training.clip_norm=null,3"])
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    (sweep / "sweep.yaml").touch()
    hparams_config(sweep, domains(overrides), {"data.limit": 9})
    for number, typed in enumerate(combinations(overrides)):
        words = (*typed, "data.limit=9")
        written(sweep / f"{number:02d}", hyperparameters(composed(*words), CHOICES, words, validated=True))
    shown = Dashboard(tmp_path, many=True)
    infos = {info["name"]: info for info in shown.experiment()["hparamInfos"]}
    assert {name for name, info in infos.items() if info["differs"]} == {
        "data.limit", "optimizer.lr", "seed", "training.clip_norm",
    }  # fmt: skip
    assert {"model", "init"} <= infos.keys(), "of the default run"
    assert infos["optimizer.lr"]["domainDiscrete"] == [0.002, 0.1]
    assert infos["training.clip_norm"]["domainDiscrete"] == [1.0, 2.0, "3", "null"]
    assert len(shown.rows()) == 7
    assert len(shown.rows(filtered=True, missing=True)) == 7, "all values ticked are no restriction"
    assert [metric["displayName"] for metric in shown.experiment()["metricInfos"]] == list(METRICS)


def test_the_metrics_of_earlier_versions_have_columns_of_their_own(tmp_path: Path) -> None:
    described = hyperparameters(composed(), CHOICES, [], validated=True)
    written(tmp_path / "new", described)
    (tmp_path / "old").mkdir()
    EventFile(tmp_path / "old").write(Event(summary=session(tmp_path / "old", described)[-1]))  # declares nothing
    titles = [metric["displayName"] for metric in Dashboard(tmp_path, many=True).experiment()["metricInfos"]]
    assert titles[:2] == ["val/accuracy", "val/loss"]
    assert titles[2:] == [f"{name} (earlier version)" for name in METRICS]


def test_addresses_open_on_what_matters() -> None:
    shown = dict(addresses("http://localhost:1", old=False))
    assert shown["all curves"] == "http://localhost:1/?smoothing=0"
    (wanted,) = parse_qs(urlsplit(shown["validation curves"]).query)["runFilter"]
    names = ("train/2026_1", "train/2026_1/train", "sweep/00_seed=1", "sweep/00_seed=1/train", "train")
    assert [name for name in names if re.search(wanted, name)] == ["train/2026_1", "sweep/00_seed=1"]
    (pins,) = parse_qs(urlsplit(dict(addresses("http://localhost:1", old=True))["all curves"]).query)["pinnedCards"]
    assert [card["tag"] for card in json.loads(pins)] == ["curves/accuracy", "curves/loss", "val/accuracy", "val/loss"]


def test_too_many_lines_are_announced() -> None:
    assert crowded(40) is None
    for lines in (41, 500):
        assert crowded(lines) == (
            "If a tab is empty, tick some runs in its list on the left: with this many runs no box is ticked at first. "
            "The field above the list finds runs by a part of their names, such as seed=0"
        )
    assert (crowded(2014) or "").startswith("TensorBoard draws none of 2,014 lines at first: tick some in the list")


def test_runs_of_earlier_versions_are_found_by_their_texts(tmp_path: Path) -> None:
    for name, tag in (("new", "3_configuration"), ("old", "configuration")):
        EventFile(tmp_path / name).folder.mkdir()
        file = EventFile(tmp_path / name)
        file.write(Event(summary=Summary(value=[Summary.Value(tag=f"{tag}/text_summary")])))
        assert has_old_runs(list(tmp_path.rglob(FILES))) == (name == "old")
    (tmp_path / "old" / "events.out.tfevents.1.broken").write_bytes(b"x" * 100)
    assert has_old_runs(list(tmp_path.rglob(FILES)))


def test_without_runs_the_dashboard_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dashboard(["--logdir", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == (
        f"there are no runs yet: {tmp_path / 'none'} is not a folder; make train trains one\n"
    )


@pytest.mark.slow
def test_a_sweep_is_one_trial_per_run_and_shows_what_is_swept_first(
    commands: Commands, start_server: Callable[[Path], Server]
) -> None:
    """The real server reads the files with another program than the one in this process."""
    swept = ("optimizer=sgd,adam", "training.clip_norm=null,1.0")
    assert commands.train("-m", *TINY, NO_PICTURES, *swept).code == 0
    (sweep,) = (path.parent for path in commands.folder.glob("outputs/*/*/sweep.yaml"))
    runs = {path.name for path in sweep.iterdir() if path.is_dir()}
    dashboard = Dashboard(sweep)
    assert dashboard.columns() == ["optimizer", "training.clip_norm", "data.limit", "model.hidden", "training.epochs"]
    rows = dashboard.rows(filtered=True)
    assert {(row["hparams"]["optimizer"], row["hparams"]["training.clip_norm"]) for row in rows} == {
        (optimizer, norm) for optimizer in ("sgd", "adam") for norm in ("null", "1.0")
    }
    assert [row["name"] for row in rows] == [f"{name} ({sweep.name})" for name in sorted(runs)]
    assert list(dashboard.metrics(rows[0])) == ["val/accuracy", "val/loss", "train/accuracy", "train/loss"]
    names = start_server(sweep).wait_for(2 * len(runs))
    assert set(names) == runs | {f"{name}/train" for name in runs}, "nothing but the runs and their training curves"
    assert set(names[f"{min(runs)}/train"]) == {"curves/accuracy", "curves/loss"}


@pytest.mark.slow
def test_without_a_validation_split_the_runs_own_line_is_the_training_split(commands: Commands) -> None:
    shown = Dashboard(commands.trained(*TINY, NO_PICTURES, "data.val_fraction=0"))
    assert shown.tags["curves/loss"] == {"."}
    (row,) = shown.rows(filtered=True)
    assert set(shown.metrics(row)) == {"train/accuracy", "train/loss"}


@pytest.mark.slow
def test_epochs_written_after_the_checkpoint_are_not_shown_twice(commands: Commands) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    killed = start(commands.folder, "training.epochs=4", "data.limit=64", prelude=KILL_AFTER_EVENTS)
    killed.communicate(timeout=120)
    assert killed.returncode == -9
    (folder,) = commands.folder.glob("outputs/*/*")
    assert commands.train(f"resume={folder}").code == 0
    for part in (folder, folder / "train"):
        shown = EventAccumulator(str(part), size_guidance={"scalars": 0, "histograms": 0})
        shown.Reload()
        assert [event.step for event in shown.Scalars("curves/loss")] == [1, 2, 3, 4]
        if part == folder:
            assert [event.step for event in shown.Histograms("histograms/weights/head.weight")] == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_a_new_event_file_has_a_later_name_than_those_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    created = int(time.time())
    (tmp_path / f"events.out.tfevents.{created:010d}.host.1.0").touch()
    wait_for_next_second(tmp_path)
    assert int(time.time()) > created
    (tmp_path / "train" / f"events.out.tfevents.{created + 1000:010d}.host.1.0").touch()
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


def test_histograms_of_constants_and_of_values_that_are_not_finite() -> None:
    flat, broken, infinite = histograms([torch.zeros(9), torch.tensor([1.0, torch.nan]), torch.tensor([torch.inf])])
    assert flat[:3].tolist() == [-0.5, 0.5, 9]
    assert flat[5:].sum() == 9
    assert broken[:2].isnan().all()
    assert infinite[:2].isnan().all()


def test_events_that_are_kept_are_appended_by_one_flush(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "train")
    for step in (1, 2):
        file.add(Event(step=step, summary=Summary(value=[Summary.Value(tag="loss", simple_value=step)])))
    assert not list(tmp_path.rglob(FILES))
    file.flush()
    file.flush()
    (path,) = tmp_path.rglob(FILES)
    kept = [Event.FromString(record) for record in records(path)]
    assert [(event.step, event.file_version) for event in kept] == [(1, "brain.Event:2"), (1, ""), (2, "")]
    assert 0 < kept[1].wall_time <= kept[2].wall_time
