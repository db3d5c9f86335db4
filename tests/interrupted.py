"""Runs that are killed at a moment of one's choice, and what they are compared with."""

from pathlib import Path

from tests.helpers import assert_equal_weights, metrics, summary, weights

CHOICES = (
    "training.epochs=6",
    "data.limit=160",
    "model.hidden=[16]",
    "model.dropout=0.2",
    "model.batch_norm=true",
    "scheduler=cosine",
    "optimizer=adamw",
    "observers.tensorboard.enabled=false",
    "observers.pictures.enabled=false",
)


IN_REPLACE = """
import os, pathlib, signal
real, count = pathlib.Path.replace, 0
def replace(self, target):
    global count
    if pathlib.Path(target).name == {name!r}:
        count += 1
        if count == {at}:
            os.kill(os.getpid(), signal.SIGKILL)
    return real(self, target)
pathlib.Path.replace = replace
"""


AT_STEP = """
import os, signal
from experiments.training.{module} import {program}
real, count = {program}.step, 0
def step(self, index, rates):
    global count
    count += 1
    if count == {at}:
        os.kill(os.getpid(), signal.{signal})
    return real(self, index, rates)
{program}.step = step
"""


def at_step(at: int, signal: str, *, stacked: bool = False) -> str:
    """Return the prelude of a process that sends itself a signal before an update, counted from 1."""
    module, program = ("stack", "Stack") if stacked else ("single", "Single")
    return AT_STEP.format(at=at, signal=signal, module=module, program=program)


def assert_same_end(one: Path, other: Path) -> None:
    """Fail unless two runs came to the same end, to the bit."""
    for name in ("last", "best"):
        assert_equal_weights(weights(one, name), weights(other, name))
    assert metrics(one) == metrics(other)
    left_out = ("seconds", "examples_per_second", "overrides", "waiting")
    ends = [{k: v for k, v in summary(folder).items() if k not in left_out} for folder in (one, other)]
    assert ends[0] == ends[1]


KILL_AT = """
import os, pathlib, signal
import experiments.training.stack
experiments.training.stack.Stack.checkpoint_seconds = {seconds}
real, count = pathlib.Path.replace, 0
def replace(self, target):
    global count
    done = real(self, target)
    if "{name}" in str(target):
        count += 1
        if count == {at}:
            os.kill(os.getpid(), signal.SIGKILL)
    return done
pathlib.Path.replace = replace
"""


def growing(progress: float) -> float:
    """A schedule that no training survives."""
    return 10.0 ** (30 * progress)
