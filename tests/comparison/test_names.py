"""Names of groups among many different runs, and the table at every width."""

import re
from typing import Any

import pytest

from tests.comparison.planted import compared, plant, rows_of
from tests.helpers import Commands

pytestmark = pytest.mark.usefixtures("undrawn")

DIFFERENT: tuple[dict[str, Any], ...] = (
    {},
    {"optimizer": "adam"},
    {"init": "xavier"},
    {"training__epochs": 20, "model__dropout": 0.5},
    {"model__hidden": [50, 50, 50, 50, 50], "init": "xavier", "model__batch_norm": True},
)
"""The settings of runs that were typed one after another."""
NAMES = (
    "common settings",
    "optimizer=adam",
    "init=xavier",
    "model.dropout=0.5 training.epochs=20",
    "init=xavier model.hidden=[50,50,50,50,50]",
)


def plant_different(commands: Commands, seeds: int = 3) -> None:
    """Plant runs with little in common."""
    for number, settings in enumerate(DIFFERENT):
        for seed in range(seeds):
            value = 0.9 - 0.05 * number + 0.001 * seed * (number + 1)
            folder = commands.folder / f"{number}_{seed}"
            plant(folder, value, metric="val/accuracy", objective="val/accuracy", seed=seed, **settings)


def numbers(line: str) -> list[str]:
    """The means and intervals in a line."""
    return re.findall(r"\d\d\.\d\d %|\d\d\.\d\d to \d\d\.\d\d", line)


def test_names_leave_out_what_most_groups_have(commands: Commands) -> None:
    plant_different(commands)
    outcome = compared(commands, ".")
    found = [row["group"] for row in rows_of(commands.folder)]
    assert all("optimizer=sgd" not in name for name in found)
    assert found[:3] == list(NAMES[:3])
    lines = outcome.out.splitlines()
    assert lines[0] == "val/accuracy of 15 runs in 5 groups"
    assert lines[1].startswith("common settings: init=he optimizer=sgd ")
    assert lines[1].endswith(" (names have only what differs)")
    page = (commands.folder / "comparison" / "report.html").read_text()
    assert lines[1] in page
    for settings, name in zip(DIFFERENT, found, strict=True):
        for key, value in settings.items():
            if key in ("optimizer", "init"):
                assert f"{key}={value}" in name


def test_all_combinations_keep_whole_names(commands: Commands) -> None:
    for number in range(8):
        settings: dict[str, Any] = {
            "optimizer": ("sgd", "adam")[number % 2],
            "init": ("he", "xavier")[number // 2 % 2],
            "model__dropout": (0.0, 0.5)[number // 4],
        }
        plant(commands.folder / str(number), 0.5 + number / 100, seed=0, **settings)
    outcome = compared(commands, ".")
    assert "common settings" not in outcome.out
    assert all(row["group"].count("=") == 3 for row in rows_of(commands.folder))


@pytest.mark.parametrize("columns", [160, 110, 80, 60, 40, 30])
def test_the_mean_and_the_interval_are_whole_at_every_width_also_in_a_pipe(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    plant_different(commands)
    monkeypatch.setenv("COLUMNS", str(columns))
    table = compared(commands, ".").out.split("\n\n")[1].splitlines()
    assert max(map(len, table)) <= columns
    assert not any("\u2026" in line for line in table)
    shown = [number for line in table for number in numbers(line)]
    rows = rows_of(commands.folder)
    wanted = [(100 * float(row["mean"]), 100 * float(row["low"]), 100 * float(row["high"])) for row in rows]
    assert shown == [text for mean, low, high in wanted for text in (f"{mean:.2f} %", f"{low:.2f} to {high:.2f}")]
    text = " ".join(" ".join(table).split())
    assert all(part in text for row in rows for part in row["group"].split())


def test_a_note_gives_the_command_that_compares_the_values_of_one_key(commands: Commands) -> None:
    plant_different(commands)
    (note,) = re.findall(r"note: The groups differ in \d keys; (by=\S+ best=\S+) compares", compared(commands, ".").out)
    outcome = compared(commands, ".", *note.split())
    assert "note: The groups differ" not in outcome.out
    assert [row["group"] for row in rows_of(commands.folder)] == ["init=he", "init=xavier"]


def test_why_a_large_difference_is_not_shown_and_what_letters_mean(commands: Commands) -> None:
    values = {"sgd": (0.97, 0.98, 0.96, 0.975, 0.965), "adam": (0.85, 0.21, 0.60, 0.25, 0.70)}
    for optimizer, group in values.items():
        for seed, value in enumerate(group):
            plant(
                commands.folder / f"{optimizer}{seed}",
                value,
                metric="val/accuracy",
                objective="val/accuracy",
                seed=seed,
                optimizer=optimizer,
            )
    for init, shift in (("xavier", 0.002), ("small_normal", 0.004), ("large_normal", 0.001)):
        for seed in range(5):
            folder = commands.folder / f"{init}{seed}"
            value = values["sgd"][(seed + 2) % 5] + shift
            plant(folder, value, metric="val/accuracy", objective="val/accuracy", seed=seed, init=init)
    said = compared(commands, ".").out
    reason = (
        "cannot be told apart at n = 5, although their intervals do not overlap, because the runs of init=he "
        "optimizer=adam range from 21.00 % to 85.00 % and 10 pairs are tested; at least "
    )
    assert reason in said
    assert said.count("although their intervals") == 1  # those of the others overlap
    assert "\nletters: groups that share a letter cannot be told apart\n" in said
    assert "letters:" not in compared(commands, ".", "baseline=optimizer=adam").out


def test_the_headline_of_two_groups_names_no_number_of_others(commands: Commands) -> None:
    for optimizer, values in {"sgd": (0.5, 0.6, 0.7), "adam": (0.55, 0.6, 0.72)}.items():
        for seed, value in enumerate(values):
            plant(commands.folder / f"{optimizer}{seed}", value, seed=seed, optimizer=optimizer)
    assert "n = 3), but the other group cannot be told apart from it\n" in compared(commands, ".").out
