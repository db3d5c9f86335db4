"""Fixtures."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource

from tests.browser import CHROMIUM
from tests.helpers import SMALL, Commands, trained_in

if TYPE_CHECKING:
    from playwright.sync_api import Browser

if os.environ.get("TEST_DEVICE") != "cuda":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # bits are compared on the CPU, also by processes that tests start
os.environ.pop("COLUMNS", None)  # parallel tests get 80, and what is printed would depend on their number
torch.set_num_threads(1)

DONE = pytest.StashKey[int]()
COLLECTED_EVERY = 100
"""Tests between two collections of garbage that set aside what is in use: the next ones need not look at it."""


@pytest.fixture(scope="session", autouse=True)
def _yaml_read_once() -> Iterator[None]:
    """Let Hydra parse a YAML file once per version of it: thousands of commands compose the same files."""
    Plugins.instance()  # imports the sources of configuration anew: the classes in use are those that it registers
    with pytest.MonkeyPatch.context() as patch:
        for scheme in ("file", "pkg"):
            source = SourcesRegistry.instance().resolve(scheme)
            patch.setattr(source, "load_config", read_once(source.load_config))
        yield


def read_once(real: Callable[[ConfigSource, str], ConfigResult]) -> Callable[[ConfigSource, str], ConfigResult]:
    """Return a reader of a source that keeps what it read, pickled, as long as the file is not changed."""
    known: dict[tuple[object, ...], bytes] = {}

    def load_config(self: ConfigSource, config_path: str) -> ConfigResult:
        key: tuple[object, ...] = (self.provider, self.path, config_path)
        if self.scheme() == "file":
            try:
                state = (Path(self.path) / self._normalize_file_name(config_path)).stat()
            except OSError:
                return real(self, config_path)
            key += (state.st_mtime_ns, state.st_size)
        if key not in known:
            known[key] = pickle.dumps(real(self, config_path))
        return pickle.loads(known[key])

    return load_config


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that open a browser."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Set aside the objects that are in use, those of imported modules above all."""
    done = item.config.stash.setdefault(DONE, 0)
    item.config.stash[DONE] = done + 1
    if done % COLLECTED_EVERY == 0:
        gc.collect()
        gc.freeze()


def pytest_sessionfinish() -> None:
    """Let the interpreter free the objects that were set aside."""
    gc.unfreeze()


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
