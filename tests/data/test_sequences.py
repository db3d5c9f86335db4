"""Sequences of unequal lengths: padding changes no loss, and batches have similar lengths."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from experiments import assembly, losses
from experiments.assembly.run import lengths_of
from experiments.data import memory
from experiments.data.sequences import by_length, lengthened, lengths, padded
from experiments.data.streamed import Streamed
from experiments.data.text import text
from experiments.models.rnn import RNN
from experiments.models.transformer import Transformer
from experiments.tasks import Sequence
from experiments.training.streams import Streams
from tests.helpers import NO_PICTURES, Commands, composed, metrics, run_folders, summary

QUICK = ("training.epochs=3", NO_PICTURES, "observers.tensorboard.enabled=false", "model.hidden=12")


def up(kind: str = "right", features: int = 0) -> tuple[str, ...]:
    """The words that train on `Up`."""
    data = f"data={{_target_: tests.data.test_sequences.Up, kind: {kind}, features: {features}}}"
    return (data, "data.context=20", "model=rnn", *QUICK)


class Up(Dataset[Any]):
    """Noisy lines of 3 to 24 steps, and whether they rise."""

    classes = ("falls", "rises")

    def __init__(self, kind: str = "right", features: int = 0, count: int = 160) -> None:
        self.kind, self.features, self.count = kind, features, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        draw = np.random.default_rng(index)
        steps, rises = int(draw.integers(3, 25)), index % 2
        line = 5 + np.linspace(0, 1, steps) * (2 * rises - 1) + draw.normal(0, 0.2, steps)
        if self.kind == "broken" and index == 9:
            line[1] = np.nan
        if self.kind == "empty" and index == 9:
            line = line[:0]
        if self.kind == "random":
            line += np.random.rand()
        features = 5 if self.kind == "other" and index == 9 else self.features
        return (np.stack([line] * features, 1) if features else line), rises


def sequences(*shape: int) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(steps, *shape, generator=draw) for steps in (7, 3, 1, 5, 7)]


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("features", [0, 3])
def test_padded_numbers_have_the_loss_of_each_sequence_on_its_own(cell: Any, features: int) -> None:
    own = sequences(*([features] if features else []))
    x = torch.from_numpy(lengthened(padded([one.numpy() for one in own]), 9))
    x = x.unsqueeze(1) if features else x
    assert lengths(x).tolist() == [7, 3, 1, 5, 7]
    torch.manual_seed(1)
    model = RNN(tuple(x.shape[1:]), 2, cell=cell, hidden=8, layers=2, padded=True)
    plain = RNN(tuple(x.shape[1:]), 2, cell=cell, hidden=8, layers=2)
    plain.load_state_dict(model.state_dict())
    y = torch.tensor([0, 1, 1, 0, 1])
    alone = [
        losses.cross_entropy(plain(one[None, None] if features else one[None]), y[k : k + 1])
        for k, one in enumerate(own)
    ]
    together = losses.cross_entropy(model(x), y, "none")
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-6, atol=1e-6)
    together.mean().backward()
    torch.stack(alone).mean().backward()
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [RNN, Transformer])
def test_padded_tokens_have_the_loss_of_each_sequence_on_its_own(kind: Any) -> None:
    draw = torch.Generator().manual_seed(0)
    own = [torch.randint(0, 6, (steps + 1,), generator=draw) for steps in (7, 3, 1, 5)]
    x, y = torch.full((4, 9), -1), torch.full((4, 9), -1)
    for row, one in enumerate(own):
        x[row, : len(one) - 1], y[row, : len(one) - 1] = one[:-1], one[1:]
    torch.manual_seed(1)
    model = kind((9,), 6, vocabulary=6, padded=True)
    plain = kind((9,), 6, vocabulary=6)
    plain.load_state_dict(model.state_dict())
    scores, task = model(x), Sequence()
    assert scores.shape == (4, 9, 6)
    each = [plain(one[None, :-1]) for one in own]
    alone = torch.stack([losses.cross_entropy(s, one[None, 1:]) for s, one in zip(each, own, strict=True)])
    torch.testing.assert_close(losses.cross_entropy(scores, y, "none"), alone, rtol=1e-6, atol=1e-6)
    smooth = [losses.cross_entropy(s, one[None, 1:], label_smoothing=0.1) for s, one in zip(each, own, strict=True)]
    torch.testing.assert_close(
        losses.cross_entropy(scores, y, "none", label_smoothing=0.1), torch.stack(smooth), rtol=1e-6, atol=1e-6
    )
    right = torch.stack([task.score(s, one[None, 1:])[0] for s, one in zip(each, own, strict=True)])
    torch.testing.assert_close(task.score(scores, y), right)
    task.names = tuple("abcdef")
    answers = task.answer(scores)
    for name in ("bits_per_character", "accuracy"):
        alone = torch.stack([task.rows(task.answer(s), o[None, 1:])[name][0] for s, o in zip(each, own, strict=True)])
        torch.testing.assert_close(task.rows(answers, y)[name], alone, rtol=1e-6, atol=1e-6)
    flat = torch.cat([task.answer(s)[0].argmax(1) == one[1:] for s, one in zip(each, own, strict=True)])
    assert task.measures["accuracy"](answers, y) == pytest.approx(flat.double().mean().item())


def test_batches_have_similar_lengths_in_random_order() -> None:
    draw = torch.Generator().manual_seed(0)
    steps = torch.randint(1, 100, (1000,), generator=draw)
    order = by_length(torch.randperm(1000, generator=draw), steps, 16, draw)
    assert sorted(order.tolist()) == list(range(1000))
    batches = steps[order].split(16)
    assert len(batches[-1]) == 1000 % 16
    spread = [int(batch.max() - batch.min()) for batch in batches[:-1]]
    assert sum(spread) / len(spread) < 10
    means = [batch.float().mean().item() for batch in batches]
    assert means != sorted(means)


def test_lines_of_a_text_are_examples_and_long_ones_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("anna\nbo\n\nchristophe\n" * 2)
    source = text(str(path), context=4, test_fraction=0.34)
    names = source.targets
    read = [
        ("".join(names[k] for k in x[x >= 0].tolist()), "".join(names[k] for k in y[y >= 0].tolist()))
        for x, y in zip(source.x_train, source.y_train, strict=True)
    ]
    assert read[:2] == [("\nann", "anna"), ("a", "\n")]
    assert read[2] == ("\nbo", "bo\n")
    assert [x for x, _ in read[3:6]] == ["\nchr", "isto", "phe"]
    assert "".join(y for _, y in read[3:6]) == "christophe\n"
    assert source.x_train.shape[1] == 4
    assert torch.equal(source.x_train >= 0, source.y_train >= 0)
    assert source.notes[1] == "longer lines are cut into parts of 4 characters (data.context), 6 more examples"


@pytest.mark.slow
@pytest.mark.parametrize("features", [0, 2])
def test_a_data_set_of_sequences_is_trained_evaluated_and_repeated(commands: Commands, features: int) -> None:
    words = (*up(features=features), "training.epochs=12", "optimizer.lr=0.02", "training.batch_size=16")
    outcome = commands.train(*words)
    assert outcome.code == 0, outcome.err
    assert "sequences of at most 20 steps, padded in batches of similar lengths" in outcome.out
    (folder,) = run_folders(commands.folder)
    assert summary(folder)["metrics"]["test/accuracy"] > 0.9
    assert metrics(commands.trained(*words)) == metrics(folder)
    evaluated = commands.type("evaluate", f"run={folder}", "trust=[tests]")
    assert evaluated.code == 0, evaluated.err
    assert f"{summary(folder)['metrics']['test/loss']:.4f}" in evaluated.out


@pytest.mark.slow
@pytest.mark.parametrize("model", ["rnn", "transformer"])
def test_lines_are_trained(commands: Commands, model: str) -> None:
    path = commands.folder / "names.txt"
    path.write_text("".join(f"{n} sheep{' and goats' * (n % 3)}\n" for n in range(90)))
    own = ("model.hidden=12",) if model == "rnn" else ("model.width=16", "model.heads=2", "model.layers=1")
    quick = [word for word in QUICK if not word.startswith("model.")]
    words = ("data=text", f"data.path={path}", "data.context=24", f"model={model}", *own, *quick)
    folder = commands.trained(*words)
    losses_seen = [float(row["train/loss"]) for row in metrics(folder)]
    assert losses_seen[-1] < losses_seen[0]
    evaluated = commands.type("evaluate", f"run={folder}")
    assert evaluated.code == 0, evaluated.err


class Flow(IterableDataset[Any]):
    """The examples of `Up`, one after another."""

    classes = Up.classes

    def __init__(self, count: int = 160) -> None:
        self.own = Up(count=count)

    def __iter__(self) -> Iterator[Any]:
        return map(self.own.__getitem__, range(len(self.own)))


def loaded(name: str = "Up", **settings: Any) -> assembly.Data:
    """A data set of sequences as a run loads it."""
    config = composed()
    own = {"_target_": f"tests.data.test_sequences.{name}", "context": 20, **settings}
    return assembly.data({**config, "data": assembly.splitting(config["data"]) | own}, Streams(0), torch.device("cpu"))


@pytest.mark.parametrize("features", [0, 2])
def test_sequences_that_are_read_in_each_epoch_are_those_that_are_read_once(features: int) -> None:
    own: dict[str, Any] = {"features": features, "test": {"count": 40}}
    once, each = loaded(**own), loaded(**own, gather=False, workers=0)
    assert isinstance(each.splits["train"], Streamed)
    for name, split in once.splits.items():
        (x, y), (own_x, own_y) = split.first(200), each.splits[name].first(200)
        assert torch.equal(y, own_y)
        torch.testing.assert_close(x, own_x, rtol=1e-6, atol=1e-6, equal_nan=True)
    assert "sequences of at most 20 steps, padded in each batch" in each.notes
    assert lengths_of(each) is None
    assert lengths_of(once) is not None


def test_sequences_that_do_not_fit_into_memory_are_read_in_each_epoch() -> None:
    with memory.limited(10_000):
        data = loaded(workers=0)
    assert isinstance(data.splits["train"], Streamed)
    assert any("Up with 160 sequences" in note and "are read in each epoch" in note for note in data.notes)


def test_a_stream_of_sequences_is_read_once() -> None:
    once, stream = loaded(), loaded("Flow")
    for name, split in once.splits.items():
        (x, y), (own_x, own_y) = split.first(200), stream.splits[name].first(200)
        assert torch.equal(y, own_y)
        assert torch.equal(x.nan_to_num(-9), own_x.nan_to_num(-9))
    assert len(loaded("Flow", length=50).splits["train"]) == 32


@pytest.mark.slow
def test_random_sequences_are_read_by_any_number_of_workers_to_the_same_bits(commands: Commands) -> None:
    words = (*up("random"), "training.batch_size=16", "optimizer.lr=0.02")
    folders = [commands.trained(*words, f"data.workers={count}", f"name=with_{count}") for count in (0, 2)]
    assert metrics(folders[0]) == metrics(folders[1])
    told = (folders[0] / "train.log").read_text()
    assert "Up is random: example 0 differs when it is read again; its examples are read in each epoch" in told
    assert "sequences of at most 20 steps, padded in each batch" in told


@pytest.mark.parametrize(
    ("data", "words", "said"),
    [
        (
            (),
            ("model=mlp", "model.hidden=[12]"),
            "data.context=20 gives sequences of unequal lengths, which model._target_=",
        ),
        (("broken",), (), "data: example 9 of Up has a value that is not finite in float32"),
        (("empty",), (), "data: example 9 of Up has the shape (0,); with data.context"),
        (("other", 3), (), "data: the steps of example 9 of Up have the shape (5,)"),
        (("broken",), ("data.gather=false", "data.workers=0"), "data: example 9 of Up has a value that is not finite"),
        (
            ("other", 3),
            ("data.gather=false", "data.workers=0"),
            "data: the steps of example 9 of Up have the shape (5,)",
        ),
        (
            (),
            ("data.context=null",),
            "all examples should have one shape, or data.context=<steps> if they are sequences",
        ),
        ((), ("data.preprocess=zca",), "data.preprocess is not for sequences of unequal lengths"),
    ],
)
def test_bad_sequences_are_refused_in_one_sentence(
    commands: Commands, data: Any, words: tuple[str, ...], said: str
) -> None:
    assert said in commands.train(*up(*data), *words).refusal()
