"""Fixtures of the tests of documents."""

import pytest

from tests.documents.pages import Reader
from tests.helpers import Commands


@pytest.fixture
def reader(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Somebody who types commands in an empty folder."""
    monkeypatch.syspath_prepend(commands.folder)
    return Reader(commands)
