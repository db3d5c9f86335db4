"""Configurations as YAML: the text of each setting is written once."""

from enum import Enum
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.folders.hydra import TEXTS, as_yaml, dumped

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200)
KEYS = st.text(max_size=150) | st.integers() | st.booleans()
CONTENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)


@settings(max_examples=150, deadline=None)
@given(st.lists(CONTENTS, min_size=1, max_size=3))
def test_the_text_is_that_of_the_whole(contents: list[Any]) -> None:
    """Whatever the keys and values are, and whatever was written before."""
    for content in [*contents, *contents]:
        assert as_yaml(content) == dumped(content)


class Color(Enum):
    """A setting of a data class."""

    RED = 1


@pytest.mark.parametrize("values", [(1, "1", True, 1.0, None, "null", "1e-3", 1e-3, Color.RED, "RED", [], {}, (1,))])
def test_values_that_look_alike_have_their_own_texts(values: tuple[Any, ...]) -> None:
    for value in values:
        try:
            expected = dumped({"a": {"b": value}})
        except yaml.YAMLError:
            continue
        assert as_yaml({"a": {"b": value}}) == expected


def test_a_setting_is_written_once() -> None:
    as_yaml({"optimizer": {"lr": 0.25, "momentum": 0.875}})
    before = len(TEXTS)
    assert as_yaml({"optimizer": {"lr": 0.25, "momentum": 0.875}}) == "optimizer:\n  lr: 0.25\n  momentum: 0.875\n"
    assert len(TEXTS) == before
