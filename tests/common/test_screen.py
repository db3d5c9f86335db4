"""Tables and commands on narrow terminals."""

from pathlib import Path

import pytest

from experiments.common.screen import Screen, fits, table

ROWS = (("features.hidden1.linear", "Linear", "100", "6,500"), ("head", "Linear", "10", "1,010"))


def layers(screen: Screen, columns: int, capture: pytest.CaptureFixture[str]) -> list[str]:
    """What a table of layers looks like on a terminal of this width."""
    shown = table("layer", "kind", "output", "parameters", right=("output", "parameters"))
    for row in ROWS:
        shown.add_row(*row)
    screen.terminal.width = columns
    capture.readouterr()
    screen.print_table(shown, spare=("kind", "output"))
    return [line.rstrip() for line in capture.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("columns", "header"),
    [
        (80, "layer                    kind    output  parameters"),
        (51, "layer                    kind    output  parameters"),
        (50, "layer                    output  parameters"),
        (40, "layer                    parameters"),
    ],
)
def test_a_table_loses_columns_on_a_narrow_terminal_and_keeps_them_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: int, header: str
) -> None:
    screen = Screen(tmp_path / "train.log")
    lines = layers(screen, columns, capsys)
    screen.close()
    assert lines[0] == header
    assert max(map(len, lines)) <= columns
    logged = (tmp_path / "train.log").read_text().splitlines()
    assert logged[0].rstrip() == "layer                    kind    output  parameters"


def test_a_command_stays_on_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(tmp_path / "train.log")
    screen.terminal.width = 40
    command = "tensorboard --logdir outputs/train/2026-11-21_12-00-00 and more"
    screen.print_command("view", command)
    screen.close()
    assert capsys.readouterr().out == f"view     {command}\n" == (tmp_path / "train.log").read_text()


def test_long_words_are_wrapped_and_not_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.terminal.width = 20
    shown = table("name", "number", wrapped=("name",))
    shown.add_row("x" * 30, "12345678")
    assert not fits(table("x" * 30), screen.terminal)
    screen.terminal.print(shown)
    assert capsys.readouterr().out.count("x") == 30
