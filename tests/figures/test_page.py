"""The page of a comparison, in a browser without a network."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from experiments.figures import palette
from experiments.figures._colors import COLORS, DARK_COLORS
from experiments.figures.page import (
    Cell,
    Curves,
    Figure,
    GroupStyle,
    MeanCurve,
    Page,
    PageColumn,
    PageTable,
    asset,
    render,
)
from experiments.figures.svg import svg_of
from tests.browser import opened
from tests.colors import SIMULATED, contrast, drawn, groups_drawn, hexed, lab, line_colors, linear, pixels, strokes

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab

NAMES = ("<script>alert(1)</script>", '</script><b onclick="x">"quotes"&amp; %{x}', "größe ≥ 2 中", "$adam$")


@pytest.mark.parametrize("colors", [COLORS, DARK_COLORS], ids=["light", "dark"])
def test_colors_differ_for_every_eye(colors: Sequence[str]) -> None:
    for name, matrix in SIMULATED.items():
        seen = [lab(np.clip(np.array(matrix) @ linear(color), 0, 1)) for color in colors]
        distances = [float(np.linalg.norm(one - other)) for one, other in itertools.combinations(seen, 2)]
        assert min(distances) > 15, name


def test_colors_stand_out_from_their_backgrounds() -> None:
    assert min(contrast(color, palette.LIGHT) for color in COLORS) >= 4.5
    assert min(contrast(color, palette.DARK) for color in DARK_COLORS) >= 4.5


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
    """A line of four points, the higher the larger the group; its interval has a gap, and the first reaches below 0."""
    mean = [value + 0.4 * group for value in (0.2, 0.5, float("nan") if group == 2 else 0.6, 0.7)]
    low, high = ([value + 0.4 * group for value in ends] for ends in ((-0.1, 0.4), (0.3, 0.6)))
    x = {"epoch": [1.0, 2.0, 3.0, 4.0], "seconds": [10.0, 20.0, 30.0, 40.0]}
    return MeanCurve(group, metric, x, mean, [*low, None, mean[3]], [*high, None, mean[3]], [5, 5, 5, 4])


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
    """One tab for all tests."""
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
    tab.locator("#chart").scroll_into_view_if_needed()
    box = tab.locator("#chart .u-over").bounding_box()
    assert box is not None
    # The axes begin where the data begin: epoch 2 is a third of the way from 1 to 4.
    tab.mouse.move(box["x"] + box["width"] / 3 + 5, box["y"] + 5)
    for step in range(40):
        tab.mouse.move(box["x"] + box["width"] / 3, box["y"] + step / 40 * box["height"])
        if tab.locator("#hover").is_visible():
            break
    said = tab.locator("#hover").inner_text().split("\n")
    assert said == [NAMES[1], "epoch: 2", "accuracy: 0.9 [0.8, 1]", "n = 5"]
    tab.mouse.move(0, 0)
    tab.wait_for_selector("#hover", state="hidden")


def test_a_part_is_enlarged_and_everything_is_shown_again(tab: Tab) -> None:
    before = pixels(tab)
    tab.locator("#chart").scroll_into_view_if_needed()
    box = tab.locator("#chart .u-over").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + 0.4 * box["width"], middle)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.8 * box["width"], middle, steps=4)
    tab.mouse.up()
    tab.mouse.move(0, 0)
    near = pixels(tab)
    assert (near != before).any()
    tab.locator(".group input").nth(1).uncheck()
    tab.locator(".group input").nth(1).check()
    tab.mouse.move(0, 0)
    tab.locator("#log").focus()
    assert (pixels(tab) == near).all(), "what is enlarged stays so when groups are switched"
    tab.locator("#chart .u-over").dblclick()
    tab.mouse.move(0, 0)
    assert (pixels(tab) == before).all()


def test_a_group_is_switched_off_and_on_with_its_band(tab: Tab) -> None:
    count = len(NAMES)
    assert drawn(tab) == [count, count]
    switch = tab.locator(".group input").nth(1)
    switch.focus()
    tab.keyboard.press("Space")
    assert drawn(tab) == [count - 1, count - 1]
    tab.keyboard.press("Space")
    tab.locator("#log").focus()
    assert drawn(tab) == [count, count]
    tab.locator("#none").click()
    assert drawn(tab) == [0, 0]
    assert "switched off" in tab.locator("#nothing").inner_text()
    tab.locator("#all").click()
    assert drawn(tab) == [count, count]


def test_pointing_at_a_group_fades_the_others(tab: Tab) -> None:
    tab.locator(".group").nth(1).hover()
    assert groups_drawn(tab)[0] == [False, True, False, False]
    tab.mouse.move(0, 0)
    assert groups_drawn(tab)[0] == [True] * 4


def test_metric_axis_and_scale_change_what_is_drawn(tab: Tab) -> None:
    chart = tab.locator("#chart")
    assert chart.get_attribute("aria-label") == "accuracy over epoch, 4 groups"
    tab.locator("#metric").select_option("loss")
    tab.locator("#axis").select_option("seconds")
    assert chart.get_attribute("aria-label") == "loss (nats) over time (s), 4 groups"
    before = pixels(tab)
    tab.locator("#log").check()
    after = pixels(tab)
    assert before.shape != after.shape or (before != after).any()
    assert drawn(tab) == [len(NAMES), len(NAMES)]
    tab.locator("#axis").select_option("step")
    assert drawn(tab) == [0, 0]
    assert tab.locator("#nothing").inner_text() == "There is no data for this metric and axis."


def readable(tab: Tab, background: str) -> None:
    """Every kind of text stands out from the background, and the background is the theme's."""
    assert hexed(tab.evaluate("getComputedStyle(document.body).backgroundColor")) == background
    for selector in ("p", "td", "small", "th button", "h1", "nav a", "footer", "figcaption"):
        color = tab.locator(selector).first.evaluate("e => getComputedStyle(e).color")
        assert contrast(hexed(color), background) >= 4.5, selector
    for selector, kind in (("#chart", "color"), (".wide svg text", "fill")):
        color = tab.locator(selector).first.evaluate("(e, kind) => getComputedStyle(e)[kind]", kind)
        assert contrast(hexed(color), background) >= 4.5, selector
    assert all(groups_drawn(tab)[0]), "the curves have the colours of their samples"
    colors = [*line_colors(tab), *strokes(tab, background)]
    assert len(colors) > len(NAMES) + 4
    assert min(contrast(color, background) for color in colors) >= 4.5


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
    for selector in ("nav", "#theme", "#metric", "#all", ".group input", "#chart"):
        assert not tab.locator(selector).first.is_visible(), selector
    assert [group.is_visible() for group in tab.locator(".group").all()] == [False, True, True, True]
    assert hexed(tab.evaluate("getComputedStyle(document.body).backgroundColor")) == palette.LIGHT
    assert tab.locator("#printed canvas").is_visible()
    assert line_colors(tab) == list(palette.COLORS[: len(NAMES)])
    assert groups_drawn(tab, "#printed canvas")[0] == [False, True, True, True]
    printed = pixels(tab, "#printed canvas")
    assert (printed[:, :120, :3][printed[:, :120, 3] > 250] == 0).all(), "the labels of the axis are black"
    assert tab.locator("td").first.is_visible()


def test_a_phone_scrolls_only_tables_and_figures_sideways(tab: Tab) -> None:
    tab.set_viewport_size({"width": 360, "height": 700})
    tab.wait_for_timeout(200)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_wide_table_says_that_it_scrolls_and_a_stacked_one_does_not_need_to(browser: Browser, tmp_path: Path) -> None:
    columns = [PageColumn(f"a column whose title is long {number}") for number in range(9)]
    rows = [[Cell("a value of some words") for _ in columns] for _ in range(2)]
    tables = [PageTable("Wide", columns, rows), PageTable("Stacked", columns[:3], [rows[0][:3]], stacked=True)]
    page = Page("title", groups=a_page().groups, tables=[*tables, PageTable("Small", columns[:1], [rows[0][:1]])])
    with opened(browser, written(tmp_path, replace(page, curves=a_page().curves))) as (tab, wrong):
        hints = tab.locator(".scrolls")
        assert [hint.is_visible() for hint in hints.all()] == [True, False, False]
        assert hints.first.inner_text() == (
            "This table is wider than the page: scroll it sideways to see the other columns."
        )
        tab.set_viewport_size({"width": 390, "height": 800})
        tab.wait_for_timeout(200)
        assert [hint.is_visible() for hint in hints.all()] == [True, False, False]
        stacked = tab.locator("#table-2 td").all()
        boxes = [cell.bounding_box() for cell in stacked]
        assert all(box is not None and box["x"] + box["width"] <= 390 for box in boxes)
        assert "a column whose title is long 0" in stacked[0].evaluate("e => getComputedStyle(e, '::before').content")
        assert not wrong


def test_a_phone_shows_a_figure_whole_or_its_narrow_form(browser: Browser, tmp_path: Path) -> None:
    figures = [Figure("Whole", "", drawing()), Figure("Narrow", "", drawing(), narrow=drawing(2.0))]
    page = replace(a_page(), figures=figures)
    with opened(browser, written(tmp_path, page)) as (tab, wrong):
        assert tab.locator(".for-wide").is_visible()
        assert not tab.locator(".for-narrow").is_visible()
        assert not tab.locator(".enlarge").is_visible()
        tab.set_viewport_size({"width": 390, "height": 800})
        assert not tab.locator(".for-wide").is_visible()
        for selector in (".whole > svg", ".for-narrow > svg"):
            box = tab.locator(selector).bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390
        tab.locator(".enlarge").click()
        assert tab.locator(".enlarge").inner_text() == "Show the whole figure"
        assert not wrong


@pytest.mark.slow
def test_the_library_of_the_chart_keeps_its_licence() -> None:
    html = render(a_page())
    assert "github.com/leeoniya/uPlot" in html
    assert "MIT License" in asset("uPlot.LICENSE")
    assert "leeoniya" not in render(replace(a_page(), curves=None)), "a page without curves does not carry it"


def test_the_curves_come_directly_after_the_answer() -> None:
    page = replace(a_page(), about="what was trained", further=["one more sentence"], first=1)
    html = render(page)
    marks = ['class="about">what was trained', 'id="curves"', 'id="figure-1"', 'id="further"', "<aside", 'id="table-1"']
    positions = [html.index(mark) for mark in [*marks, 'id="figure-2"']]
    assert positions == sorted(positions)
    links = re.findall(r'<li><a href="#([a-z0-9-]+)"', html)
    assert links == ["answer", "curves", "figure-1", "further", "table-1", "figure-2"]


@pytest.mark.slow
def test_a_group_has_a_note_in_the_legend() -> None:
    page = replace(a_page(), groups=[replace(group, note="5 <diverged>") for group in a_page().groups])
    assert render(page).count("(5 &lt;diverged&gt;)</span></label>") == len(NAMES)
    assert 'class="fate"' not in render(a_page())
