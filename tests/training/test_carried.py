"""A state that is carried from each part of a text to the next: parity with a loop by hand, resets, and the verbs."""

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.data.batches import Split
from experiments.data.sequences import LEAST_READ, in_lanes, readable, reading
from experiments.data.sources import Source
from experiments.data.text import text
from experiments.evaluation.loading import load
from experiments.models.rnn import RNN
from experiments.tasks import Sequence
from experiments.training.criterion import Criterion
from experiments.training.engine import fit
from experiments.training.position import Plan, Position
from experiments.training.single import Single, Updating
from tests.helpers import NO_PICTURES, Commands, metrics, run, run_folders, summary
from tests.interrupted import assert_same_end, at_step

from .loops import assert_resumes_to_the_same_bits, member

TOKENS, LENGTH, BATCH = 7, 3, 4
LONG = (1, 2, 5, 1, 9, 3, 1, 1)
"""The parts of each text of a small split."""


def follows(sizes: tuple[int, ...]) -> Tensor:
    """Whether each part continues the one before it."""
    return torch.tensor([number > 0 for size in sizes for number in range(size)])


def split(sizes: tuple[int, ...], seed: int) -> Split:
    """Parts of random texts, whose targets are the tokens that follow."""
    draw = torch.Generator().manual_seed(seed)
    x, y = torch.randint(0, TOKENS, (2, sum(sizes), LENGTH), generator=draw)
    return Split(x, y, lambda batch: batch, torch.device("cpu"), follows=follows(sizes))


def program(cell: Any = "lstm", sizes: tuple[int, ...] = LONG, **updating: Any) -> Single:
    """A recurrent network of two layers on small splits."""
    torch.manual_seed(3)
    model = RNN((LENGTH,), TOKENS, vocabulary=TOKENS, cell=cell, hidden=5, layers=2, embedding=4)
    task = Sequence()
    task.names = tuple("abcdefg")
    splits = {"train": split(sizes, 1), "val": split((4, 1, 6), 2), "test": split((4,), 3)}
    optimizer = torch.optim.SGD(model.parameters(), 0.5, momentum=0.9)
    return Single(
        model, optimizer, splits, eval_batch_size=2, criterion=Criterion(task=task), updating=Updating(**updating)
    )


def plan_of(own: Single, epochs: int = 2, **more: Any) -> Plan:
    return Plan(epochs, BATCH, len(own.splits["train"]), drop_last=False, validate=True, **more)


def rows_of(order: Tensor) -> list[list[int]]:
    """The examples of each row of the batches, in their order."""
    batches = order.split(BATCH)
    return [[int(batch[row]) for batch in batches if row < len(batch)] for row in range(BATCH)]


@pytest.mark.parametrize("sizes", [LONG, (23,), (1,) * 9, (2, 2), (6, 1, 1)])
def test_each_row_of_a_batch_continues_the_row_of_the_batch_before(sizes: tuple[int, ...]) -> None:
    own, draw = follows(sizes), torch.Generator().manual_seed(0)
    orders = [in_lanes(own, BATCH, draw) for _ in range(8)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(len(own)))
        continued = sum(b == a + 1 and bool(own[b]) for row in rows_of(order) for a, b in pairwise(row))
        assert continued >= int(own.sum()) - (BATCH - 1)
    assert (len({tuple(order.tolist()) for order in orders}) > 1) == (len(sizes) > 1)


def test_one_long_text_is_divided_into_a_part_for_each_row() -> None:
    order = in_lanes(follows((10,)), BATCH, torch.Generator())
    assert [batch.tolist() for batch in order.split(BATCH)] == [[0, 3, 6, 8], [1, 4, 7, 9], [2, 5]]


def test_an_evaluation_reads_each_text_in_one_row() -> None:
    own = follows((2, 4, 1))
    assert [batch.tolist() for batch in reading(own, 2)] == [[2, 0], [3, 1], [4], [5], [6]]
    assert [batch.tolist() for batch in reading(own, 9)] == [[2, 0, 6], [3, 1], [4], [5]]


def test_a_long_text_is_evaluated_at_several_positions() -> None:
    count = 3 * LEAST_READ + 5
    begins = (~readable(follows((LEAST_READ + 7, count)))).nonzero().flatten() - (LEAST_READ + 7)
    assert begins.tolist() == [-(LEAST_READ + 7), 0, count // 3, 2 * count // 3]


def by_hand(own: Single, orders: list[Tensor]) -> dict[str, Tensor]:
    """Train with a loop of torch's own layers that carries the hidden states itself, each row on its own."""
    model, layers = own.model, list(own.model.layers)  # type: ignore[arg-type]
    optimizer = torch.optim.SGD(model.parameters(), 0.5, momentum=0.9)
    train = own.splits["train"]
    for order in orders:
        states: dict[int, Any] = {}
        before: dict[int, int] = {}
        for batch in order.split(BATCH):
            losses = []
            for row, example in enumerate(batch.tolist()):
                goes_on = bool(train.follows[example]) and before.get(row) == example - 1  # type: ignore[index]
                state = states[row] if goes_on else [None] * len(layers)
                values, after = model.embedding(train.x[example : example + 1]), []  # type: ignore[operator]
                for layer, initial in zip(layers, state, strict=True):
                    values, end = layer(values, initial)
                    after.append(tuple(e.detach() for e in end) if isinstance(end, tuple) else end.detach())
                states[row], before[row] = after, example
                losses.append(functional.cross_entropy(model.head(values)[0], train.y[example]))  # type: ignore[operator]
            optimizer.zero_grad()
            torch.stack(losses).mean().backward()
            optimizer.step()
    return dict(model.state_dict())


@pytest.mark.parametrize(("cell", "micro"), [("rnn", None), ("gru", None), ("lstm", None), ("lstm", 3)])
def test_training_agrees_with_a_loop_by_hand(tmp_path: Path, cell: str, micro: int | None) -> None:
    own, hand = program(cell, micro_batch=micro), program(cell)
    runner = member(tmp_path, 1, rate=0.5, follows=own.splits["train"].follows)
    runner.schedule = lambda _progress, _losses: 1.0
    fit(own, [runner], Position(plan_of(own)))
    draw = member(tmp_path / "again", 1).streams.order
    orders = [in_lanes(follows(LONG), BATCH, draw) for _ in range(2)]
    assert not torch.equal(*orders)
    for name, value in by_hand(hand, orders).items():
        torch.testing.assert_close(own.model.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_an_evaluation_is_that_of_the_whole_text_at_once() -> None:
    own = program()
    whole, losses = own.splits["val"], []
    for text_of in torch.arange(11).split([4, 1, 6]):
        scores = own.model(whole.x[text_of].view(1, -1))[0]
        losses.append(functional.cross_entropy(scores, whole.y[text_of].flatten(), reduction="sum"))
        torch.testing.assert_close(own.scores(0, "val")[text_of].flatten(0, 1), scores)
    (measured,) = own.evaluate("val")
    assert measured["loss"] == pytest.approx(torch.stack(losses).sum().item() / whole.x.numel(), rel=1e-6)
    plain = own.model(whole.x)
    assert not torch.allclose(own.scores(0, "val")[1], plain[1])
    torch.testing.assert_close(own.scores(0, "val")[0], plain[0])


def test_the_state_begins_anew_with_each_epoch_and_is_not_that_of_the_validation(tmp_path: Path) -> None:
    own = program(sizes=(8,))
    states: list[Tensor] = []

    class Seen(RNN):
        def forward(self, x: Tensor, state: Tensor | None = None) -> Any:
            if self.training and state is not None:
                states.append(state.clone())
            return super().forward(x, state)

    own.model.__class__ = Seen
    runner = member(tmp_path, 1, follows=own.splits["train"].follows)
    fit(own, [runner], Position(plan_of(own, epochs=3)))
    begun = [bool(state.any()) for state in states]
    assert begun == [False, True, False, True, False, True]
    # Within an epoch, a validation between two updates changes nothing.
    again = program(sizes=(8,))
    fit(again, [member(tmp_path / "2", 1, follows=follows((8,)))], Position(plan_of(again, epochs=3, validate_steps=1)))
    for name, value in own.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name


@pytest.mark.parametrize("looks", range(1, 13, 2))
@pytest.mark.parametrize("more", [{}, {"validate_steps": 4}])
def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path: Path, looks: int, more: Mapping[str, int]) -> None:
    plan = plan_of(program(), **more)
    assert_resumes_to_the_same_bits(tmp_path, looks, plan, program, follows=follows(LONG))


def test_a_sample_in_evaluation_has_no_gaps() -> None:
    own = split((9, 3), 1).sample(5)
    assert own.x.shape == (5, LENGTH)
    assert own.follows is not None
    assert own.follows.tolist() == [False, True, True, True, True]


def test_windows_and_parts_of_lines_continue_each_other(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("abcde\nab\nabcdefgh\n" * 4)
    windows, lines = text(str(path), length=4, test_fraction=0.5), text(str(path), context=4, test_fraction=0.5)
    assert windows.follows is not None
    assert lines.follows is not None
    assert [int((~windows.follows[part]).sum()) for part in ("train", "test")] == [1, 1]
    first = [bool(x[0] == lines.targets.index("\n")) for x in lines.x_train]
    assert lines.follows["train"].tolist() == [not begins for begins in first]


def series(steps: int = 4, count: int = 80) -> Source:
    """A long series of 0 and 1 in windows: whether it has been 1 last in the window, or else before the window."""
    draw = torch.Generator().manual_seed(0)
    parts = []
    for _ in range(2):
        kinds = torch.randint(0, 2, (count,), generator=draw)
        kinds[torch.rand(count, generator=draw) < 0.5] = -1
        x, y, last = torch.zeros(count, 1, steps, 2), torch.zeros(count, dtype=torch.int64), 0
        for row, kind in enumerate(kinds.tolist()):
            last = last if kind < 0 else kind
            if kind >= 0:
                x[row, 0, 0, kind] = 1
            y[row] = last
        parts += [x, y]
    own = {part: torch.arange(count) > 0 for part in ("train", "test")}
    x_train, y_train, x_test, y_test = parts
    return Source(x_train, y_train, x_test, y_test, classes=["no", "yes"], follows=own)


QUICK = (NO_PICTURES, "observers.tensorboard.enabled=false", "observers.histograms.enabled=false")
STATEFUL = (
    "data=text", "data.length=3", "data.stateful=true", "model=rnn", "model.hidden=16", "model.embedding=8",
    "training.batch_size=8", "training.epochs=4", "optimizer.lr=0.02", *QUICK,
)  # fmt: skip


@pytest.fixture
def written(commands: Commands) -> tuple[str, ...]:
    """The words that choose a text whose next character depends on more than a window shows."""
    path = commands.folder / "long.txt"
    path.write_text("aaaabaaaacaaaad" * 60)
    return (*STATEFUL, f"data.path={path}")


def test_a_carried_state_knows_more_than_a_window_shows(commands: Commands, written: tuple[str, ...]) -> None:
    folder = commands.trained(*written, "training.epochs=8", "name=stateful")
    plain = commands.trained(*written, "training.epochs=8", "data.stateful=false", "name=plain")
    losses = [float(metrics(one)[-1]["val/loss"]) for one in (folder, plain)]
    assert losses[0] < 0.6 * losses[1], losses
    assert "the training split is 1 text in 191 parts; the state after a part is carried to the next one" in (
        (folder / "train.log").read_text()
    )
    restored = load(folder)
    shown = commands.type("evaluate", f"run={folder}")
    assert shown.code == 0, shown.err
    assert f"{summary(folder)['metrics']['test/loss']:.4f}" in shown.out
    sample = (folder / "evaluation" / "test" / "samples.txt").read_text().rpartition(":\n")[2]
    assert sum(sample.count(f"{one}aaaa") for one in "bcd") > 40
    assert restored.data.splits["test"].follows is not None


def test_examples_of_numbers_may_continue_each_other_too(commands: Commands) -> None:
    own = "data={_target_: tests.training.test_carried.series, stateful: %s}"
    words = ("model=rnn", "model.hidden=16", "training.batch_size=8", "training.epochs=20", "optimizer.lr=0.02", *QUICK)
    accuracies = {}
    for stateful in ("true", "false"):
        folder = commands.trained(own % stateful, *words, "data.preprocess=none", f"name=run_{stateful}")
        accuracies[stateful] = summary(folder)["metrics"]["test/accuracy"]
    assert accuracies["true"] > 0.9 > accuracies["false"] + 0.1, accuracies


class Own(nn.Module):
    """A recurrent model of a user, whose only state is a running mean of its embeddings."""

    def __init__(self, vocabulary: int, units: int = 8) -> None:
        super().__init__()
        self.state_shape = (units,)
        self.embedding = nn.Embedding(vocabulary, units)
        self.head = nn.Linear(units, vocabulary)

    def forward(self, x: Tensor, state: Tensor | None = None) -> Any:
        """Map tokens, (batch, positions), to scores; with a state, also return the state after them."""
        after = self.embedding(x[:, 0]) * 0 if state is None else state
        found = []
        for step in self.embedding(x).unbind(1):
            after = 0.5 * after + 0.5 * step
            found.append(after)
        scores = self.head(torch.stack(found, 1))
        return scores if state is None else (scores, after)


def test_a_model_of_ones_own_may_have_a_state(commands: Commands, written: tuple[str, ...]) -> None:
    words = [word for word in written if not word.startswith("model")]
    own = (*words, "model={_target_: tests.training.test_carried.Own}", "training.epochs=2")
    losses = {
        state: float(metrics(commands.trained(*own, f"data.stateful={state}", f"name=run_{state}"))[-1]["val/loss"])
        for state in ("true", "false")
    }
    assert losses["true"] < losses["false"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "code", "more"),
    [("SIGTERM", 143, ()), ("SIGKILL", -9, ("data.context=8", "training.keep_checkpoints=every:7steps"))],
)
def test_a_killed_run_resumes_to_the_same_bits(commands: Commands, name: str, code: int, more: tuple[str, ...]) -> None:
    path = commands.folder / "lines.txt"
    path.write_text("".join(f"{n} sheep{' and goats' * (n % 4)}\n" for n in range(120)))
    words = (*STATEFUL, f"data.path={path}", "model.dropout=0.1", *more)
    killed = run(commands.folder, *words, prelude=at_step(30, name))
    assert killed.code == code, killed.err
    (folder,) = run_folders(commands.folder)
    state = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
    assert state["program"]["carried"]["state"].any()
    assert commands.train(f"resume={folder}").code == 0
    assert_same_end(folder, commands.trained(*words, "name=whole"))


def test_runs_of_a_sweep_are_trained_one_after_another(commands: Commands, written: tuple[str, ...]) -> None:
    outcome = commands.train("-m", *written, "seed=0,1", "training.epochs=1")
    assert outcome.code == 0, outcome.err
    assert "data.stateful is not supported in stacks" in outcome.out
    for folder in run_folders(commands.folder):
        assert math.isfinite(summary(folder)["metrics"]["test/loss"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("model=transformer",), "Transformer' has none: it has no attribute 'state_shape'; use model=rnn"),
        (("training.batch_size=200",), "one batch of 191 has all 191 training examples; use training.batch_size=95 or"),
        (("optimizer=lbfgs",), "but LBFGS uses all training examples for each update; use another optimizer"),
        (("data.context=2000",), "no text of the training split is cut; use a smaller data.context, or leave out"),
    ],
)
def test_refusals(commands: Commands, written: tuple[str, ...], words: tuple[str, ...], sentence: str) -> None:
    if "data.context=2000" in words:
        (commands.folder / "long.txt").write_text("one line\n" * 90)
    if "model=transformer" in words:
        written = tuple(word for word in written if not word.startswith("model"))
    assert sentence in commands.train(*written, *words).refusal()


def test_examples_that_do_not_continue_each_other_are_refused(commands: Commands) -> None:
    sentence = (
        "data.stateful=true is for texts that are cut (data=text), but the examples of this data set do not continue"
    )
    assert sentence in commands.train("data.stateful=true", "model=rnn").refusal()


def test_a_source_that_counts_wrong_is_refused() -> None:
    x, y = torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"follows\['test'\] has 3 values but x_test has 4 examples"):
        Source(x, y, x, y, classes=["a"], follows={"train": torch.ones(4), "test": torch.ones(3)})


def test_every_state_of_torchs_layers_is_carried() -> None:
    assert isinstance(RNN((3,), 5, vocabulary=5), nn.Module)
    for cell, parts in (("rnn", 2), ("gru", 2), ("lstm", 4)):
        own: Any = RNN((3,), 5, vocabulary=5, cell=cell, hidden=4, layers=2)  # type: ignore[arg-type]
        assert own.state_shape == (parts, 4)
        x = torch.randint(0, 5, (2, 6), generator=torch.Generator().manual_seed(0))
        whole = own(x)
        first, state = own(x[:, :2], torch.zeros(2, parts, 4))
        second, _ = own(x[:, 2:], state)
        torch.testing.assert_close(torch.cat([first, second], 1), whole)
