"""Fixtures of the tests of comparisons."""

from collections.abc import Iterator
from typing import Any

import pytest

from experiments.comparison.report import Report


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave figures out, which take ten times as long as all the rest."""

    def nothing(self: Report, lines: Any, styles: Any) -> Iterator[Any]:
        del self, lines, styles
        return iter(())

    monkeypatch.setattr(Report, "figures", nothing)
