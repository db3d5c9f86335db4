"""The tables of the documents repeat the configuration, which describes every setting once."""

import ast
import dataclasses
import itertools
import re
from pathlib import Path

import pytest

from experiments.assembly import General, Training, parts
from experiments.assembly._datasets import Splitting
from experiments.checks import CHECKS
from experiments.cli._help import settings
from experiments.common.keys import EARLIER_RATES
from experiments.comparison.options import MEANINGS
from experiments.training.member import EarlyStopping
from tests.documents.pages import PAGES
from tests.helpers import CONF, REPOSITORY


def test_the_table_of_choices_is_complete() -> None:
    text = PAGES["docs/settings.md"] + PAGES["docs/surfaces.md"]
    rows = dict(re.findall(r"^\| `(\w+)` \| (`.*`) \|$", text, re.MULTILINE))
    groups = {
        folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
        for folder in CONF.iterdir()
        if folder.is_dir() and folder.name != "experiment"
    }
    assert {name: re.findall(r"`(\w+)`", choices) for name, choices in rows.items()} == groups


def test_every_choice_has_a_description() -> None:
    for path in CONF.glob("*/*.yaml"):
        assert path.read_text().startswith("# "), path


def attribute_docstrings(path: Path, name: str) -> dict[str, str]:
    """The texts below the fields of a class in a Python file."""
    (cls,) = (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef) and node.name == name)
    return {
        field.target.id: text.value.value
        for field, text in itertools.pairwise(cls.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


PLUGINS = REPOSITORY / "src" / "hydra_plugins"
DESCRIPTIONS = {
    **{setting.key: setting.comment for setting in settings([CONF], "train") if setting.comment},
    **MEANINGS,
    **{
        f"{section}.{name}": text
        for section, file, cls in (
            ("hydra.sweeper", "experiments_search.py", "SearchConfig"),
            ("hydra.launcher", "experiments_sweeps.py", "StackedConfig"),
            ("hydra.launcher.ray", "experiments_sweeps.py", "Ray"),
            ("hydra.launcher.local", "experiments_sweeps.py", "Local"),
        )
        for name, text in attribute_docstrings(PLUGINS / file, cls).items()
    },
}
"""Each setting and option is described in one place: its YAML comment, its docstring, or `MEANINGS`."""

RECORDED = {EARLIER_RATES}
"""Fields that only the folder of a resumed run has."""

TABLE = re.compile(r"^\| (?:key|setting|option) \| what it does \|\n\|---\|---\|\n((?:\|.*\n)+)", re.MULTILINE)


@pytest.mark.parametrize("page", ["docs/settings.md", "docs/comparison.md", "docs/sweeps.md"])
def test_tables_of_settings_repeat_their_descriptions(page: str) -> None:
    tables = TABLE.findall(PAGES[page])
    assert tables
    for table in tables:
        for row in table.splitlines():
            key = row.split("`")[1]
            assert row == f"| `{key}` | {DESCRIPTIONS[key]} |"


def test_every_setting_is_described() -> None:
    listed = [setting for setting in settings([CONF], "train") if setting.value is not None]
    assert [s.key for s in listed if not s.comment and not s.key.endswith(".enabled")] == []


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("", General),
        ("training.", Training),
        ("training.early_stopping.", EarlyStopping),
        ("data.", Splitting),
        ("init.", parts.Initialization),
        ("init_from.", parts.InitFrom),
        ("optimizer.", parts.ParameterGrouping),
        ("scheduler.", parts.Scheduling),
    ],
)
def test_the_configuration_has_every_setting(section: str, kind: type) -> None:
    keys = {setting.key for setting in settings([CONF], "train")}
    assert {section + field.name for field in dataclasses.fields(kind)} - RECORDED <= keys


def test_every_check_has_a_row() -> None:
    for name in CHECKS:
        assert f"| `{name}` |" in PAGES["docs/checks.md"], name
