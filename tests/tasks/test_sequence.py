"""Texts: characters as tokens, recurrent networks and transformers, through the verbs, alone and in stacks."""

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from numpy.testing import assert_allclose
from torch.nn import functional

from experiments import losses
from experiments.data.forms import TokenForm
from experiments.data.preprocess import Tokens
from experiments.data.text import licences, text, windows
from experiments.evaluation.loading import load
from experiments.models.rnn import RNN
from experiments.models.transformer import Transformer
from experiments.tasks import Sequence
from experiments.tasks.metrics import OF_TOKENS
from experiments.tasks.sequence import bigram_loss, bigrams, pairs
from tests.helpers import NO_PICTURES, Commands, metrics, run_folders, summary, weights

FAST = (NO_PICTURES, "observers.tensorboard.enabled=false", "training.epochs=2", "data.length=16")
MODELS = {
    "rnn": ("model=rnn", "model.hidden=16", "model.embedding=8"),
    "transformer": ("model=transformer", "model.width=16", "model.heads=2", "model.layers=1"),
}


@pytest.fixture
def written(commands: Commands) -> tuple[str, ...]:
    """The words that choose a small text."""
    path = commands.folder / "small.txt"
    path.write_text("".join(f"{n} sheep, {n * n} goats and {n % 7} dogs;\n" for n in range(150)))
    return ("data=text", f"data.path={path}", *FAST)


def test_a_text_becomes_windows_and_what_follows_them(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("abcabcabcabc" * 10 + "xbc" * 10)
    source = text(str(path), length=4)
    assert source.targets == ("", "a", "b", "c")
    assert isinstance(source.form, TokenForm)
    assert source.x_train[0].tolist() == [1, 2, 3, 1]
    assert source.y_train[0].tolist() == [2, 3, 1, 2]
    assert torch.equal(source.x_train.flatten()[1:], source.y_train.flatten()[:-1])
    assert 0 in source.x_test  # x is unknown
    assert "10 characters of the test part" in source.notes[1]


def test_windows_leave_out_a_shorter_rest() -> None:
    x, y = windows(torch.arange(11), 5)
    assert x.tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert y.tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]


def test_the_embedded_text_repeats_no_paragraph() -> None:
    paragraphs = licences().strip("\n").split("\n\n")
    assert len(licences()) > 100_000
    assert len(paragraphs) == len(set(paragraphs))


def test_the_loss_of_a_sequence_is_the_mean_over_its_positions() -> None:
    draw = torch.Generator().manual_seed(0)
    scores, y = torch.randn(5, 7, 4, generator=draw), torch.randint(0, 4, (5, 7), generator=draw)
    for smoothing in (0.0, 0.1):
        wanted = functional.cross_entropy(scores.transpose(1, 2), y, reduction="none", label_smoothing=smoothing)
        own = losses.cross_entropy(scores, y, "none", label_smoothing=smoothing)
        assert_allclose(own, wanted.mean(1), rtol=1e-5)
        tensor = losses.cross_entropy(scores, y, "none", label_smoothing=torch.tensor(smoothing))
        assert_allclose(tensor, own, rtol=1e-5)
    p = Sequence().answer(scores)
    nats = functional.cross_entropy(scores.flatten(0, 1), y.flatten()).item()
    assert_allclose(OF_TOKENS["perplexity"](p, y), math.exp(nats), rtol=1e-5)
    assert_allclose(OF_TOKENS["bits_per_character"](p, y), nats / math.log(2), rtol=1e-5)


def test_the_bigram_table_is_that_of_the_counts() -> None:
    first, second = torch.tensor([0, 0, 1, 0]), torch.tensor([1, 1, 0, 0])
    table = bigrams(first, second, 2)
    assert_allclose(table, [[2 / 5, 3 / 5], [2 / 3, 1 / 3]])
    assert_allclose(bigram_loss(table, torch.tensor([0, 1]), torch.tensor([1, 1])), -math.log(3 / 5 / 3) / 2)


@pytest.mark.parametrize("model", [Transformer((8,), 5, vocabulary=5, width=8, heads=2), RNN((8,), 5, vocabulary=5)])
def test_no_score_depends_on_later_tokens(model: torch.nn.Module) -> None:
    x = torch.randint(0, 5, (3, 8), generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 5
    with torch.no_grad():
        assert_allclose(model(x)[:, :5], model(changed)[:, :5], rtol=1e-5, atol=1e-6)
        assert not torch.allclose(model(x)[:, 5:], model(changed)[:, 5:])
        assert_allclose(model(x)[:, :3], model(x[:, :3]), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_run_measures_perplexity_and_writes_samples(commands: Commands, written: tuple[str, ...], name: str) -> None:
    folder = commands.trained(*written, *MODELS[name])
    last, told = metrics(folder)[-1], (folder / "train.log").read_text()
    assert_allclose(float(last["val/perplexity"]), math.exp(float(last["val/loss"])), rtol=1e-4)
    assert_allclose(float(last["val/bits_per_character"]), float(last["val/loss"]) / math.log(2), rtol=1e-4)
    assert "sequence of" in told
    assert " class" not in told
    data = json.loads((folder / "data.json").read_text())
    assert data["form"]["kind"] == "characters"
    assert data["form"]["vocabulary"][:3] == ["", "\n", " "]
    shown = commands.type("evaluate", f"run={folder}")
    assert shown.code == 0, shown.err
    assert "--- sample 1, which continues" in shown.out
    out = folder / "evaluation" / "test"
    assert len((out / "samples.txt").read_text()) > 800
    rows = list(csv.DictReader((out / "predictions.csv").read_text().splitlines()))
    mean = sum(float(row["bits_per_character"]) for row in rows) / len(rows)
    assert_allclose(mean, summary(folder)["metrics"]["test/bits_per_character"], rtol=1e-5)


def test_tokens_are_restored_and_never_prepared(commands: Commands, written: tuple[str, ...]) -> None:
    run = load(commands.trained(*written, *MODELS["rnn"]))
    assert isinstance(run.prepare, Tokens)
    split = run.data.splits["val"]
    x, y = split.first(3)
    assert x.dtype == y.dtype == torch.int64
    assert run.answers(x).shape == (3, 16, len(run.task.names))
    ordered = torch.cat([split.x[split.rows] if split.rows is not None else split.x]).flatten()
    assert torch.equal(ordered[1:], split.y.flatten()[:-1])  # the validation part has no gaps


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_checks_and_export(commands: Commands, written: tuple[str, ...], name: str) -> None:
    checked = commands.type(
        "check", *written, *MODELS[name], "training.epochs=1", "only=[examples,gradient,leak,reference]"
    )
    assert checked.code == 0, checked.out + checked.err
    assert "bigram table" in checked.out
    assert "later" in checked.out
    folder = commands.trained(*written, *MODELS[name])
    assert commands.type("export", f"run={folder}").code == 0
    about = json.loads((folder / "export" / "model.json").read_text())
    assert about["input"]["type"] == "int64"
    assert about["output"]["shape"] == ["batch", 16, len(load(folder).task.names)]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_a_stack_of_transformers_agrees_with_separate_runs(
    commands: Commands, written: tuple[str, ...], precision: str
) -> None:
    words = (*written, *MODELS["transformer"], f"training.precision={precision}", "model.dropout=0.1")
    assert commands.train("-m", *words, "seed=0,1").code == 0
    for folder in run_folders(commands.folder):
        assert torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["program"]["stacked"]
        alone = commands.trained(*words, f"seed={summary(folder)['seed']}")
        for name, value in weights(alone).items():
            assert_allclose(weights(folder)[name], value, rtol=0, atol=1e-5 if precision == "fp32" else 1e-8)


def test_recurrent_networks_of_a_sweep_are_trained_one_after_another(
    commands: Commands, written: tuple[str, ...]
) -> None:
    outcome = commands.train("-m", *written, *MODELS["rnn"], "seed=0,1")
    assert outcome.code == 0
    assert "one after another" in outcome.out
    assert all(summary(folder)["status"] == "finished" for folder in run_folders(commands.folder))


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_recurrent_networks_classify_rows_of_pictures(commands: Commands, cell: str) -> None:
    words = ("data.limit=96", "training.epochs=1", "model=rnn", f"model.cell={cell}", "model.hidden=8", NO_PICTURES)
    assert "test/accuracy" in summary(commands.trained(*words))["metrics"]


def test_a_network_that_is_not_better_than_the_bigram_table_is_named(
    commands: Commands, written: tuple[str, ...]
) -> None:
    folder = commands.trained(*written, *MODELS["rnn"], "optimizer.lr=1e-6", "training.batch_size=4")
    names = {verdict["name"] for verdict in summary(folder)["verdicts"]}
    assert "not better than the bigram table" in names


def test_pairs_are_in_the_order_of_the_split(commands: Commands, written: tuple[str, ...]) -> None:
    split = load(commands.trained(*written, *MODELS["rnn"], "training.epochs=0")).data.splits["test"]
    first, second = pairs(split)
    assert torch.equal(first[1:], second[:-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("model=mlp",), "tokens need a model that embeds them, such as model=rnn or model=transformer"),
        (("model=transformer", "model.heads=3"), "model.heads=3 does not divide width=128"),
        (("model=rnn", "task=classification"), "task=classification needs a class for each example"),
        (("model=rnn", "task=reconstruction"), "task=reconstruction needs numbers as inputs"),
        (("model=rnn", "loss=mse"), "loss=mse does not fit task=sequence; choose from auto, cross_entropy"),
        (("model=rnn", "data.preprocess=zca"), "data.preprocess='zca' is for numbers"),
        (("model=rnn", "data.augment=mixup"), "data.augment='mixup' is for numbers"),
        (("model=rnn", "data.length=5000"), "windows of length=5000 need at least"),
        (("model=rnn", "data.path=missing.txt"), "data.path='missing.txt' cannot be read"),
        (("model=rnn", "data.keep_classes=[0,1]"), "data.keep_classes=[0, 1] is for task=classification"),
        (("model=rnn", "metrics=[auroc]"), "'auroc' is a metric of classification and multilabel, not of sequence"),
    ],
)
def test_refusals(commands: Commands, written: tuple[str, ...], words: tuple[str, ...], sentence: str) -> None:
    assert sentence in commands.train(*written, *words).refusal()


def test_an_empty_text_and_a_picture_are_refused(commands: Commands) -> None:
    (commands.folder / "empty.txt").write_text("")
    (commands.folder / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    for name, sentence in (("empty.txt", "is empty; it should be a text"), ("bytes.txt", "expected a text in UTF-8")):
        assert sentence in commands.train("data=text", f"data.path={name}", "model=rnn").refusal()


def test_a_transformer_refuses_numbers(commands: Commands) -> None:
    assert "a transformer needs tokens" in commands.train("model=transformer", "data.limit=96").refusal()
