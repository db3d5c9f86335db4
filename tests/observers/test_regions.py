"""Decision regions: the model's own, in the data's units, and seen without changing anything."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiments.data.batches import Split
from experiments.evaluation.loading import Restored, load
from experiments.figures import regions
from experiments.figures._colors import COLORS
from experiments.figures.regions import Plane, coordinates, plane, regions_figure, shaded
from tests.helpers import Commands, assert_equal_weights, own_model, run_folders, weights
from tests.restless import RESTLESS

OTHERS = [f"observers.{name}.enabled=false" for name in ("pictures", "layers", "histograms", "progress")]
TINY = ("data=moons", "data.examples=120", "training.epochs=3", "optimizer.lr=0.01", "model.hidden=[8]", *OTHERS)


def scores_of(run: Restored, examples: Split) -> torch.Tensor:
    return torch.cat([scores for scores, _ in run.batches(examples)])


def seen_by(run: Restored, size: int = 41) -> tuple[Plane, np.ndarray]:
    """A plane around the training split, and the run's scores on it."""
    found = plane(run.data.splits["train"], size)
    return found, found.laid_out(scores_of(run, found.points))


def images(folder: Path) -> dict[str, list[tuple[int, bytes]]]:
    """What TensorBoard shows of a run: epoch and PNG, by tag."""
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    return {
        tag: [(event.step, event.encoded_image_string) for event in events.Images(tag)]
        for tag in events.Tags()["images"]
    }


@pytest.mark.slow
@pytest.mark.parametrize("preprocess", ["standardize", "zca"])
def test_softmax_regression_has_the_straight_boundaries_of_its_weights(commands: Commands, preprocess: str) -> None:
    choices = ("data=blobs", "data.examples=150", "model.hidden=[]", "training.epochs=3", "optimizer.lr=0.03")
    run = load(commands.trained(*choices, *OTHERS, f"data.preprocess={preprocess}"))
    state = run.folder.load(run.folder.best)["program"]
    (weight, bias), fitted = state["model"].values(), state["preparation"]
    matrix = fitted["matrix"] if "matrix" in fitted else torch.diag(fitted["scale"].expand(2))
    slope = (weight @ matrix.T).double().numpy()  # of the scores, by the data's own units
    offset = bias.double().numpy() - slope @ fitted["shift"].expand(2).double().numpy()

    found, scores = seen_by(run)
    expected = np.stack(np.meshgrid(found.x, found.y), 2) @ slope.T + offset
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    lead = np.sort(expected, 2)
    sure = lead[..., -1] - lead[..., -2] > 1e-3
    away = 255.0 - shaded(scores)  # from white, in the direction of the class's colour
    hues = away / np.linalg.norm(away, axis=2, keepdims=True)
    known = 1 - regions.rgb(np.arange(3))
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    assert ((hues @ known.T).argmax(2) == expected.argmax(2))[sure].all()

    split = run.data.splits["test"]
    answers = scores_of(run, split)
    figure = regions_figure(found, scores, run.data.splits["train"], split, answers, "", ["a", "b", "c"])
    lines = [np.asarray(path.vertices) for drawn in figure.axes[0].collections for path in drawn.get_paths()][:3]
    borders = np.concatenate([line for line in lines if len(line) > 3])
    ranked = np.sort(borders @ slope.T + offset, 1)
    assert len(borders) > 30
    # Between two points of the grid the line is straight by drawing; where three regions meet it is cut off.
    assert np.quantile(ranked[:, -1] - ranked[:, -2], 0.9) < 1e-3 * np.ptp(expected)


@pytest.mark.slow
def test_the_dots_are_the_examples(commands: Commands) -> None:
    run = load(commands.trained(*TINY))
    splits = run.data.splits
    found, scores = seen_by(run)
    answers = scores_of(run, splits["test"])
    figure = regions_figure(found, scores, splits["train"], splits["test"], answers, "test split", ["no", "$y$"])
    axes = figure.axes[0]
    drawn = {str(dots.get_label()): np.asarray(dots.get_offsets()) for dots in axes.collections}
    y = splits["train"].y.numpy()
    for number, name in enumerate(["no", r"\$y\$"]):  # the dollars are shown, and start no formula
        np.testing.assert_allclose(drawn[name], splits["train"].raw().numpy()[y == number], rtol=1e-6)
    wrong = answers.argmax(1) != splits["test"].y
    assert 0 < wrong.sum() < 120
    crosses = drawn[f"test split,\nwrong: {int(wrong.sum())} of 120"]
    assert (legend := axes.get_legend()) is not None
    assert legend.get_title().get_text() == "training split, by class"
    np.testing.assert_allclose(crosses, splits["test"].raw().numpy()[wrong.numpy()], rtol=1e-6)
    assert f"test split\naccuracy {1 - float(wrong.double().mean()):.4f}" in axes.get_title()
    assert found.x[0] < splits["train"].x[:, 0].min() < splits["train"].x[:, 0].max() < found.x[-1]


@pytest.mark.slow
def test_a_run_shows_its_regions_and_evaluate_draws_them(commands: Commands) -> None:
    folder = commands.trained(*TINY, "observers.regions.every=2")
    shown = images(folder)
    assert [epoch for epoch, _ in shown["regions"]] == [0, 2]
    assert [epoch for epoch, _ in shown["pictures/regions"]] == [3]
    assert shown["pictures/regions"][0][1] == (folder / "pictures" / "regions.png").read_bytes()
    assert shown["regions"][0][1] != shown["regions"][1][1], "the model has learned"
    outcome = commands.type("evaluate", f"run={folder}")
    assert outcome.code == 0, outcome.err
    with Image.open(folder / "evaluation" / "test" / "regions.png") as image:
        assert len(image.getcolors(2**20) or []) > 100


@pytest.mark.slow
def test_pixels_are_the_grids_points_and_the_examples(commands: Commands, tmp_path: Path) -> None:
    folder = commands.trained(*TINY, "data.preprocess=none")
    run = load(folder)
    path = tmp_path / "last.png"
    path.write_bytes(images(folder)["regions"][-1][1])
    with Image.open(path) as image:
        pixels = np.asarray(image)[::-1].astype(int)  # from below
    train = run.data.splits["train"]
    found = plane(train, regions.COARSE)
    side, points = regions.PIXELS, coordinates(train.raw())
    for point, number in zip(points, train.y.tolist(), strict=True):
        column = int(np.abs(found.x - point[0]).argmin() * side + side // 2)
        row = int(np.abs(found.y - point[1]).argmin() * side + side // 2)
        near = pixels[row - side : row + side + 1, column - side : column + side + 1].reshape(-1, 3)
        assert (near == (255 * regions.rgb(np.array(number))).astype(int)).all(1).any()
    expected = shaded(found.laid_out(scores_of(load(folder, checkpoint="last.pt"), found.points)))
    agree = (pixels[1::side, 1::side] == expected).all(2)
    assert agree.mean() > 0.8, "where no example lies"


@pytest.mark.slow
@pytest.mark.parametrize("choices", [("data=digits",), ("data=moons", "observers.regions.every=0")])
def test_nothing_is_drawn_without_a_plane_or_a_request(commands: Commands, choices: Sequence[str]) -> None:
    folder = commands.trained("training.epochs=1", "data.limit=96", *OTHERS, *choices)
    assert "regions" not in images(folder)
    assert (folder / "pictures" / "regions.png").exists() == ("data=moons" in choices)


WATCHED = ("model.batch_norm=true", "model.dropout=0.3")


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [(), ("-m", "seed=1,2")], ids=["alone", "stack"])
def test_watching_changes_no_bit(commands: Commands, sweep: Sequence[str]) -> None:
    for chosen in ("true", "false"):
        outcome = commands.train(*sweep, *TINY, *WATCHED, f"name=w{chosen}", f"observers.regions.enabled={chosen}")
        assert outcome.code == 0, outcome.err
    found = run_folders(commands.folder)
    alone, watched = found[: len(found) // 2], found[len(found) // 2 :]
    assert [(folder / "pictures" / "regions.png").exists() for folder in watched] == [True] * len(watched)
    for one, other in zip(alone, watched, strict=True):
        assert_equal_weights(weights(one), weights(other))
        assert not (one / "pictures" / "regions.png").exists()
        assert [epoch for epoch, _ in images(other)["regions"]] == [0, 1, 2, 3]
    if sweep:
        first, second = (images(folder)["regions"][-1][1] for folder in watched)
        assert first != second, "each member has its own"


@pytest.mark.slow
def test_regions_draw_no_random_numbers_even_for_a_model_that_does(commands: Commands) -> None:
    choices = (*own_model(commands.folder, RESTLESS), "data=moons", "data.limit=96", "training.epochs=2")
    watched = commands.trained(*choices, *OTHERS)
    alone = commands.trained(*choices, *OTHERS, "observers.regions.enabled=false")
    assert_equal_weights(weights(watched), weights(alone))


def points(*rows: Sequence[float]) -> Split:
    """A split of points, of classes 0, 1, 0, ..."""
    x = torch.tensor(rows)
    return Split(x, torch.arange(len(x)) % 2, lambda inputs: inputs, torch.device("cpu"))


def test_gaps_constant_features_and_far_ranges_have_a_plane() -> None:
    gap = torch.nan
    found = plane(points((1e6, gap), (1e6, 0.001), (1e6, 0.003), (gap, gap)), 5)
    assert found.x.tolist() == pytest.approx([1e6 - 0.5, 1e6 - 0.25, 1e6, 1e6 + 0.25, 1e6 + 0.5])
    assert found.y[[0, -1]].tolist() == pytest.approx([0.001 - 0.00016, 0.003 + 0.00016], rel=1e-3)
    assert np.isfinite(plane(points((gap, gap), (gap, 1.0)), 5).x).all()
    assert regions.planar(points((1.0, 2.0)))
    assert not regions.planar(points((1.0, 2.0, 3.0)))


def test_surer_predictions_are_darker_and_missing_ones_white() -> None:
    scores = np.array([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [np.nan, 0.0, 1.0]]])
    idea, some, sure, second, broken = shaded(scores)[0].astype(int)
    assert idea.sum() > some.sum() > sure.sum()
    assert broken.tolist() == [255, 255, 255]
    for shown, color in ((sure, COLORS[0]), (second, COLORS[1])):
        wanted = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)])
        np.testing.assert_allclose(shown, (255 + wanted) / 2, atol=2)


def test_a_split_of_rows_gives_its_own_examples() -> None:
    whole = points((1.0, 2.0), (3.0, 4.0), (5.0, 6.0))
    part = replace(whole, y=whole.y[1:], rows=torch.tensor([2, 0]))
    assert part.raw().tolist() == [[5, 6], [1, 2]]
    assert part.raw(torch.tensor([1])).tolist() == [[1, 2]]
    assert part.raw(slice(1)).tolist() == [[5, 6]]
