"""The page of a comparison, in a browser without a network."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from experiments.figures import palette
from experiments.figures.page import Cell, Curves, Figure, GroupStyle, MeanCurve, Page, PageColumn, PageTable, render
from experiments.figures.svg import svg_of
from tests.browser import opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab

NAMES = ("<script>alert(1)</script>", '</script><b onclick="x">"quotes"&amp; %{x}', "größe ≥ 2 中", "$adam$")
SIMULATED = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
"""Machado, Oliveira and Fernandes (2009), severity 1, of linear RGB."""
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)


def linear(color: str) -> np.ndarray:
    """`#rrggbb` as linear RGB."""
    values = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(first: str, second: str) -> float:
    """As WCAG 2 defines it."""
    dark, light = sorted(float(TO_XYZ[1] @ linear(color)) for color in (first, second))
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB."""
    ratio = TO_XYZ @ rgb / [0.95047, 1, 1.08883]
    x, y, z = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_colors_differ_for_every_eye() -> None:
    for name, matrix in SIMULATED.items():
        seen = [lab(np.clip(np.array(matrix) @ linear(color), 0, 1)) for color in palette.COLORS]
        distances = [float(np.linalg.norm(one - other)) for one, other in itertools.combinations(seen, 2)]
        assert min(distances) > 15, name


def test_colors_stand_out_from_both_backgrounds() -> None:
    assert min(contrast(c, b) for c in palette.COLORS for b in (palette.LIGHT, palette.DARK)) >= 3


def test_styles_differ_and_neighbours_differ_in_both() -> None:
    styles = palette.styles(33)
    assert len(set(styles[:32])) == 32
    assert all(a.dash != b.dash and a.color != b.color for a, b in itertools.pairwise(styles))
    assert {style.linestyle for style in styles} == {"-", "--", ":", "-."}


def drawing(height: float = 1.0) -> str:
    """A figure with clip paths, a text like a reference, a formula that is none."""
    from matplotlib.figure import Figure as Drawing

    with palette.drawing():
        figure = Drawing(figsize=(4, 3))
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, height], label="中 url(#p1)")
        axes.set(xlabel=palette.literal("$adam$"), ylim=(0, 0.5 * height))
        axes.legend()
        return svg_of(figure)


def test_a_figure_is_text_in_the_colors_of_the_page_and_always_the_same() -> None:
    svg = drawing()
    assert svg == drawing()
    assert "currentColor" in svg
    assert "$adam$" in svg
    assert "url(#p1)" in svg
    assert not re.search(r"#010203|#fefdfe|<style|<\?xml|ns0:|<metadata", svg)


def test_figures_do_not_share_ids() -> None:
    figures = [Figure("a", "", drawing()), Figure("b", "", drawing(2.0)), Figure("c", "", drawing())]
    html = render(Page("title", figures=figures))
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    used = [name for name in re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', html) if name != ("p1", "")]
    assert {a or b for a, b in used} <= set(ids)
    assert sum(bool(a) for a, _ in used) >= 3


def test_the_readable_part_of_an_undecodable_name_is_shown() -> None:
    html = render(Page("bad \udcff name", groups=[GroupStyle("\udcff", palette.styles(1)[0])]))
    assert b"bad ? name" in html.encode("utf-8")


def a_line(group: int, metric: str) -> MeanCurve:
    """A line of four points; its interval has a gap, and reaches below nought."""
    nan = float("nan")
    mean = [0.1 + 0.1 * group, 0.5, nan if group == 2 else 0.6, 0.7 + 0.01 * group]
    x = {"epoch": [1.0, 2.0, 3.0, 4.0], "seconds": [10.0, 20.0, 30.0, 40.0]}
    return MeanCurve(group, metric, x, mean, [-0.1, 0.4, None, 0.6], [0.3, 0.6, None, 0.8], [5, 5, 5, 4])


def a_page(**more: Any) -> Page:
    """A page with everything on it."""
    groups = [GroupStyle(name, style) for name, style in zip(NAMES, palette.styles(len(NAMES)), strict=True)]
    values = (0.9, None, 10.0, float("inf"))
    rows = [
        [Cell(name, group=number), Cell("-" if value is None else f"{value}", value)]
        for number, (name, value) in enumerate(zip(NAMES, values, strict=True))
    ]
    table = PageTable(NAMES[1], [PageColumn("group"), PageColumn("accuracy", "number", "mean")], rows, NAMES[0])
    lines = [a_line(group, metric) for metric in ("accuracy", "loss") for group in range(len(NAMES))]
    curves = Curves(["accuracy", "loss"], lines, labels={"loss": "loss (nats)", "seconds": "time (s)"})
    figures = [Figure("First", "caption", drawing()), Figure("Second", NAMES[0], drawing(2.0))]
    return Page(NAMES[0], [*NAMES], [NAMES[1]], groups, [table], curves, figures, footer=NAMES[1], **more)


def written(folder: Path, page: Page) -> Path:
    """Write a page as a comparison does."""
    path = folder / "page.html"
    path.write_text(render(page), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def shared(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tab, list[str]]]:
    """One tab for all tests, since a page of five megabytes takes its time to open."""
    with opened(browser, written(tmp_path_factory.mktemp("page"), a_page())) as both:
        yield both


@pytest.fixture
def tab(shared: tuple[Tab, list[str]]) -> Iterator[Tab]:
    """The page, with everything switched on; nothing may be amiss after a test."""
    tab, wrong = shared
    tab.emulate_media(media="screen", color_scheme="light")
    tab.set_viewport_size({"width": 1200, "height": 700})
    tab.mouse.move(0, 0)
    tab.locator("#log").uncheck()
    tab.locator("#metric").select_option("accuracy")
    tab.locator("#axis").select_option("epoch")
    tab.locator("#all").click()
    yield tab
    assert not wrong


def drawn(tab: Tab) -> list[int]:
    """How many lines and how many bands can be seen."""
    count = (
        "s => [...document.querySelectorAll('#chart .scatterlayer .trace ' + s)].filter(path => "
        "path.getBBox().width > 0 && (s === '.js-fill' || parseFloat(path.style.strokeWidth) > 0)).length"
    )
    return [int(tab.evaluate(count, selector)) for selector in (".js-line", ".js-fill")]


def test_names_are_shown_as_they_are_and_run_nothing(tab: Tab) -> None:
    assert tab.title() == NAMES[0]
    assert tab.locator("h1").inner_text() == NAMES[0]
    assert tuple(tab.locator(".group .name").all_inner_texts()) == NAMES
    assert tuple(tab.locator("td.text .name").all_inner_texts()) == NAMES
    assert tab.locator("b, main script").count() == 0


def test_a_header_sorts_numbers_as_numbers_with_the_missing_last(tab: Tab) -> None:
    header = tab.locator("th", has_text="accuracy")
    cells = tab.locator("td.number")
    header.locator("button").click()
    assert cells.all_inner_texts() == ["0.9", "10.0", "inf", "-"]
    assert header.get_attribute("aria-sort") == "ascending"
    header.locator("button").press("Enter")
    assert cells.all_inner_texts() == ["inf", "10.0", "0.9", "-"]
    assert header.get_attribute("aria-sort") == "descending"
    tab.locator("th button").first.click()
    assert tab.locator("th[aria-sort]").count() == 1


def test_pointing_at_a_line_shows_group_mean_interval_and_runs(tab: Tab) -> None:
    tab.locator("#none").click()
    tab.locator(".group input").nth(1).check()
    where = tab.evaluate(
        "() => { const c = document.getElementById('chart'), l = c._fullLayout, r = c.getBoundingClientRect();"
        "return [r.x + l._size.l + l.xaxis.d2p(2), r.y + l._size.t + l.yaxis.d2p(0.5)] }"
    )
    tab.mouse.move(where[0] + 40, where[1] + 40)
    tab.mouse.move(*where, steps=3)
    tab.wait_for_selector("#chart .hovertext")
    said = tab.locator("#chart .hovertext .nums").text_content() or ""
    assert NAMES[1] in said
    assert "accuracy: 0.5 [0.4, 0.6]" in said
    assert "epoch: 2" in said
    assert "n = 5" in said


def test_a_group_is_switched_off_and_on_with_its_band(tab: Tab) -> None:
    count = len(NAMES)
    assert drawn(tab) == [count, count]
    switch = tab.locator(".group input").nth(1)
    switch.focus()
    tab.keyboard.press("Space")
    assert drawn(tab) == [count - 1, count - 1]
    tab.keyboard.press("Space")
    assert drawn(tab) == [count, count]
    tab.locator("#none").click()
    assert drawn(tab) == [0, 0]
    assert "switched off" in tab.locator("#nothing").inner_text()
    tab.locator("#all").click()
    assert drawn(tab) == [count, count]


def test_pointing_at_a_group_fades_the_others(tab: Tab) -> None:
    tab.locator(".group").nth(1).hover()
    opacities = tab.evaluate("document.getElementById('chart')._fullData.slice(-4).map(t => t.opacity)")
    assert opacities == [0.15, 1, 0.15, 0.15]


def test_metric_axis_and_scale_change_what_is_drawn(tab: Tab) -> None:
    titles = "[...document.querySelectorAll('#chart .xtitle, #chart .ytitle')].map(t => t.textContent)"
    assert tab.evaluate(titles) == ["epoch", "accuracy"]
    tab.locator("#metric").select_option("loss")
    tab.locator("#axis").select_option("seconds")
    assert tab.evaluate(titles) == ["time (s)", "loss (nats)"]
    before = tab.locator("#chart .js-line").last.get_attribute("d")
    tab.locator("#log").check()
    assert tab.locator("#chart .js-line").last.get_attribute("d") != before
    assert drawn(tab) == [len(NAMES), len(NAMES)]
    tab.locator("#axis").select_option("step")
    assert drawn(tab) == [0, 0]
    assert tab.locator("#nothing").inner_text() == "There is no data for this metric and axis."


def hexed(color: str) -> str:
    """A computed colour as `#rrggbb`."""
    return "#" + "".join(f"{int(number):02x}" for number in re.findall(r"\d+", color)[:3])


def readable(tab: Tab, background: str) -> None:
    """Every kind of text stands out from the background, and the background is the theme's."""
    assert hexed(tab.evaluate("getComputedStyle(document.body).backgroundColor")) == background
    for selector in ("p", "td", "small", "th button", "h1", "nav a", "footer", "figcaption"):
        color = tab.locator(selector).first.evaluate("e => getComputedStyle(e).color")
        assert contrast(hexed(color), background) >= 4.5, selector
    for selector in ("#chart .xtick text", "#chart .ytick text", "#chart .xtitle", ".wide svg text"):
        color = tab.locator(selector).first.evaluate("e => getComputedStyle(e).fill")
        assert contrast(hexed(color), background) >= 4.5, selector


def test_texts_can_be_read_in_both_themes(tab: Tab) -> None:
    readable(tab, palette.LIGHT)
    tab.emulate_media(color_scheme="dark")
    readable(tab, palette.DARK)
    tab.locator("#theme").click()
    readable(tab, palette.LIGHT)
    tab.locator("#theme").click()
    readable(tab, palette.DARK)
    tab.emulate_media(color_scheme="light")
    readable(tab, palette.DARK)


def test_a_page_that_reloads_keeps_its_position(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, written(tmp_path, a_page(refresh=1))) as (tab, wrong):
        choose_and_reload(tab)
        assert not wrong


def choose_and_reload(tab: Tab) -> None:
    """Make choices, let the page load itself again, and find them as they were."""
    tab.locator("#reload").uncheck()
    tab.locator("#theme").click()
    tab.locator("#metric").select_option("loss")
    tab.locator(".group input").nth(2).uncheck()
    tab.locator("th button").last.click()
    tab.evaluate("scrollTo(0, 500); window.before = true")
    with tab.expect_event("load", timeout=5000):
        tab.evaluate("document.getElementById('reload').click()")
    assert not tab.evaluate("window.before")
    tab.locator("#reload").uncheck()
    assert tab.evaluate("scrollY") == 500
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
    assert tab.locator("#metric").input_value() == "loss"
    assert [box.is_checked() for box in tab.locator(".group input").all()] == [True, True, False, True]
    assert drawn(tab) == [3, 3]
    assert tab.locator("th[aria-sort=ascending]").count() == 1


def test_paper_has_no_controls_and_is_white(tab: Tab) -> None:
    tab.emulate_media(color_scheme="dark")
    tab.locator(".group input").first.uncheck()
    tab.emulate_media(media="print")
    for selector in ("nav", "#theme", "#metric", "#all", ".group input", ".modebar"):
        assert not tab.locator(selector).first.is_visible(), selector
    assert [group.is_visible() for group in tab.locator(".group").all()] == [False, True, True, True]
    assert hexed(tab.evaluate("getComputedStyle(document.body).backgroundColor")) == palette.LIGHT
    assert hexed(tab.locator("#chart .xtick text").first.evaluate("e => getComputedStyle(e).fill")) == "#000000"
    assert tab.locator("td").first.is_visible()


def test_a_phone_scrolls_only_tables_and_figures_sideways(tab: Tab) -> None:
    tab.set_viewport_size({"width": 360, "height": 700})
    tab.wait_for_timeout(200)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360


def test_no_button_sends_the_chart_away(tab: Tab) -> None:
    titles = tab.evaluate("[...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title || b.title)")
    assert titles == ["Download plot as a PNG", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"]
