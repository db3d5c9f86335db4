"""Stop requests by signals."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from experiments.training.stop import SignalStop

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


@pytest.fixture
def second() -> Iterator[list[int]]:
    """The signals that reached the handlers from before."""
    numbers: list[int] = []
    before = {name: signal.signal(getattr(signal, name), lambda number, _: numbers.append(number)) for name in NAMES}
    yield numbers
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)


def handlers() -> list[Any]:
    """Return the handlers of the three signals."""
    return [signal.getsignal(getattr(signal, name)) for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_the_first_signal_is_a_request_and_the_second_goes_to_the_previous_handler(
    name: str, second: list[int]
) -> None:
    number, before, stop = getattr(signal, name), handlers(), SignalStop()
    with stop.listening():
        assert not stop.requested
        signal.raise_signal(number)
        assert (stop.requested, stop.signal, second) == (True, number, [])
        signal.raise_signal(number)
        assert second == [number]
    assert handlers() == before


def test_an_inner_block_replaces_the_outer_one(second: list[int]) -> None:
    before, outer, inner = handlers(), SignalStop(), SignalStop()
    with outer.listening():
        with inner.listening():
            signal.raise_signal(signal.SIGTERM)
            assert (inner.signal, outer.signal) == (signal.SIGTERM, None)
            signal.raise_signal(signal.SIGTERM)
            assert second == [signal.SIGTERM]
        signal.raise_signal(signal.SIGINT)
        assert outer.signal == signal.SIGINT
    assert handlers() == before


def test_a_program_that_ignores_a_closed_terminal_keeps_running(second: list[int]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    stop = SignalStop()
    with stop.listening():
        signal.raise_signal(signal.SIGHUP)
    assert (stop.requested, second) == (False, [])
