"""Heavy imports and the garbage collector."""

import gc
import sys
from collections.abc import Iterator

import pytest

from experiments.common import importing
from experiments.common.importing import heavy_imports


@pytest.fixture
def unimported(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process in which nothing heavy has been imported."""
    monkeypatch.setattr(importing, "HEAVY", "not.imported")
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.usefixtures("unimported")
def test_what_the_first_block_imports_is_never_searched() -> None:
    """The collector is off inside, and on behind it; then it does not search what existed."""
    frozen = gc.get_freeze_count()
    with heavy_imports():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen + len(sys.modules)


@pytest.mark.usefixtures("unimported")
def test_a_failed_import_enables_the_collector() -> None:
    """An import may fail."""
    with pytest.raises(ImportError), heavy_imports():
        raise ImportError
    assert gc.isenabled()


def test_later_blocks_change_nothing() -> None:
    """Torch has been imported: what exists now may become garbage."""
    frozen = gc.get_freeze_count()
    with heavy_imports():
        assert gc.isenabled()
    assert gc.get_freeze_count() == frozen


@pytest.mark.usefixtures("unimported")
def test_a_collector_that_is_off_stays_off() -> None:
    """The user has turned it off."""
    gc.disable()
    with heavy_imports():
        assert not gc.isenabled()
    assert not gc.isenabled()
