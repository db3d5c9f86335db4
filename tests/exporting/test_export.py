"""Exported programs give the run's own probabilities for raw examples, without this package."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from experiments.assembly._datasets import Splitting, loaded
from experiments.assembly.targets import divided
from experiments.common.installing import install_command
from experiments.data.forms import Column, TableForm, features_of
from experiments.evaluation.loading import Restored, load
from experiments.train import main
from tests.helpers import Commands, own_model, start, summary, thinned

OTHERS = [
    f"observers.{name}.enabled=false"
    for name in ("pictures", "regions", "layers", "histograms", "tensorboard", "progress")
]
SMALL = ("training.epochs=2", "data.limit=200", *OTHERS)
RUNS = {
    "mlp": ("model.hidden=[20,20]", "model.batch_norm=true", "model.dropout=0.3", "training.ema=0.9"),
    "cnn": ("model=cnn", "model.batch_norm=true", "training.channels_last=true"),
    "zca": ("data.preprocess=zca", "model=cnn", "training.precision=fp64"),
    "csv": ("data=csv", "data.path=own.csv", "data.target=kind", "data.missing=mean", "data.limit=null"),
    "bf16": ("training.precision=bf16", "model.hidden=[20]", "optimizer.lr=0.01"),
}


def write_colours(path: Path) -> None:
    """Write a table with texts and gaps."""
    draw = np.random.default_rng(0)
    lines = ["width,colour,height,kind"]
    for number in range(160):
        kind, width = number % 2, draw.normal(300 * (number % 2), 200)
        shown = "" if number % 7 == 3 else f"{width:.3f}"
        lines.append(
            f"{shown},{'' if number % 11 == 5 else 'red' if width > 100 else 'blue'},{draw.normal():.4f},{kind}"
        )
    path.write_text("\n".join(lines) + "\n")


def raw(run: Restored) -> torch.Tensor:
    """Return the raw examples of the test split."""
    _, own = divided(run.config["data"], Splitting)
    return loaded(own, run.description.form).x_test


def used(folder: Path, name: str, batches: Sequence[Any]) -> list[np.ndarray]:
    """Run the code in `model.json`, in the folder of the programs."""
    *before, call = json.loads((folder / "model.json").read_text())["programs"][name]["use"]
    names: dict[str, Any] = {}
    exec("\n".join(before).replace(f"'{name}'", repr(str(folder / name))), names)
    found = []
    for names["examples"] in batches:
        exec(call, names)
        found.append(np.asarray(names["probabilities"]))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", thinned(RUNS))
def test_both_programs_give_the_runs_own_probabilities(commands: Commands, kind: str) -> None:
    write_colours(commands.folder / "own.csv")
    folder = commands.trained(*SMALL, *RUNS[kind])
    outcome = commands.type("export", f"run={folder}")
    assert (outcome.code, outcome.err) == (0, "")

    run = load(folder, device="cpu")
    x = raw(run)
    if kind == "csv":
        assert x.isnan().any(), "gaps are filled inside"
    if kind == "bf16":
        own = run.probabilities(x)
        run = load(folder, device="cpu")
        run.config["training"]["precision"] = "fp32"
        assert 1e-4 < (run.probabilities(x) - own).abs().max() < 0.1
        assert "precision   fp32; the run computes in bf16, and differs by up to 0.0" in outcome.out
        assert outcome.out.count("differs from its model in fp32 by") == 2
    else:
        assert "precision" not in outcome.out
    expected = run.probabilities(x).numpy()
    found = json.loads((folder / "export" / "model.json").read_text())
    assert found["epoch"] == summary(folder)["best_epoch"]
    assert found["classes"] == run.classes
    assert found["input"]["type"] == str(x.dtype).removeprefix("torch.") == ("float32" if kind == "csv" else "uint8")
    assert found["input"]["shape"] == ["batch", *x.shape[1:]]
    assert found["output"]["shape"] == ["batch", len(run.classes)]
    assert ("features" in found["input"]) == (kind == "csv")
    if kind == "csv":
        assert len(found["input"]["features"]) == x.shape[1]
    trained_in = {"bf16": "bf16", "zca": "fp64"}.get(kind, "fp32")
    assert found["precision"] == {"of the programs": "fp32", "of the run": trained_in}
    for name, examples in (("model.pt2", x), ("model.onnx", x.numpy())):
        assert found["programs"][name]["difference"] < 1e-5
        parts = (slice(None), slice(0, 1), slice(3, 10))
        for part, given in zip(parts, used(folder / "export", name, [examples[part] for part in parts]), strict=True):
            assert given.dtype == np.float32
            np.testing.assert_allclose(given, expected[part], rtol=0, atol=1e-5)
        content = (folder / "export" / name).read_bytes()
        assert not [word for word in (b"site-packages", b"experiments/", b".py") if word in content], "no path of ours"


def test_the_features_of_a_table_are_described_in_their_order() -> None:
    columns = (
        Column("colour", "texts", ("blue", "red")),
        Column("price", "amounts", affix="$"),
        Column("born", "dates"),
        Column("seen", "truths"),
        Column("age"),
    )
    assert [tuple(feature.values()) for feature in features_of(TableForm("ill", columns))] == [
        ("colour", "1 for 'blue', 0 for other texts"),
        ("colour", "1 for 'red', 0 for other texts"),
        ("price", "the number without '$'"),
        ("born", "days since 1970-01-01"),
        ("seen", "1 for true, 0 for false"),
        ("age", "the number"),
    ]


@pytest.fixture(scope="module")
def plane_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run of points in a plane, to be exported."""
    folder = tmp_path_factory.mktemp("plane_run")
    command = ["data=moons", "data.examples=100", "model.hidden=[4]", *SMALL[:1], *OTHERS, "hydra.run.dir=run"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["train", *command])
        main()
    return folder / "run"


@pytest.mark.slow
def test_a_real_process_prints_these_lines_and_nothing_else(plane_run: Path) -> None:
    process = start(plane_run.parent, "run=run", verb="export")
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    shown = [line.split() for line in out.splitlines()]
    assert [line[0] for line in shown] == ["run,", "in", "out", "model.pt2", "model.onnx", "written"]
    assert out.splitlines()[1:3] == [
        "in          raw examples, float32, batch x 2",
        "out         probabilities, float32, batch x 2 classes",
    ]
    assert float(shown[3][6]) < 1e-5
    assert shown[5] == ["written", "run/export"]
    assert onnxruntime.InferenceSession(plane_run / "export" / "model.onnx").get_inputs()[0].shape == ["batch", 2]


def test_without_the_extra_the_torch_program_is_written(
    commands: Commands, plane_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    (plane_run / "export").mkdir(exist_ok=True)
    (plane_run / "export" / "model.onnx").write_bytes(b"of another time")
    outcome = commands.type("export", f"run={plane_run}")
    assert (outcome.code, outcome.err) == (0, "")
    command = install_command("onnx")
    assert f"\nmodel.onnx  left out: it needs onnxscript; install the extra with: {command}\n" in outcome.out
    assert {path.name for path in (plane_run / "export").iterdir()} == {"model.pt2", "model.json"}
    outcome = commands.type("export", f"run={plane_run}", "format=onnx")
    assert outcome.code == 2
    assert outcome.err == f"Error: format=onnx needs onnxscript; install the extra with: {command}\n"


class Restless(torch.nn.Linear):
    """A model that draws random numbers in evaluation mode."""

    def __init__(self, classes: int) -> None:
        super().__init__(2, classes)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.nn.functional.dropout(input, 0.5, training=True))


class Undecided(torch.nn.Linear):
    """A model whose path depends on the numbers."""

    def __init__(self, classes: int) -> None:
        super().__init__(2, classes)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input if input.sum() > 0 else -input)


class Selective(torch.nn.Linear):
    """A model with an operation that ONNX does not have."""

    def __init__(self, classes: int) -> None:
        super().__init__(2, classes)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.special.bessel_j0(input))


REFUSED = {
    "Restless": (
        "model.pt2 is not written, because its probabilities differ from the run's by up to 0.",
        set(),
    ),
    "Undecided": ("cannot be exported; error of torch.export: ", set()),
    "Selective": ("cannot be written as ONNX: ", {"model.pt2", "model.json"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", REFUSED)
def test_models_that_cannot_be_exported_are_refused_in_one_sentence(commands: Commands, kind: str) -> None:
    message, written = REFUSED[kind]
    mine = own_model(commands.folder, f"tests.exporting.test_export.{kind}")
    folder = commands.trained(*mine, "data=moons", "data.limit=64", SMALL[0], *OTHERS)
    outcome = commands.type("export", f"run={folder}")
    assert outcome.code == 2
    assert "names code from outside this package; if you trust it, add trust=tests" in outcome.err
    outcome = commands.type("export", f"run={folder}", "trust=tests")
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert {path.name for path in (folder / "export").glob("*")} == written


def test_a_folder_that_leads_elsewhere_is_refused(commands: Commands, plane_run: Path) -> None:
    (commands.folder / "elsewhere").mkdir()
    strange = commands.folder / "strange"
    strange.mkdir()
    for name in (".hydra", "checkpoints", "data.json"):
        (strange / name).symlink_to(plane_run / name)
    (strange / "export").symlink_to(commands.folder / "elsewhere")
    outcome = commands.type("export", f"run={strange}", "format=torch")
    assert outcome.code == 2
    assert "strange/export' is a link, which may lead anywhere" in outcome.err
    assert not list((commands.folder / "elsewhere").iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("format=onxx",), "format='onxx' should be 'torch' or 'onnx'"),
        (("split=test",), "unknown option 'split' of export; choose from format, best, strict, trust"),
        (("best=0",), "best=0 should be greater than or equal to 1"),
    ],
)
def test_wrong_options_are_refused(commands: Commands, plane_run: Path, words: tuple[str, ...], message: str) -> None:
    outcome = commands.type("export", f"run={plane_run}", *words)
    assert outcome.code == 2
    assert outcome.err.startswith(f"Error: {message}"), outcome.err


@pytest.mark.slow
def test_the_best_of_a_sweep_is_exported(commands: Commands) -> None:
    small = ("data=moons", "data.examples=60", "model.hidden=[4]", *SMALL[:1], *OTHERS)
    assert commands.train("-m", *small, "seed=1,2").code == 0
    (sweep,) = (commands.folder / "outputs" / "train").iterdir()
    assert commands.type("export", str(sweep), "best=1", "format=torch").code == 0
    (made,) = sweep.glob("*/export")
    scores = {folder.parent: summary(folder.parent)["metrics"]["val/accuracy"] for folder in sweep.glob("*/.hydra")}
    assert scores[made.parent] == max(scores.values())
    assert {path.name for path in made.iterdir()} == {"model.pt2", "model.json"}
