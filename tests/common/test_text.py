"""Texts of strangers in each medium: terminal, log, Markdown, CSV, SVG."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from experiments.common.confined import appended, new_file
from experiments.common.screen import Screen, plain, table
from experiments.common.text import markdown, spreadsheet, visible, visible_lines
from experiments.evaluation._predictions import Predictions
from experiments.figures.svg import inlined

COMMANDS = "\x1b[2J\x1b]0;owned\x07 name\r\x9b31m\u202e"
"""Clears the screen, renames the window, goes to the start of the line, turns colours and the direction of writing."""
FORMULAS = ["=HYPERLINK(1)", "+1+cmd", "-2+3", "@SUM(1)", "\t=1", "'=1"]
TEXTS = ["cat", "", "a=b", "3", "-0.5", "+1e3", "nan", "x'"]


def obeyed(text: str) -> list[str]:
    """Return the characters that a terminal would obey."""
    return [character for character in text if not character.isprintable() and character not in "\n\t"]


def test_a_terminal_shows_control_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(tmp_path / "train.log")
    rows = table("class", "number")
    rows.add_row(COMMANDS, "1")
    for content in (COMMANDS, f"two\nlines {COMMANDS}", rows, f"é {COMMANDS}"):
        screen.print(content)
    screen.close()
    shown, logged = capsys.readouterr().out, (tmp_path / "train.log").read_text()
    for text in (shown, logged):
        assert obeyed(text) == []
        assert text.count("\\x1b[2J") == 4
        assert "two\nlines" in text


def test_a_printed_table_of_predictions_shows_control_characters() -> None:
    text = repr(Predictions([COMMANDS], ["a", COMMANDS], np.array([[0.2, 0.8]])))
    assert obeyed(text) == []
    assert "\\x1b[2J" in text


def test_one_line_stays_one_line() -> None:
    assert visible("a\nb\x1b") == "a\\nb\\x1b"
    assert visible_lines("a\nb\tc\x1b") == "a\nb\tc\\x1b"
    text = io.StringIO()
    plain(text).print("a\nb")
    assert text.getvalue() == "a\nb\n"


@pytest.mark.parametrize("text", FORMULAS)
def test_a_spreadsheet_shows_a_formula_of_a_stranger_as_text(text: str) -> None:
    assert spreadsheet(text) == f"'{text}"
    assert spreadsheet(text).removeprefix("'") == text


@pytest.mark.parametrize("text", TEXTS)
def test_other_texts_and_numbers_do_not_change(text: str) -> None:
    assert spreadsheet(text) == text
    assert spreadsheet(-0.5) == -0.5
    assert spreadsheet(None) is None


def test_a_name_with_line_breaks_stays_in_one_row() -> None:
    assert spreadsheet("a\r=1\x1b") == "a\\r=1\\x1b"
    assert spreadsheet("\r=1") == "\\r=1"


def test_predictions_hold_no_formulas() -> None:
    rows = list(csv.reader(io.StringIO(Predictions(FORMULAS, ["=1", "-x"], np.eye(2)[[0, 1, 0, 1, 0, 1]]).as_csv())))
    assert rows[0] == ["example", "prediction", "p(=1)", "p(-x)"]
    assert [row[0] for row in rows[1:]] == [f"'{name}" for name in FORMULAS]
    assert {row[1] for row in rows[1:]} == {"'=1", "'-x"}


def test_markdown_holds_no_html() -> None:
    text = markdown("<img src=x onerror=alert(1)> [a](javascript:b) `c` | &lt; \x1b\nnext")
    assert not set("<>\n\x1b") & set(text)
    assert "\\[a\\](javascript:b) \\`c\\` \\|" in text
    assert "&amp;lt;" in text


ATTACKS = [
    "<script>alert(1)</script>",
    "<g onload='alert(1)'/>",
    "<g ONCLICK='alert(1)'/>",
    "<image href='http://example.org/x.png'/>",
    "<image xmlns:xlink='http://www.w3.org/1999/xlink' xlink:href='javascript:alert(1)'/>",
    "<use href='data:image/svg+xml;base64,AAAA'/>",
    "<foreignObject><iframe src='http://example.org'/></foreignObject>",
    "<animate attributeName='href' values='javascript:alert(1)'/>",
    "<set attributeName='onclick' to='alert(1)'/>",
    "<a href='javascript:alert(1)'><text>x</text></a>",
    "<style>@import 'http://example.org/x.css'</style>",
    "<rect style='fill:url(http://example.org/x)'/>",
    "<rect style='position:fixed;inset:0'/>",
    "<h:script xmlns:h='http://www.w3.org/1999/xhtml'>alert(1)</h:script>",
    "<g><g><script>alert(1)</script></g></g>",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_figure_keeps_only_shapes_and_texts(attack: str) -> None:
    good = "<path id='p' d='M 0 0' style='fill: none; clip-path: url(#c)'/><use href='#p'/><text>x</text>"
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' width='10pt' height='10pt'>{good}{attack}</svg>"
    page = inlined(svg.encode()).lower()
    for word in ("script", "alert", "onload", "onclick", "http://example", "foreign", "iframe", "svg+xml", "fixed"):
        assert word not in page
    for kept in ("<path", "<use", "<text>x</text>", "fill: none"):
        assert kept in page


def test_a_figure_that_defines_entities_is_refused() -> None:
    with pytest.raises(ValueError, match="entities"):
        inlined(b"<!DOCTYPE svg [<!ENTITY a 'aaaa'>]><svg width='1pt' height='1pt'>&a;</svg>")


def test_a_new_file_replaces_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    with new_file(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").read_bytes() == b"new"
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "precious").read_text() == "precious"


def test_nothing_is_appended_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        appended(tmp_path / "link")
    (tmp_path / "second").hardlink_to(tmp_path / "precious")
    with appended(tmp_path / "second") as file:
        file.write(" and more")
    assert (tmp_path / "second").read_text() == "precious and more"
    assert (tmp_path / "precious").read_text() == "precious"
