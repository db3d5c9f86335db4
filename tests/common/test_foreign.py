"""Files of strangers: what is refused, and that it takes no time."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.common import foreign
from experiments.common.files import regular_bytes, regular_text
from experiments.common.foreign import read_csv, read_json, read_yaml

YAML = [
    ("a: [1", "is not readable YAML"),
    ("a: " + "[" * 500, "is nested too deeply"),
    ("? " * 3_000, "is nested too deeply"),
    ("- " * 3_000, "is nested too deeply"),
    ("".join(f"{' ' * depth}a:\n" for depth in range(300)), "is nested too deeply"),
    ("a: &a {b: 1}\nc: [" + "*a, " * 17 + "]", "has more than 16 aliases"),
    ("a: &a {b: *a}", "has a value that contains itself"),
    ("a: &a [" + "1," * 200 + "]\nb: [" + "*a, " * 9 + "]", "has more than 1,000 values"),
    ("[" + "1," * 1_000 + "2]", "has more than 1,000 values"),
    ("a: 1" + ":59" * 100_000, "has a number with more than 20 colons"),
    ("a: !!int ''", "is not readable YAML"),
    ("a: !!timestamp soon", "is not readable YAML"),
    ("a: !!bool perhaps", "is not readable YAML"),
    ("a: !!python/object/apply:os.system [true]", "is not readable YAML"),
    ("day: 2020-13-45", "is not readable YAML"),
]
JSON = [
    ("[" * 100_000, "has more than 1,000 values"),
    ("[" * 999 + "]" * 999, "is nested too deeply"),
    ('{"a": 1', "is not readable JSON"),
    ("1" * 5_000, "is not readable JSON"),
    ("[" + "1," * 1_000 + "2]", "has more than 1,000 values"),
]


@pytest.mark.parametrize(
    ("read", "name", "text", "problem"),
    [*((read_yaml, "config.yaml", *case) for case in YAML), *((read_json, "summary.json", *case) for case in JSON)],
)
def test_yaml_and_json_have_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], Any], name: str, text: str, problem: str
) -> None:
    monkeypatch.setattr(foreign, "MOST_NODES", 1_000)
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"^{re.escape(name)} {problem}"):
        read(path)


def test_brackets_in_texts_are_no_levels(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    text = ["[" * 300 + '"', ["{" * 300 + "\\"]]
    path.write_text(json.dumps(text))
    assert read_json(path) == text


def test_our_own_yaml_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: &a {b: 1}\nc: *a\nd: 12:30:45\ne: ['*.bias']\n")
    assert read_yaml(path) == {"a": {"b": 1}, "c": {"b": 1}, "d": 45045, "e": ["*.bias"]}


def test_a_table_has_limits(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text('epoch,"' + "x" * 200_000)
    with pytest.raises(ValueError, match=r"^metrics\.csv is not a table"):
        read_csv(path)


def test_only_a_regular_file_of_limited_size_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(b"x" * 11)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name in ("pipe", "folder"):
        with pytest.raises((ValueError, IsADirectoryError)):
            regular_bytes(tmp_path / name)
    with pytest.raises(ValueError, match=r"^large is larger than 10 bytes"):
        regular_bytes(tmp_path / "large", 10)
    with pytest.raises(ValueError, match=r"^bytes is not text"):
        regular_text(tmp_path / "bytes")
    with pytest.raises(ValueError, match="is not a regular file"):
        regular_bytes(Path("/dev/zero"))
    with pytest.raises(FileNotFoundError):
        regular_bytes(tmp_path / "absent")
