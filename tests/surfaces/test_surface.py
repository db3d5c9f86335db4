"""`python -m experiments.surface`: paths that agree with the textbook's loops, and measures of them."""

import csv
import json
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image

from experiments import schedules
from experiments.figures.palette import COLORS, drawing
from experiments.surfaces import contours, descent, functions
from experiments.surfaces.contours import NamedPath
from tests.helpers import CONF, Commands

LESSON = ("-m", "optimizer=sgd,momentum,adagrad,adam")
NAMES = sorted(path.stem for path in (CONF / "surface").glob("*.yaml"))
OWN = """
import torch
def himmelblau(x, y, c=11.0):
    return (x**2 + y - c) ** 2 + (x + y**2 - 7) ** 2
def summed(x, y):
    return (x * y).sum()
def flat(x, y):
    return (x * y).detach()
def logarithm(x, y):
    return torch.log(x + y)
def three(x, y, z):
    return x + y + z
def broken(x, y):
    raise KeyError("my own fault")
"""


def configured(name: str) -> dict[str, Any]:
    """A surface's file."""
    return yaml.safe_load((CONF / "surface" / f"{name}.yaml").read_text())


def function(name: str) -> Callable[..., torch.Tensor]:
    """The function of that name."""
    return getattr(functions, name)


def shown(commands: Commands, *words: str) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any], Path]:
    """Run the verb; return each optimizer's rows of path.csv as numbers, its measures, and the folder."""
    before = set(commands.folder.glob("outputs/surface/*"))
    outcome = commands.type("surface", *words)
    assert outcome.code == 0, outcome.err
    (folder,) = set(commands.folder.glob("outputs/surface/*")) - before
    return (*read(folder), folder)


def read(folder: Path) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
    """Return what path.csv and surface.json hold, by optimizer."""
    paths: dict[str, list[list[float]]] = {}
    with (folder / "path.csv").open() as file:
        for name, *numbers in list(csv.reader(file))[1:]:
            paths.setdefault(name, []).append([float(number or "nan") for number in numbers])
    measures = {entry["optimizer"]: entry for entry in json.loads((folder / "surface.json").read_text())["paths"]}
    return {name: np.array(rows) for name, rows in paths.items()}, measures


def slope(point: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gradient of x^2 / 20 + y^2."""
    return np.array([point[0] / 10, 2 * point[1]])


def by_the_book() -> dict[str, NDArray[np.float64]]:
    """The four loops of 'Deep Learning from Scratch', 6.1: `common/optimizer.py`, with the rates of 6.1.7.

    Two numbers that keep AdaGrad and Adam from dividing by 0 are torch's: 1e-10 for 1e-7, and 1e-8 beside the corrected
    root, where the book has 1e-7 beside the uncorrected one.
    """
    paths = {}
    for name in ("sgd", "momentum", "adagrad", "adam"):
        point, path = np.array([-7.0, 2.0]), [np.array([-7.0, 2.0])]
        v, h, m = np.zeros(2), np.zeros(2), np.zeros(2)
        for step in range(1, 31):
            g = slope(point)
            if name == "sgd":
                point = point - 0.95 * g
            elif name == "momentum":
                v = 0.9 * v - 0.1 * g
                point = point + v
            elif name == "adagrad":
                h = h + g * g
                point = point - 1.5 * g / (np.sqrt(h) + 1e-10)
            else:
                first, second = 1 - 0.9**step, np.sqrt(1 - 0.999**step)
                m = m + (1 - 0.9) * (g - m)
                v = v + (1 - 0.999) * (g**2 - v)
                point = point - 0.3 * second / first * m / (np.sqrt(v) + 1e-8 * second)
            path.append(point)
        paths[name] = np.array(path)
    return paths


@pytest.mark.slow
def test_the_lesson_of_the_book(commands: Commands) -> None:
    paths, measures, folder = shown(commands, *LESSON)
    for name, expected in by_the_book().items():
        np.testing.assert_allclose(paths[name][:, 1:3], expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(paths[name][:, 3], expected[:, 0] ** 2 / 20 + expected[:, 1] ** 2, rtol=1e-12)
        rate = {"sgd": 0.95, "momentum": 0.1, "adagrad": 1.5, "adam": 0.3}[name]
        assert paths[name][1:, 4].tolist() == [rate] * 30
    zigzag = {name: found["zigzag"] for name, found in measures.items()}
    assert zigzag["sgd"] == 1.0, "every update turns back across the valley"
    assert max(zigzag["momentum"], zigzag["adam"], zigzag["adagrad"]) < 0.2
    for key in ("turning_angle", "tortuosity"):
        assert measures["sgd"][key] > 3 * max(measures[name][key] for name in ("momentum", "adam", "adagrad")), key
    pixels = np.asarray(Image.open(folder / "surface.png").convert("RGB")).reshape(-1, 3)
    for color in COLORS[:4]:
        assert (pixels == tuple(bytes.fromhex(color[1:]))).all(1).sum() > 200, "every path is drawn"


@pytest.mark.slow
def test_the_quadratic_of_the_course(commands: Commands) -> None:
    paths, measures, folder = shown(commands, "surface=quadratic", "optimizer=sgd")
    expected = [0.0]
    for _ in range(1000):
        expected.append(expected[-1] - 0.01 * (2 * expected[-1] - 10))
    path = paths["sgd"][:, 1]
    assert path[1] == 0.1
    np.testing.assert_allclose(path, expected, rtol=0, atol=1e-12)
    first = int(np.argmax(path >= 4.999))
    assert first == next(step for step, w in enumerate(expected) if w >= 4.999) < 1000
    assert measures["sgd"]["settled"] == first
    assert (folder / "path.csv").read_text().startswith("optimizer,step,w,value,lr\nsgd,0,0.0,25.0,\nsgd,1,0.1,")
    assert (folder / "surface.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_differences(name: str) -> None:
    count = len(configured(name)["start"])
    for start in np.random.default_rng(0).uniform(-2, 2, (20, count)):
        point = torch.tensor(start, requires_grad=True)
        function(name)(*point).backward()
        for axis in range(count):
            step = np.eye(count)[axis] * 1e-5
            above, below = (function(name)(*torch.tensor(start + sign * step)).item() for sign in (1, -1))
            assert point.grad is not None
            assert point.grad[axis].item() == pytest.approx((above - below) / 2e-5, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_minima_are_minima(name: str) -> None:
    for minimum in configured(name)["minima"]:
        point = torch.tensor(minimum, dtype=torch.float64)
        alone = lambda p: function(name)(*p)  # noqa: E731
        assert torch.autograd.functional.jacobian(alone, point).abs().max() == 0
        assert torch.linalg.eigvalsh(torch.autograd.functional.hessian(alone, point)).min() > 0


def test_the_saddle_stops_paths_along_its_ridge() -> None:
    sgd = partial(torch.optim.SGD, lr=0.2)
    held, released = (descent.descend(functions.saddle, sgd, (1.0, y), 200).points[-1] for y in (0.0, 1e-3))
    assert np.abs(held).max() < 1e-12
    np.testing.assert_allclose(released, (0, 1), atol=1e-9)


MEASURED: list[tuple[Sequence[Any], dict[str, Any]]] = [
    # straight on
    ([(0, 0), (3, 4), (6, 8)], {"zigzag": 0, "turning_angle": 0, "length": 10, "straight": 10, "tortuosity": 1}),
    # stairs with right angles: y turns back each time, x never
    (
        [(0, 0), (1, 1), (2, 0), (3, 1)],
        {"sign_changes": [0, 1], "zigzag": 1, "turning_angle": 90, "length": 3 * 2**0.5, "straight": 10**0.5},
    ),
    # one of two turns
    ([(0, 0), (1, 0), (2, 0), (1, 0)], {"sign_changes": [0.5, 0], "zigzag": 0.5, "turning_angle": 90}),
    # there and back: no distance to divide by
    ([(0,), (2,), (0,)], {"zigzag": 1, "turning_angle": 180, "length": 4, "straight": 0, "tortuosity": None}),
    # one update, none that moves
    ([(0,), (2,)], {"zigzag": 0, "turning_angle": None, "tortuosity": 1}),
    ([(1,), (1,), (1,)], {"zigzag": 0, "turning_angle": None, "tortuosity": None}),
    # it comes within 1 of (5,), leaves, and comes back to stay
    ([(0,), (4.5,), (7,), (5.5,), (4.5,)], {"distance": 0.5, "settled": 3}),
    ([(0,), (4.5,), (7,)], {"distance": 2, "settled": None}),
    # of two minima the one at which it ends: (-5,)
    ([(5,), (0,), (-4.5,)], {"distance": 0.5, "settled": 2}),
]


@pytest.mark.parametrize(("points", "expected"), MEASURED)
def test_measures(points: Sequence[Any], expected: dict[str, Any]) -> None:
    array = np.array(points, float)
    path = descent.DescentPath(array, np.zeros(len(array)), np.ones(len(array) - 1), diverged=False)
    found = descent.measured(path, [(5,), (-5,)] if array.shape[1] == 1 else [], 1.0)
    for key, value in expected.items():
        assert found[key] == (pytest.approx(value, abs=1e-7) if value is not None else None), key


@pytest.mark.slow
def test_a_diverged_path_is_a_result(commands: Commands) -> None:
    paths, measures, folder = shown(commands, "optimizer=sgd", "optimizer.lr=1.5", "surface.steps=100")
    # y doubles each time: 4 * 4^n passes a million times 6.45 at n = 11
    assert (measures["sgd"]["status"], measures["sgd"]["updates"], measures["sgd"]["settled"]) == ("diverged", 11, None)
    assert paths["sgd"][-1, 2] == -(2.0**12)
    assert "diverged at step 11" in " ".join((folder / "surface.log").read_text().split())
    _, measures, _ = shown(commands, "optimizer.lr=1e300")
    assert (measures["momentum"]["updates"], measures["momentum"]["end"]) == (1, {"x": -7, "y": 2})


@pytest.mark.slow
def test_schedules_multiply_the_rate(commands: Commands) -> None:
    paths, _, _ = shown(commands, "optimizer=sgd", "optimizer.lr=0.5", "scheduler=cosine", "scheduler.warmup=0.2")
    curve = schedules.warmed_up(lambda progress, _losses: schedules.cosine(progress), 0.2)
    rates = [0.5 * curve(step / 30, ()) for step in range(30)]
    np.testing.assert_allclose(paths["sgd"][1:, 4], rates, rtol=1e-12)
    # On a ridge nothing improves: plateau, which is given the values for losses, lets the rate fall.
    paths, _, _ = shown(commands, "optimizer=sgd", "optimizer.lr=1", "scheduler=plateau", "surface.start=[0,2]")
    assert paths["sgd"][[1, 4, 5, 6], 4].tolist() == [1, 1, 0.1, 0.1]


@pytest.mark.slow
def test_every_optimizer_and_every_schedule(commands: Commands) -> None:
    paths, measures, _ = shown(commands, "-m", "optimizer=glob(*,exclude=muon)", "surface.steps=5")
    assert set(paths) == {path.stem for path in (CONF / "optimizer").glob("*.yaml")} - {"muon"}
    assert {found["status"] for found in measures.values()} == {"finished"}
    assert all(found["value"] < 6.45 for found in measures.values())
    assert measures["lbfgs"]["distance"] < 1e-4
    paths, _, _ = shown(commands, "-m", "scheduler=glob(*)", "surface.steps=5")
    assert set(paths) == {f"momentum scheduler={path.stem}" for path in (CONF / "scheduler").glob("*.yaml")}


def figure(name: str, rates: dict[str, float], steps: int) -> Any:
    """The drawn figure of SGD's paths on a surface, by the name of each path."""
    about = configured(name)
    surface = descent.Surface(function(name), about["start"], steps, about["minima"], about["tolerance"], about["view"])
    lines = [
        NamedPath(label, descent.descend(surface.function, partial(torch.optim.SGD, lr=rate), surface.start, steps))
        for label, rate in rates.items()
    ]
    with drawing():
        shown = contours.figure_of(surface, ["x", "y"][: len(surface.start)], lines, f"{name}\nsgd")
        shown.draw_without_rendering()
    return shown


def legend_texts(shown: Any) -> list[str]:
    """The names in the legend of a figure."""
    return [text.get_text() for text in shown.legends[0].get_texts()]


@pytest.mark.parametrize(
    ("count", "ending"),
    [(1, ""), (4, " of a name that is rather long for a legend"), (8, ""), (16, " with more words")],
)
def test_no_part_of_the_legend_is_cut_off(count: int, ending: str) -> None:
    shown = figure("ravine", {f"lr {0.1 + k / 100:g}{ending}": 0.1 + k / 100 for k in range(count)}, 5)
    box, (width, height) = shown.legends[0].get_window_extent(), shown.get_size_inches() * shown.dpi
    assert box.x0 >= 0
    assert box.x1 <= width
    assert box.y0 >= 0
    assert box.y1 <= shown.axes[0].get_window_extent().y0
    assert shown.axes[0].get_window_extent().height / height > 0.45, "the paths have most of the picture"
    looks = {(line.get_color(), line.get_marker()) for line in shown.axes[0].lines if line.get_label()[0] == "l"}
    assert len(looks) == count


def test_a_path_that_leaves_the_picture_ends_at_its_edge_and_is_named() -> None:
    shown = figure("ravine", {"small": 0.1, "large": 1.1}, 30)
    assert legend_texts(shown) == ["small", "large, leaves the picture", "start", "minimum"]
    ends = [line for line in shown.axes[0].lines if line.get_markersize() == 10]
    assert -2.5 < ends[0].get_ydata()[0] < 2.5
    assert abs(ends[1].get_ydata()[0]) == 2.5
    assert ends[1].get_markerfacecolor() != ends[0].get_markerfacecolor()


def test_the_updates_end_after_the_paths_have_settled() -> None:
    over = figure("quadratic", {"lr 0.1": 0.1, "lr 0.9": 0.9, "lr 1.1": 1.1}, 1000).axes[1]
    assert over.get_xlabel() == "updates (the first 48 of 1,000)"
    assert over.get_xlim()[1] == 48
    jumping = figure("quadratic", {"lr 0.01": 0.01, "lr 1": 1.0}, 1000).axes[1]
    assert [line.get_linestyle() for line in jumping.lines if len(line.get_xdata()) > 2] == ["-", "None"]


@pytest.mark.slow
def test_a_legend_names_what_differs(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    legends: list[tuple[list[str], str]] = []

    def noted(_surface: Any, _coordinates: Any, lines: Sequence[NamedPath], title: str) -> bytes:
        legends.append(([line.name for line in lines], title.partition("\n")[2]))
        return b""

    monkeypatch.setattr("experiments.surfaces.running.draw", noted)
    shown(commands, "-m", "optimizer=momentum", "optimizer.momentum=0,0.9", "surface.steps=3")
    shown(commands, "-m", "optimizer=sgd,adam", "optimizer.lr=0.1,0.2", "scheduler=cosine", "surface.steps=3")
    shown(commands, "-m", "optimizer=sgd,momentum", "surface.steps=3")
    shown(commands, "optimizer=sgd", "surface.steps=3")
    assert legends == [
        (["momentum 0", "momentum 0.9"], "momentum, lr 0.1"),
        (["sgd, lr 0.1", "sgd, lr 0.2", "adam, lr 0.1", "adam, lr 0.2"], ""),
        (["sgd, lr 0.95", "momentum, lr 0.1"], ""),
        (["sgd, lr 0.95"], ""),
    ]


@pytest.mark.slow
def test_weight_decay_moves_every_coordinate_to_zero(commands: Commands) -> None:
    paths, _, _ = shown(commands, "optimizer=sgd", "optimizer.lr=0.1", "optimizer.weight_decay=1", "surface.steps=1")
    np.testing.assert_allclose(paths["sgd"][1, 1:3], (-7 + 0.1 * 7.7, 2 - 0.1 * 6), rtol=1e-12)


@pytest.mark.slow
def test_a_sweep_over_surfaces_has_a_picture_of_each(commands: Commands) -> None:
    assert commands.type("surface", "-m", "surface=ravine,quadratic", "optimizer=sgd,adam", "surface.steps=4").code == 0
    (folder,) = commands.folder.glob("outputs/surface/*")
    for name in ("00_ravine", "01_quadratic"):
        assert (folder / name / "surface.png").exists()
        assert set(read(folder / name)[0]) == {"sgd", "adam"}
    assert len(list(folder.glob("*optimizer=*/path.csv"))) == 4, "each job has its own"


@pytest.mark.slow
def test_a_path_that_cannot_be_followed_does_not_stop_the_others(commands: Commands) -> None:
    outcome = commands.type("surface", "-m", "optimizer=sgd,muon", "surface.steps=4")
    assert outcome.code == 2
    assert "updates weight matrices, and a surface has none; choose another\n" in outcome.err
    (folder,) = commands.folder.glob("outputs/surface/*")
    assert set(read(folder)[0]) == {"sgd"}
    assert (folder / "surface.png").exists()


@pytest.fixture
def own(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The command line beside a user's own functions."""
    (commands.folder / "owned.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(commands.folder))
    monkeypatch.delitem(sys.modules, "owned", raising=False)
    for name in re.findall(r"def (\w+)", OWN):
        path = commands.folder / "own" / "surface" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"_target_: owned.{name}\nstart: [0, 0]\nsteps: 40\n")
    return commands


@pytest.mark.slow
def test_a_users_own_function(own: Commands) -> None:
    words = ("--config-dir", "own", "surface=himmelblau", "optimizer=adam", "optimizer.lr=0.5", "+surface.c=11")
    paths, measures, folder = shown(own, *words, "surface.steps=150")
    np.testing.assert_allclose(paths["adam"][-1, 1:3], (3, 2), atol=1e-3)
    assert (measures["adam"]["distance"], measures["adam"]["settled"]) == (None, None), "no minimum is known"
    assert (folder / "surface.png").exists()


BAD = [
    ("surface=ravin", "unknown surface 'ravin'; choose from .*; did you mean 'surface=ravine'?"),
    ("surface.start=[1,2,3]", "surface.start=[1, 2, 3] should have at most 2 items"),
    ("surface.start=[1]", "surface.start=[1.0] should have one item for each coordinate: x, y"),
    ("surface.start=3", "surface.start=3 should be a valid array; did you mean 'surface.start=[3]'?"),
    ("surface.start=[nan,1]", "surface.start[0]=NaN should be a finite number"),
    (
        "surface.start=[1e200,0]",
        "surface.start=[1e+200, 0.0] should have a finite value; experiments.surfaces.ravine is inf there",
    ),
    ("surface.minima=[[0]]", "surface.minima[0]=[0.0] should have one item for each coordinate: x, y"),
    ("surface.view=[[0,1]]", "surface.view=[[0.0, 1.0]] should have one item for each coordinate: x, y"),
    ("surface.view=[[0,1],[1,1]]", "surface.view=.* should have a lower and a higher number in each range"),
    ("surface.steps=0", "surface.steps=0 should be greater than or equal to 1"),
    ("surface.tolerance=0", "surface.tolerance=0 should be greater than 0"),
    ("optimizer.lr=0", "optimizer.lr=0 should be greater than 0"),
    ("optimizer.momentum=1", "optimizer.momentum=1 should be less than 1"),
    ("scheduler.warmup=1", "scheduler.warmup=1 should be less than 1"),
    ("optimizer=muon", "optimizer._target_='experiments.optimizers.Muon' updates weight matrices, .*"),
    ("training.epochs=3", "unknown key 'training.epochs'.*"),
    ("+extra=1", "unknown setting 'extra'; choose from name"),
    (
        "surface=summed",
        r"surface: owned.summed returns () for coordinates of shape (2,); expected values of that shape",
    ),
    ("surface=flat", "surface: owned.flat has no gradient; compute it from its coordinates with functions of torch"),
    ("surface=logarithm", "surface.start=[0.0, 0.0] should have a finite value; owned.logarithm is -inf there"),
    (
        "surface=three",
        "surface._target_='owned.three' takes 3 coordinates (parameters without a default); expected one or two",
    ),
    ("surface=broken", "surface: owned.broken cannot be called with the start: 'my own fault'"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("override", "message"), BAD)
def test_bad_input_ends_in_one_sentence_with_code_2(own: Commands, override: str, message: str) -> None:
    outcome = own.type("surface", "--config-dir", "own", override)
    assert outcome.code == 2
    pattern = ".*".join(re.escape(part) for part in message.split(".*"))
    assert re.fullmatch(f"Error: {pattern}\n", outcome.err), outcome.err


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_one_sentence(commands: Commands) -> None:
    (commands.folder / "outputs").write_text("in the way")
    for words in ((), LESSON):
        outcome = commands.type("surface", *words)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
        assert outcome.err.startswith("Error: cannot write ")


def test_help_shows_the_groups_of_the_verb(commands: Commands) -> None:
    text = commands.type("surface", "--help").out
    assert re.findall(r"^  (\+?\w+)=  +[*\w]+, ", text, re.MULTILINE) == ["surface", "optimizer", "scheduler"]
    assert "surface=" not in commands.train("--help").out
