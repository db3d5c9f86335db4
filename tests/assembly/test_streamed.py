"""Random examples are read in each epoch, by workers: the same ones whatever their number, also after a SIGKILL."""

import random
import signal
import subprocess
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.data import OURS, THEIRS, read_in_turns

from experiments import assembly
from experiments.common.errors import UserError
from experiments.data.streamed import Key, Rows, Streamed
from experiments.training.stack import reason_apart
from experiments.training.streams import Streams
from tests.helpers import (
    NO_PICTURES,
    REPOSITORY,
    Commands,
    assert_equal_weights,
    composed,
    metrics,
    run,
    run_folders,
    sampled,
    summary,
    weights,
)
from tests.interrupted import at_step
from tests.wild.outcomes import assert_refused

from . import loading
from .loading import HERE
from .own_datasets import Noisy, vector

QUICK = ("training.epochs=3", "model.hidden=[12]", "model.dropout=0.2", "training.batch_size=64", NO_PICTURES)
QUIET = ("observers.tensorboard.enabled=false", "observers.layers.enabled=false")


def loaded(name: str = "Noisy", seed: int = 0, **settings: Any) -> assembly.Data:
    """Load a data set of the user without preparation, which is read by this process, unless settings say otherwise."""
    return loading.loaded(name, seed, **({"preprocess": "none", "workers": 0} | settings))


def trained(data: assembly.Data, epoch: int, order: torch.Tensor) -> torch.Tensor:
    """Read the batches of an epoch."""
    split = data.splits["train"]
    batches = order[None].split(16, dim=1)
    split.announce(batches, epoch)
    return torch.cat([split.batch(index[0])[0] for index in batches])


@pytest.mark.slow
def test_the_examples_do_not_depend_on_the_number_of_workers() -> None:
    order = torch.randperm(80, generator=torch.Generator().manual_seed(1))
    here = loaded()
    expected = [trained(here, epoch, order) for epoch in (0, 1)]
    assert not torch.equal(expected[0], expected[1])
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]
    other = loaded(workers=2)
    try:
        for epoch in (1, 0):
            assert torch.equal(trained(other, epoch, order), expected[epoch])
        rest = order[48:]
        assert torch.equal(trained(other, 0, rest), expected[0][48:]), "the rest of an epoch that was interrupted"
        for name in ("val", "test"):
            one, two = (torch.cat([x for x, _ in data.splits[name].in_order(30)]) for data in (here, other))
            assert torch.equal(one, two)
    finally:
        for split in other.splits.values():
            split.close()
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_each_example_of_each_run_has_its_own_random_numbers() -> None:
    data = loaded()
    split = data.splits["train"]
    assert isinstance(split, Streamed)
    whole = torch.arange(len(split))
    rows = whole if split.rows is None else split.rows
    plain = torch.stack([vector(row) for row in rows.tolist()])
    noise = (trained(data, 0, whole) - plain)[:, 0]
    assert len(noise.unique()) == len(noise)
    assert 0.2 < noise.std() < 0.8
    again = torch.cat([x for x, _ in split.in_order(99)])
    assert torch.equal(again, torch.cat([x for x, _ in split.in_order(50)])), "evaluation draws the same every time"
    assert not torch.equal(loaded(seed=1).splits["test"].first(9)[0], data.splits["test"].first(9)[0])


@pytest.mark.parametrize("kind", ["numpy", "python"])
def test_an_example_that_alone_draws_from_numpy_or_python_is_repeated(kind: str) -> None:
    def read(index: int) -> tuple[torch.Tensor, float]:
        more = 0.0
        if index == 7:
            more = float(np.random.rand()) if kind == "numpy" else random.random()
        return torch.rand(2) + more, index

    def rows() -> Rows:
        return Rows(read, 20, [np.asarray(index) for index in range(20)], ValueError, 0)

    keys = [Key(0, 1, row) for row in range(20)]
    whole = rows().of(keys)
    parts = rows()
    assert torch.equal(torch.cat([parts.of(keys[start : start + 4]) for start in range(0, 20, 4)]), whole)
    assert parts.seeds_all
    assert torch.equal(parts.of(keys[::-1]).flip(0), whole)


SHARED_MEMORY = (
    "unable to allocate shared memory(shm) for file </torch_7_1>: No space left on device (28)",
    "unable to write to file </torch_7_2>: No space left on device (28)",
    "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
    "shared memory. Please try to raise your shared memory limit.",
)
"""The messages of torch when shared memory is full."""


@pytest.mark.parametrize("message", SHARED_MEMORY)
def test_full_shared_memory_is_named_with_the_remedy(message: str) -> None:
    split = loaded().splits["train"]
    assert isinstance(split, Streamed)

    def fails(_: int) -> Any:
        raise RuntimeError(f"Caught RuntimeError in DataLoader worker process 0.\n{message}")

    with pytest.raises(UserError) as caught:
        split.taken(map(fails, range(1)))
    assert str(caught.value) == ("data: data.workers=0 needs more shared memory than there is; use data.workers=0")


def test_a_length_that_changes_in_training_is_refused(commands: Commands) -> None:
    error = commands.train(*own(0, "shrinking"), "data.preprocess=none").refusal()
    assert error == "Error: data: the length of the data set changed from 400 to 395 in training\n"
    (folder,) = run_folders(commands.folder)
    assert (folder / "checkpoints" / "last.pt").exists()


def test_the_benchmark_reads_with_both_loaders() -> None:
    samples = read_in_turns(Noisy(40), 2, workers=0)
    assert list(samples) == [OURS, THEIRS]
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in samples.values())


def test_targets_that_are_not_known_beforehand_are_read() -> None:
    data = loaded("Numbers", kind="torch")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 26, "val": 6, "test": 8}
    assert data.notes[0] == (
        "Numbers is random: example 0 differs when it is read again; its examples are read in each epoch, "
        "by this process"
    )
    for split in data.splits.values():
        assert isinstance(split, Streamed)
        assert split.rows is not None
        assert split.y.tolist() == [int(vector(row).sum() > 0) for row in split.rows.tolist()]


def test_a_deterministic_test_set_is_gathered() -> None:
    data = loaded("Numbers", kind="torch", test={"kind": "array", "count": 8})
    assert isinstance(data.splits["train"], Streamed)
    assert not isinstance(data.splits["test"], Streamed)
    assert torch.equal(data.splits["test"].first(8)[0], torch.stack([vector(k) for k in range(8)]))


def test_a_plain_data_set_is_read_by_workers_if_this_is_wanted() -> None:
    data = loaded("Pictures", gather=False)
    assert isinstance(data.splits["train"], Streamed)
    assert data.input_shape == (3, 6, 8)
    assert data.classes == ["dark", "bright"]
    assert data.splits["train"].raw().dtype == torch.uint8
    assert torch.equal(
        torch.cat([split.raw() for split in data.splits.values()]).sum((1, 2, 3)).sort().values,
        torch.cat([split.raw() for split in loaded("Pictures").splits.values()]).sum((1, 2, 3)).sort().values,
    )


REFUSED = {
    "broken": r"data: Noisy cannot read example 7: it raised KeyError: 'no such picture' \(__getitem__ in own_data",
    "other target": r"data: the target of example 7 is \d, but it was \d when the data set was first read; targets",
    "ragged": r"data: example 7 of Noisy has the shape 3, but example 0 has 5; all examples should have one shape$",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_example_that_is_wrong_is_named_when_it_is_read(kind: str) -> None:

    def read() -> None:
        for split in loaded(kind=kind).splits.values():
            list(split.in_order(50))

    assert_refused(read, REFUSED[kind])


def test_a_reconstruction_of_random_examples_is_refused() -> None:
    config = composed("task=reconstruction", "model=autoencoder")
    section = {**assembly.splitting(config["data"]), "_target_": f"{HERE}.Noisy", "workers": 0}
    build = partial(assembly.data, {**config, "data": section}, Streams(0), torch.device("cpu"))
    with pytest.raises(
        UserError, match=r"^task=reconstruction needs examples that are read once; add data.gather=true"
    ):
        build()


def own(workers: int, kind: str = "right") -> tuple[str, ...]:
    return (*QUICK, *QUIET, f"data={{_target_: {HERE}.Noisy, kind: {kind}}}", f"data.workers={workers}")


@pytest.mark.slow
@pytest.mark.parametrize("case", sampled([(2, 4), (4, 0), (0, 2)], [(2, 4)]))
def test_a_run_that_is_killed_within_an_epoch_resumes_to_the_same_bits(
    commands: Commands, case: tuple[int, int]
) -> None:
    workers, then = case
    whole = commands.trained(*own(0), "name=whole")
    assert 0 < summary(whole)["waiting"] <= 1
    sixth = at_step(6, "SIGKILL")  # of four updates per epoch: in the middle of the second epoch
    assert run(commands.folder, *own(workers), "name=killed", prelude=sixth).code == -signal.SIGKILL
    (folder,) = [path for path in run_folders(commands.folder) if "killed" in path.parts]
    assert [row["epoch"] for row in metrics(folder)] == ["1"]
    outcome = commands.train(f"resume={folder}", f"data.workers={then}", "trust=[tests]")
    assert outcome.code == 0, outcome.err
    assert metrics(folder) == metrics(whole)
    for checkpoint in ("last", "best"):
        assert_equal_weights(weights(folder, checkpoint), weights(whole, checkpoint))


def test_the_first_batch_of_an_epoch_does_not_count_as_waiting() -> None:
    data = loaded("Slow", count=60)
    split = data.splits["train"]
    assert isinstance(split, Streamed)
    whole = torch.arange(len(split))
    trained(data, 0, whole[:16])
    assert (split.waited, split.spent, split.waiting) == (0.0, 0.0, 0.0)
    trained(data, 1, whole[:32])
    assert 0.07 < split.waited <= split.spent
    assert split.waiting > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_waits_for_its_examples_has_a_verdict(commands: Commands, workers: int) -> None:
    words = (*QUICK, *QUIET, "training.batch_size=8", f"data={{_target_: {HERE}.Slow, count: 300}}")
    outcome = commands.train(*words, f"data.workers={workers}")
    assert outcome.code == 0, outcome.err
    (folder,) = run_folders(commands.folder)
    (found,) = (one for one in summary(folder)["verdicts"] if one["name"] == "waiting for data")
    assert summary(folder)["waiting"] > 0.5
    assert f"updates waited {summary(folder)['waiting']:.0%} of the time" in found["evidence"]
    assert "examples read once, also random ones: data.gather=true" in found["advice"]
    assert f"waiting for data (all epochs): {found['finding']}" in outcome.out
    assert "warning: updates waited" not in outcome.out


@pytest.mark.slow
def test_a_worker_that_is_killed_ends_the_run_in_one_sentence(commands: Commands) -> None:
    error = commands.train(*own(2, "killed"), "data.preprocess=none").refusal()
    assert "data: a worker of data.workers=2 has ended unexpectedly, perhaps because memory ran out" in error
    assert "use fewer workers" in error


def test_runs_with_workers_are_not_stacked() -> None:
    program: Any = SimpleNamespace(splits=loaded().splits)
    assert reason_apart(program) == "the examples of its data set are read by workers"


LEFT_OPEN = """
import torch
from tests.assembly.test_streamed import loaded

split = loaded(workers=2).splits["train"]
split.announce(torch.arange(len(split))[None].split(16, dim=1), 0)
print("read", len(split.batch(torch.arange(16))[0]))
"""


@pytest.mark.slow
def test_workers_that_are_still_reading_end_with_their_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN], cwd=REPOSITORY, capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stdout) == (0, "read 16\n"), done.stderr
