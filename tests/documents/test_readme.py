"""README.md is short, and what it shows is what its commands print."""

import re
import subprocess

import pytest

from experiments.cli.verbs import VERBS
from experiments.folders.dashboard import addresses
from tests.documents.pages import PAGES, Reader, blocks, commands_of, masked, shown_after
from tests.helpers import NO_PICTURES, REPOSITORY, Commands

README = PAGES["README.md"]
MOST_LINES = 200
FEWEST_ROWS = 1
"""Of an output that is shown."""


def test_it_is_short() -> None:
    assert README.count("\n") <= MOST_LINES


def command(page: str, part: str) -> str:
    """The command of a page that has this part."""
    (line,) = [line for line in commands_of(page) if part in line]
    return line


def assert_shown(page: str, line: str, printed: str) -> None:
    """Fail unless a page shows rows of the output of a command, apart from numbers that depend on the machine."""
    rows = [row for row in shown_after(page, line).splitlines() if row.strip() and row != "..."]
    assert len(rows) >= FEWEST_ROWS
    real = {row.strip() for row in masked(printed).splitlines()}
    assert [row for row in rows if masked(row).strip() not in real] == []


@pytest.mark.slow
def test_the_training_prints_what_is_shown(reader: Reader) -> None:
    line = command("README.md", "optimizer.lr=0.1 init=xavier")
    assert_shown("README.md", line, reader.commands.train(*reader.typed(line)[1], NO_PICTURES).out)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_sweep_and_its_comparison_print_what_is_shown(reader: Reader) -> None:
    sweep, compare = (command("README.md", part) for part in ("name=rates", "compare outputs/rates"))
    assert reader.commands.train(*reader.typed(sweep)[1], NO_PICTURES).code == 0
    outcome = reader.commands.type("compare", "outputs/rates")
    assert_shown("README.md", compare, outcome.out)
    assert (reader.commands.folder / "outputs" / "rates" / "comparison" / "report.html").exists()


@pytest.mark.slow
def test_the_table_of_columns_is_the_real_one(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    _, words = reader.typed(command("README.md", "patients.csv"))
    outcome = reader.commands.train(*words, "training.epochs=1", NO_PICTURES)
    assert outcome.code == 0, outcome.err
    printed = [row.strip() for row in outcome.out.splitlines()]
    for page in ("README.md", "docs/howto/own_data.md", "docs/data.md"):
        (shown,) = re.findall(r"^column    holds.*?(?=```)", PAGES[page], re.DOTALL | re.MULTILINE)
        assert [row for row in shown.splitlines() if row.strip() not in printed] == [], page


def test_the_shown_lines_of_the_table_are_in_the_file() -> None:
    lines = (REPOSITORY / "docs" / "patients.csv").read_text("utf-8").splitlines()
    assert re.findall(r"^(?:Id|\d);.*", PAGES["docs/howto/own_data.md"], re.MULTILINE) == lines[:3]
    assert all(f"`{line}`" in PAGES["docs/data.md"] for line in lines[:2])


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_fair_comparison_prints_what_is_shown(reader: Reader) -> None:
    line = command("README.md", "search=fair")
    outcome = reader.commands.train(*reader.typed(line)[1], NO_PICTURES)
    assert_shown("README.md", line, outcome.out)


@pytest.mark.slow
def test_the_evaluation_and_the_export_print_what_is_shown(reader: Reader) -> None:
    folder = reader.commands.trained("optimizer=sgd", "optimizer.lr=0.1", "init=xavier", NO_PICTURES)
    outcomes = [reader.commands.type(verb, f"run={folder}") for verb in ("evaluate", "export")]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert_shown("README.md", command("README.md", "experiments.export"), outcomes[0].out + outcomes[1].out)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_tutorial_prints_what_it_shows(commands: Commands) -> None:
    page = "docs/tutorial.md"
    for line in commands_of(page):
        verb, words = Reader(commands).typed(line)
        outcome = commands.type(verb, *words, *([NO_PICTURES] if verb == "train" else []))
        assert_shown(page, line, outcome.out + outcome.err)


def test_the_tutorial_shows_the_addresses_that_the_dashboard_prints() -> None:
    printed = [f"{title:<22} {address}" for title, address in addresses("http://localhost:6006", old=False)]
    assert shown_after("docs/tutorial.md", "make dashboard").splitlines() == printed


def test_the_make_targets_exist() -> None:
    lines = [line for page in PAGES for block in blocks(page) for line in block.lines]
    named = set(re.findall(r"^make ([a-z-]+)", "\n".join(lines), re.MULTILINE))
    named |= {name for text in PAGES.values() for name in re.findall(r"`make ([a-z-]+)", text)}
    listed = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert named <= set(re.findall(r"^  make ([a-z-]+)", listed, re.MULTILINE))
    assert {"train", "dashboard", "docs", "check", "test"} <= named
    assert set(re.findall(r"^  experiments (\w+)", listed, re.MULTILINE)) == set(VERBS)
    for target, words in {"check": "the quick one", "test": "minutes"}.items():
        assert re.search(rf"^  make {target} +.*{words}", listed, re.MULTILINE)
    said = subprocess.run(["make", "-n", "test"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert "about 10 minutes on 2 cores" in said
