"""The page of a comparison in a browser: its size, its time to open, and what a phone shows of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from experiments.figures import palette
from tests.browser import opened
from tests.colors import contrast, groups_drawn, line_colors, strokes
from tests.comparison.shapes import Shape, report_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab

pytestmark = pytest.mark.slow

SIXTY_FOUR = Shape({"optimizer.lr": (0.001, 0.01, 0.1, 1.0), "model.dropout": (0.0, 0.2, 0.4, 0.6)}, seeds=4, epochs=20)
LONG = [
    f"a_very_long_name_of_a_layer_that_has_eighty_characters_in_all_and_goes_on_to_{number:03}" for number in range(200)
]
DEEP = Shape({"model.dropout": (0.0, 0.5)}, seeds=1, layers=LONG, epochs=2)
PHONE = 390
LARGEST, SLOWEST = 1_500_000, 1.0
"""Bytes, and seconds."""


def page(folder: Path, shape: Shape) -> Path:
    """Write the page of a comparison of such runs."""
    report_of(folder / "runs", shape).write(folder)
    return folder / "report.html"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of 64 runs, and of two runs with 200 layers."""
    return {
        name: page(tmp_path_factory.mktemp(name), shape) for name, shape in {"64": SIXTY_FOUR, "deep": DEEP}.items()
    }


@pytest.fixture(params=["64", "deep"])
def tab(browser: Browser, pages: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[Tab]:
    """The page in a browser; nothing may be amiss after a test."""
    with opened(browser, pages[request.param]) as (tab, wrong):
        yield tab
        assert not wrong


def test_sixty_four_runs_are_below_a_megabyte_and_a_half(pages: dict[str, Path]) -> None:
    assert pages["64"].stat().st_size < LARGEST
    assert pages["deep"].stat().st_size < LARGEST


def test_the_page_of_sixty_four_runs_opens_in_below_a_second(browser: Browser, pages: dict[str, Path]) -> None:
    """The time that the browser works on it: what other processes take of the machine does not count."""
    with opened(browser, pages["64"]) as (tab, wrong):
        session = tab.context.new_cdp_session(tab)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        tab.reload()
        tab.wait_for_selector("#chart canvas")
        metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
        assert metrics["TaskDuration"] < SLOWEST
        assert not wrong


def test_a_phone_shows_every_figure_and_legend_whole(tab: Tab) -> None:
    tab.set_viewport_size({"width": PHONE, "height": 800})
    tab.wait_for_timeout(300)
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE
    found = tab.evaluate(
        "() => [...document.querySelectorAll('figure svg text, figure > .wide > svg, #chart canvas, .group')]"
        ".filter(e => e.getClientRects().length).map(e => { const r = e.getBoundingClientRect(), s = e.closest('svg');"
        "const scale = s && s.viewBox.baseVal.width ? s.getBoundingClientRect().width / s.viewBox.baseVal.width : 1;"
        "const size = scale * parseFloat(getComputedStyle(e).fontSize);"
        "return [e.tagName, e.textContent.trim().slice(0, 80), r.left, r.right, size] })"
    )
    assert len(found) > 40
    outside = [(text, left, right) for _, text, left, right, _ in found if left < -1 or right > PHONE + 1]
    assert not outside
    small = {text: size for tag, text, _, _, size in found if tag == "text" and text and size < 8}
    assert not small
    assert not tab.locator(".for-wide").first.is_visible()


def test_every_line_stands_out_in_light_dark_and_on_paper(tab: Tab) -> None:
    for scheme, background in (("light", palette.LIGHT), ("dark", palette.DARK)):
        tab.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for width in (1200, PHONE):
            tab.set_viewport_size({"width": width, "height": 800})
            tab.wait_for_timeout(200)
            colors = {*line_colors(tab), *strokes(tab, background)}
            faint = [color for color in colors if contrast(color, background) < 4.5]
            assert not faint, (scheme, width)
            assert len(colors) > 2
    tab.emulate_media(media="print")
    tab.wait_for_selector("#printed canvas")
    assert all(contrast(color, palette.LIGHT) >= 4.5 for color in {*line_colors(tab), *strokes(tab, palette.LIGHT)})


def test_the_curves_can_be_seen_in_both_themes(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["deep"]) as (tab, wrong):
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            tab.locator("#none").click()
            for group in range(2):
                tab.locator(".group input").nth(group).check()
                tab.mouse.move(0, 0)
                assert groups_drawn(tab)[0][group], (scheme, group)
                tab.locator(".group input").nth(group).uncheck()
        assert not wrong


def test_names_of_layers_are_legible_or_left_out_with_a_word(pages: dict[str, Path]) -> None:
    html = pages["deep"].read_text(encoding="utf-8")
    assert "Of 200 layers, 12 are shown." in html
    assert "3 of 200 layers; a wider screen shows more" in html
    named = re.findall(r">(a_very_l\.\.\._to_\d+)<", html)
    assert len(set(named)) <= 40
    assert "_to_000" in named[0]
