"""How a case ends: refused in one sentence that begins with the setting, or read with notes."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from experiments.common.errors import UserError


def assert_refused(load: Callable[[], Any], pattern: str) -> None:
    """Fail unless loading ends in one sentence about a setting of `data`."""
    with pytest.raises(UserError, match=pattern) as caught:
        load()
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("data")


def assert_printed(sentences: Iterable[str], patterns: Iterable[str]) -> None:
    """Fail unless every pattern is in one of the sentences."""
    printed = "\n".join(sentences)
    for pattern in patterns:
        assert re.search(pattern, printed), printed
