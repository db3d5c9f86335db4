"""Every command of the documents runs, small, or is marked with the reason why not."""

import ast
import re
import sys
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from experiments.cli.verbs import VERBS
from tests.documents.pages import (
    ELSEWHERE,
    MACHINERY,
    PAGES,
    SMALLER,
    VERB,
    Reader,
    blocks,
    commands_of,
    first_places,
    masked,
    reduced,
    shown_after,
)
from tests.helpers import NO_PICTURES, REPOSITORY, SHARED_DATA, Commands, run_folders, summary

DEAR = (
    *("data=mnist", "executor=local", "executor=ray", "launcher=joblib", "reproduce ", "hydra/sweeper=optuna"),
    "search=coarse_to_fine",
    *(
        "python -m experiments.check",
        "experiments.compare",
        "experiments.export",
        "experiments.evaluate",
        "search=fair",
    ),
    *("experiment=zero_weights", "name=xavier", "name=he ", "surface=rosenbrock", "optimizer=sgd,momentum,ada"),
)
"""Parts of commands that take several seconds even when they are small, or that another test runs too."""
KEPT = (
    "experiments.compare outputs/rates",
    "experiments.evaluate run=outputs/train/<date>_<time> best=5 ensemble=mean",
    "experiments.evaluate run=latest input=own/pictures",
    "search=fair for=optimizer optimizer=sgd,adam 'optimizer.lr=tag(log,interval(1e-4,1))' hydra.sweeper.n_trials=8",
    "'seed=range(8)' resume=latest",
    "data=mnist data.download=true training.batch_size=128",
    "data=mnist data.download=true model=cnn 'data.keep_classes=[0,1,2,3,4]'",
)
"""Such commands that `make test` runs anyway; the tests of outputs run `check`, `export` and `evaluate` too."""
CODES = {"only=signal": 1, "optimizer=adm": 2}
"""Commands that are there to fail."""


def cases() -> list[Any]:
    """Each command with its page; the dear ones belong to `make test-all`."""
    return [
        pytest.param(
            page,
            line,
            id=f"{page}: {line.partition('experiments.')[2]}"[:120],
            marks=pytest.mark.exhaustive
            if any(part in line for part in DEAR) and not any(part in line for part in KEPT)
            else (),
        )
        for page, line in first_places()
    ]


def write_examples(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the files that a page shows: blocks whose first line is a comment with the name of the file."""
    for language in ("python", "yaml"):
        for block in blocks(page, language):
            named = re.match(r"# (\S+\.(?:py|yaml))\n", block.code)
            if named:
                path = Path(named[1])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.code)
                monkeypatch.delitem(sys.modules, path.stem, raising=False)
    invalidate_caches()  # a folder that was listed in the same moment may be remembered without the files


@pytest.mark.slow
@pytest.mark.parametrize(("page", "line"), cases())
def test_the_commands_run(reader: Reader, monkeypatch: pytest.MonkeyPatch, page: str, line: str) -> None:
    if "data=mnist" in line and not (SHARED_DATA / "MNIST").is_dir():
        pytest.skip("MNIST is not on this machine")
    write_examples(page, monkeypatch)
    verb, words = reader.typed(line)
    if verb == "train":
        words = reduced(words)
        if "resume=latest" in words:
            assert reader.commands.train(*(word for word in words if word != "resume=latest")).code == 0
    elif verb == "remedy":
        words = [*(word for word in words if not word.startswith("most=")), "seeds=2", "most=1"]
    before = set(run_folders(reader.commands.folder))
    outcome = reader.commands.type(verb, *words)
    code = next((code for part, code in CODES.items() if part in line), 0)
    assert outcome.code == code, outcome.err
    if verb == "train" and code == 0:
        new = set(run_folders(reader.commands.folder)) - before
        assert {summary(folder)["status"] for folder in new} <= {"finished"}
        assert new or any(word.startswith("resume=") for word in words)


def test_every_line_of_the_shell_is_a_command_that_is_tested_or_marked() -> None:
    unknown = [
        f"{page}: {line}"
        for page in PAGES
        for block in blocks(page)
        if block.mark is None
        for line in block.lines
        if line and not VERB.fullmatch(line) and not MACHINERY.match(line)
    ]
    assert unknown == []


def test_every_command_has_a_verb_and_every_verb_a_command() -> None:
    verbs = {match["verb"] for page in PAGES for line in commands_of(page) if (match := VERB.fullmatch(line))}
    assert verbs == set(VERBS)
    assert set(ELSEWHERE) <= set(PAGES)


QUICK_STARTS = ("docs/start_zh_hans.md", "docs/start_zh_hant.md", "docs/start_fr.md")


@pytest.mark.parametrize("page", QUICK_STARTS)
def test_the_quick_starts_have_the_same_commands(page: str) -> None:
    assert [block.code for block in blocks(page)] == [block.code for block in blocks(QUICK_STARTS[0])]
    assert len(commands_of(page)) >= 7


@pytest.mark.slow
def test_the_checks_print_what_is_shown(commands: Commands) -> None:
    outcome = commands.type("check")
    assert outcome.code == 0, outcome.err
    shown = re.findall(r"^(\w+)  .* (pass|warn|fail) *$", PAGES["docs/checks.md"], re.MULTILINE)
    assert shown == re.findall(r"^(\w+)  .* (pass|warn|fail) *$", outcome.out, re.MULTILINE)
    assert len(shown) == 11


@pytest.mark.slow
def test_the_surfaces_print_what_is_shown(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    line = commands_of("docs/surfaces.md")[0]
    outcome = commands.type("surface", *line.split()[3:])
    shown = shown_after("docs/surfaces.md", line).splitlines()
    assert [row.rstrip() for row in outcome.out.splitlines()][: len(shown)] == shown
    monkeypatch.setenv("COLUMNS", "60")
    narrow = commands.type("surface", *line.split()[3:]).out.splitlines()
    assert narrow[3].split() == ["sgd", "0.95", "-0.35,", "0.0848", "0.0133", "27", "100%", "finished"]


@pytest.mark.slow
def test_the_shown_end_of_a_sweep_is_the_real_one(reader: Reader) -> None:
    (line,) = [line for line in commands_of("docs/sweeps.md") if "sweep.zip" in line]
    shown = shown_after("docs/sweeps.md", line)
    outcome = reader.commands.train(*reader.typed(line)[1], NO_PICTURES)
    assert outcome.code == 0, outcome.err
    printed = outcome.out[outcome.out.index("run  optimizer ") :]
    printed = re.sub(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", "<date>_<time>", printed)
    printed = re.sub(r"(\s)\S*/bin/(python|tensorboard) ", r"\1\2 ", printed)
    assert [row.rstrip() for row in printed.splitlines()] == shown.splitlines()


@pytest.mark.slow
def test_the_shown_verdict_is_the_real_one(reader: Reader) -> None:
    line = commands_of("docs/inside.md")[0]
    shown = shown_after("docs/inside.md", line)
    outcome = reader.commands.train(*reader.typed(line)[1])
    assert outcome.out.count(shown.splitlines()[0]) == 1
    assert all(row in outcome.out for row in shown.splitlines())


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_export_prints_what_is_shown(reader: Reader) -> None:
    (line,) = commands_of("docs/howto/export.md")
    outcome = reader.commands.type("export", *reader.typed(line)[1])
    assert outcome.code == 0, outcome.err
    assert masked(shown_after("docs/howto/export.md", line)) in masked(outcome.out)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["docs/library.md", "docs/howto/export.md", "docs/howto/plain_pytorch.md"])
def test_the_python_examples_run(page: str, reader: Reader) -> None:
    plt.switch_backend("agg")
    names: dict[str, Any] = {}
    if "run_folder" in PAGES[page]:
        names["run_folder"] = reader.commands.trained(*SMALLER)
        if "export" in page:
            assert reader.commands.type("export", f"run={names['run_folder']}").code == 0
    for block, shown in re.findall(r"```python\n(.*?)```\s*(?:```text\n(.*?)```)?", PAGES[page], re.DOTALL):
        *before, last = ast.parse(block).body
        exec(compile(ast.Module(before, []), page, "exec"), names)
        if not isinstance(last, ast.Expr):
            exec(compile(ast.Module([last], []), page, "exec"), names)
            continue
        value = eval(compile(ast.Expression(last.value), page, "eval"), names)
        assert not shown or repr(value) == shown.rstrip("\n")
    plt.close("all")
    assert {summary(folder)["status"] for folder in run_folders(reader.commands.folder)} == {"finished"}


def test_the_shown_error_is_the_real_one(commands: Commands) -> None:
    shown = {error for text in PAGES.values() for error in re.findall(r"^Error: unknown optimizer.*$", text, re.M)}
    assert {commands.train("optimizer=adm").err} == {f"{error}\n" for error in shown}


def links() -> list[tuple[str, str]]:
    """Each link of a page to a file."""
    return [
        (page, link.partition("#")[0])
        for page, text in PAGES.items()
        for text in [re.sub(r"```.*?```", "", text, flags=re.DOTALL)]
        for link in re.findall(r"\]\((?!http|#)([^)\s]+)\)", text)
    ]


def test_the_pictures_and_links_exist() -> None:
    assert [(page, link) for page, link in links() if not (REPOSITORY / page).parent.joinpath(link).exists()] == []


def test_pages_of_the_site_link_only_to_pages_of_the_site() -> None:
    docs = REPOSITORY / "docs"
    assert [
        (page, link)
        for page, link in links()
        if page.startswith("docs/") and docs not in (REPOSITORY / page).parent.joinpath(link).resolve().parents
    ] == []
