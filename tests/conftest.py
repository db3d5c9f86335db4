"""Fixtures."""

from pathlib import Path

import pytest
import torch

from tests.helpers import Commands

torch.set_num_threads(1)


@pytest.fixture
def commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The command line in an empty folder."""
    return Commands(tmp_path, capsys, monkeypatch)
