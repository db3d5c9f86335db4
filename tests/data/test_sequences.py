"""Sequences of unequal lengths: padding changes no loss, and batches have similar lengths."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from experiments import losses
from experiments.data.sequences import by_length, lengthened, lengths, padded
from experiments.data.text import text
from experiments.models.rnn import RNN
from experiments.models.transformer import Transformer
from experiments.tasks import Sequence
from tests.helpers import NO_PICTURES, Commands, metrics, run_folders, summary

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
        (("random",), (), "data.context=20 needs examples that are read once: Up is random"),
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
