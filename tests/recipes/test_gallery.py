"""The gallery: what it says of a lesson, and that a phone shows it whole with its verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from experiments.figures import palette
from experiments.figures.canvas import canvas, for_a_phone, legend, legend_height, widened
from experiments.figures.svg import saved
from experiments.recipes import _gallery
from experiments.recipes._running import RecipeResult
from experiments.recipes.recipe import Band, Recipe, described

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from playwright.sync_api import Browser

RECIPE = Recipe(
    claim="Zero weights keep all units equal",
    source="A book of some years ago, section 3",
    tier="fast",
    lesson="own.lesson",
    band={"equal units": (1.0, 1.0), "accuracy": (0.9, None)},
    basis="what is equal stays equal",
    about="A few words for the reader.",
)
COMMAND = "python -m experiments.reproduce zero_weights data.root=a/folder/that/is/deep/down/in/other/folders seed=3"


def draw() -> Figure:
    """Two pairs of axes side by side, with a legend below them."""
    names = ["zeros", "a name that is longer than others"]
    styles = dict(zip(names, palette.styles(2), strict=True))
    figure = canvas(10, 3.4 + legend_height(names, 10))
    for axes in figure.subplots(1, 2):
        for name in names:
            axes.plot([1, 2], [1, 2], color=styles[name].color)
        axes.set(xlabel="epochs", ylabel="loss")
    legend(figure, names, styles)
    return figure


def gallery(out: Path, *, phone: bool) -> Path:
    """Write a gallery of one lesson whose claim holds and one whose claim does not."""
    with palette.drawing():
        svg, narrow = saved(draw(), "svg"), b""
        if phone:
            with for_a_phone():
                narrow = saved(draw(), "svg")
    known = {}
    for name, accuracy in (("zero_weights", 0.95), ("one_weights", 0.5)):
        result = RecipeResult(
            name,
            {"equal units": 1.0, "accuracy": accuracy},
            holds=accuracy > 0.9,
            seconds=2.6,
            overrides=COMMAND.split()[4:],
            date="2026-11-27T10:00:00",
            versions={"torch": "2.15.0"},
            svg=svg,
            narrow=narrow,
        )
        _gallery.save(out, result, RECIPE)
        known[name] = RECIPE
    return _gallery.write(out, known)


@pytest.mark.parametrize(
    ("band", "words"),
    [
        ((1.0, 1.0), "exactly 1"),
        ((0.0, 0.0), "exactly 0"),
        ((0.1 - 1e-12, 0.1 + 1e-12), "exactly 0.1"),
        ((0.9, None), "at least 0.9"),
        ((None, 1e-06), "at most 1e-06"),
        ((0.7, 0.78), "0.7 to 0.78"),
    ],
)
def test_bounds_are_words(band: Band, words: str) -> None:
    assert described(band) == words


def test_axes_side_by_side_are_one_above_the_other_on_a_phone() -> None:
    wide = draw()
    with for_a_phone():
        narrow = draw()
    wide.draw_without_rendering()
    narrow.draw_without_rendering()
    assert wide.get_figwidth() == 10
    assert narrow.get_figwidth() == 4
    left, right = (axes.get_position() for axes in wide.axes)
    assert left.x1 < right.x0
    upper, lower = (axes.get_position() for axes in narrow.axes)
    assert lower.y1 < upper.y0
    assert min(upper.height, lower.height) * narrow.get_figheight() > 2.0
    assert draw().get_figwidth() == 10, "only inside the block"


def test_a_long_label_is_not_cut_off_on_a_phone() -> None:
    with for_a_phone():
        figure = draw()
        figure.axes[0].set_xlabel("a label that is much longer than a phone is wide, as labels of lessons can be")
    widened(figure).draw_without_rendering()
    box = figure.get_tightbbox()
    assert box.x0 >= 0
    assert box.x1 <= figure.get_figwidth()


@pytest.mark.slow
@pytest.mark.parametrize("phone", [True, False], ids=["narrow form", "earlier version"])
def test_a_phone_shows_each_lesson_with_its_verdict(browser: Browser, tmp_path: Path, phone: bool) -> None:
    context = browser.new_context(offline=True, viewport={"width": 390, "height": 800})
    tab = context.new_page()
    tab.goto(gallery(tmp_path, phone=phone).as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    cells = tab.locator("#table-1 td").all()
    texts = [cell.inner_text() for cell in cells]
    assert texts[:3] == ["One weights", "does not hold", "Zero weights keep all units equal"], "a miss is first"
    assert texts[5:7] == ["Zero weights", "holds"]
    boxes = [cell.bounding_box() for cell in tab.locator("td, dd, figure svg").all() if cell.is_visible()]
    assert all(box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
    assert not any(hint.is_visible() for hint in tab.locator(".scrolls").all())
    titles = tab.locator("main section h2").all_inner_texts()
    assert titles == ["All lessons", "One weights: does not hold", "Zero weights: holds"]
    assert tab.get_by_text("1 of 2 claims hold; does not hold: One weights").is_visible()
    first = tab.locator("#figure-2")
    facts = dict(zip(first.locator("dt").all_inner_texts(), first.locator("dd").all_inner_texts(), strict=True))
    assert facts["Source"] == f"{RECIPE.source}."
    assert facts["Bounds"] == f"{RECIPE.basis}."
    assert facts["Command"] == COMMAND
    assert facts["Measured"] == "on 2026-11-27 in 3 s, with torch 2.15.0"
    assert first.locator("code").inner_text() == COMMAND
    expected = [row.locator("td").nth(1).inner_text() for row in first.locator("tbody tr").all()]
    assert expected == ["exactly 1", "at least 0.9"]
    assert tab.locator(".enlarge").first.is_visible() != phone
    context.close()


@pytest.mark.slow
def test_a_result_without_a_narrow_form_leaves_none_of_an_earlier_one(tmp_path: Path) -> None:
    result = RecipeResult("zero_weights", {"equal units": 1.0}, holds=True, svg=b"<svg/>", narrow=b"<svg/>")
    _gallery.save(tmp_path, result, RECIPE)
    assert (tmp_path / "zero_weights.narrow.svg").exists()
    _gallery.save(tmp_path, replace(result, narrow=b""), RECIPE)
    assert not (tmp_path / "zero_weights.narrow.svg").exists()
    assert (tmp_path / "zero_weights.svg").exists()
