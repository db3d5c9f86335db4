"""A defect of ours shows its traceback, in which the texts of strangers are only texts."""

import sys
from pathlib import Path

import pytest

from experiments.cli.entry import entry_point
from tests.helpers import SMALL, run_fresh, thinned

FAILING = """
from experiments.runs import alone
def fail(*arguments, **settings):
    raise LookupError("\\x1b[2Jowned\\x07")
alone.train = fail
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", thinned([(), ("-m", "hydra/launcher=basic")]))
def test_a_traceback_shows_control_characters(tmp_path: Path, command: tuple[str, ...]) -> None:
    outcome = run_fresh(tmp_path, *command, *SMALL, prelude=FAILING)
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert r"LookupError: \x1b[2Jowned\x07" in outcome.err
    assert not {"\x1b", "\x07"} & {*outcome.out, *outcome.err}


def test_a_defect_of_a_command_is_not_hidden(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(sys, "argv", ["train"])

    @entry_point
    def main() -> None:
        raise LookupError("\x1b[2Jowned")

    with pytest.raises(LookupError) as caught:
        main()
    sys.excepthook(LookupError, caught.value, caught.tb)
    assert r"LookupError: \x1b[2Jowned" in capsys.readouterr().err
