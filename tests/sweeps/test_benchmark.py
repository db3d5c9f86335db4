"""The benchmark of long sweeps."""

import io
import re
from importlib import import_module

import pytest
from benchmarks import sweeps
from benchmarks.measure import Settings, process
from rich.console import Console


@pytest.mark.slow
def test_it_prints_time_and_memory_of_each_further_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "QUICK_SIZES", (2, 4, 6))
    monkeypatch.setattr(sweeps, "TINY", (*sweeps.TINY, "observers.tensorboard.enabled=false"))
    monkeypatch.setattr(sweeps, "JOBS", 40)
    text = io.StringIO()
    registered = import_module("benchmarks.__main__").BENCHMARKS
    registered["sweeps"].run(Settings(None, quick=True), Console(file=text, width=150))
    shown = text.getvalue()
    for name in ("6 runs", "a run more, 2 to 4", "a run more, 4 to 6", "flat", "composing a job"):
        assert name in shown
    assert len(re.findall(r"MiB", shown)) == 2


def test_a_measured_process_may_import_the_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    measured = process(["-c", "import benchmarks"])
    assert measured.cpu > 0
    assert measured.peak > 2**20


def test_composing_is_measured_with_hydras_own_configuration() -> None:
    assert 0 < sweeps.milliseconds_of_a_job(20) < 1000
