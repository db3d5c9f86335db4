"""Fixtures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from tests.browser import CHROMIUM
from tests.helpers import SMALL, Commands, trained_in

if TYPE_CHECKING:
    from playwright.sync_api import Browser

if os.environ.get("TEST_DEVICE") != "cuda":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # bits are compared on the CPU, also by processes that tests start
torch.set_num_threads(1)


@pytest.fixture
def commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The command line in an empty folder."""
    return Commands(tmp_path, capsys, monkeypatch)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trained run on digits, to be copied."""
    return trained_in(tmp_path_factory.mktemp("trained"), *SMALL, "model.batch_norm=true")


@pytest.fixture
def copied(commands: Commands, trained: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(trained, commands.folder / "copied"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for all tests of a file."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()
