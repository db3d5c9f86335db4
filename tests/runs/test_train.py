"""The main job: a run, its folder, and its reproduction."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tests.helpers import (
    CONF,
    NO_PICTURES,
    SHARED_DATA,
    SMALL,
    Commands,
    assert_equal_weights,
    metrics,
    needs_mnist,
    own_model,
    run_folders,
    start_fresh,
    summary,
    thinned,
    weights,
)
from tests.restless import RESTLESS

GROUPS = ("data", "model", "init", "loss", "penalty", "optimizer", "scheduler")
CHOICES = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    """A small file of pictures in Keras' layout."""
    import numpy as np

    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8), np.arange(60) % 3
    path = tmp_path / "own.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x[:12], y_test=y[:12])
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", thinned(CHOICES, 3), ids="=".join)
def test_every_choice_composes_and_trains(commands: Commands, tmp_path: Path, npz: Path, name: tuple[str, str]) -> None:
    group, choice = name
    more = []
    if choice in TORCHVISION:
        if not (choice == "mnist" and (SHARED_DATA / "MNIST").is_dir()):
            assert "add data.download=true" in commands.train(f"data={choice}").err
            return
        more = [f"data.root={SHARED_DATA}"]
    if choice == "torchvision":
        more = ["model.name=shufflenet_v2_x0_5", "data.limit=48"]
    if choice == "npz":
        more = [f"data.path={npz}"]
    if choice in ("gaussian", "huber", "mae", "poisson", "regression"):
        more = ["data=diabetes"]
    if choice in ("rnn", "sequence", "transformer"):
        more = ["data=text", "data.characters=4000", "data.length=16"]
    if choice in ("binary_cross_entropy", "multilabel"):
        generator = np.random.default_rng(0)
        x, y = generator.normal(size=(2, 80, 3)), generator.integers(0, 2, size=(2, 80, 2))
        np.savez(tmp_path / "labels.npz", x_train=x[0], y_train=y[0], x_test=x[1], y_test=y[1])
        more = ["data=npz", f"data.path={tmp_path / 'labels.npz'}"]
    small = [] if group == "model" else ["model.hidden=[12]"]
    quick = [] if group in ("data", "model") else [NO_PICTURES]
    if choice == "csv":
        (tmp_path / "own.csv").write_text("a,b,kind\n" + "".join(f"{i},{i % 7},{i % 2}\n" for i in range(60)))
        more = [f"data.path={tmp_path / 'own.csv'}", "data.target=kind"]
    if choice == "npy":
        for kind in "xy":
            np.save(tmp_path / f"{kind}.npy", np.load(npz)[f"{kind}_train"])
            more.append(f"data.{kind}={tmp_path / kind}.npy")
    if choice == "parquet":
        more = [f"data.path={tmp_path / 'own.parquet'}", "data.target=kind"]
        if find_spec("pyarrow") is None:
            (tmp_path / "own.parquet").touch()
            assert "needs pyarrow, which is not installed" in commands.train("data=parquet", *more).err
            return
        pd.DataFrame({"a": range(60), "kind": [i % 2 for i in range(60)]}).to_parquet(tmp_path / "own.parquet")
    if choice == "image_folder":
        for i in range(60):
            (tmp_path / "own" / f"c{i % 2}").mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (9, 8), (i, 4 * i, 255 * (i % 2))).save(tmp_path / "own" / f"c{i % 2}" / f"{i}.png")
        more = [f"data.path={tmp_path / 'own'}", "data.size=8", f"data.cache={tmp_path / 'cache'}"]
    size = 12 if choice == "linnerud" else 24 if choice in ("npz", "npy", "csv", "parquet", "image_folder") else 64
    folder = commands.trained(
        f"{group}={choice}",
        *more,
        *small,
        *quick,
        f"data.limit={size}",
        f"training.batch_size={size // 2}",
        "training.epochs=1",
    )
    found = summary(folder)
    assert found["status"] == "finished"
    assert found["steps"] == (1 if choice == "lbfgs" else 2)
    assert all(w.isfinite().all() for w in weights(folder).values())


def test_a_run_prints_its_optimizer_rate_schedule_initializer_batch_and_seed(commands: Commands) -> None:
    out = commands.train("training.steps=1", "data.limit=64", "seed=3", "training.accumulate=2", NO_PICTURES).out
    assert "\ntraining adam_short lr 0.002, init xavier_or_torch, batch 64, seed 3\n\n" in out
    other = ("training.steps=1", "data.limit=64", "optimizer=lbfgs", "scheduler=cosine", "init.gain=2", NO_PICTURES)
    expected = "\ntraining lbfgs lr 1, scheduler cosine, init xavier_or_torch, batch 64, seed 0\n\n"
    assert expected in commands.train(*other).out


@pytest.mark.slow
def test_the_run_folder_has_the_documented_files(commands: Commands) -> None:
    folder = commands.trained("training.epochs=3", "optimizer=momentum", "optimizer.lr=0.02")
    names = {path.name for path in folder.iterdir()}
    assert names >= {".hydra", "metrics.csv", "summary.json", "checkpoints", "train.log"}
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    assert not list(folder.rglob("*.tmp"))

    rows = metrics(folder, seconds=True)
    assert list(rows[0]) == [
        "epoch",
        "step",
        "lr",
        "train/loss",
        "train/accuracy",
        "val/loss",
        "val/accuracy",
        "seconds",
    ]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["step"] for row in rows] == ["36", "72", "108"]
    assert {row["lr"] for row in rows} == {"0.02"}

    found = summary(folder)
    keys = (
        "status epochs steps best_epoch metrics seconds examples_per_second parameters device seed overrides verdicts"
    )
    assert found.keys() >= {*keys.split(), "versions", "git_commit"}
    assert found["draws"] == "splitmix64"
    assert found["parameters"] == 64 * 100 + 100 + 100 * 100 + 100 + 100 * 10 + 10
    assert found["overrides"] == ["training.epochs=3", "optimizer=momentum", "optimizer.lr=0.02"]
    best = max(rows, key=lambda row: float(row["val/accuracy"]))
    assert found["best_epoch"] == int(best["epoch"])
    assert found["metrics"]["val/accuracy"] == float(best["val/accuracy"])
    assert "val accuracy" in (folder / "train.log").read_text()


@pytest.mark.slow
def test_test_split_is_scored_with_the_best_epochs_weights(commands: Commands) -> None:
    from experiments import assembly
    from experiments.training.streams import Streams

    folder = commands.trained("training.epochs=6", "optimizer.lr=0.05", "seed=2", NO_PICTURES)
    found = summary(folder)
    assert found["best_epoch"] < 6, "choose other numbers: this test needs a best epoch before the last"
    device = torch.device("cpu")
    config = {
        "data": {"_target_": "experiments.data.sources.digits"},
        "model": {"_target_": "experiments.models.mlp.MLP", "hidden": [100, 100]},
        "init": {"_target_": "experiments.initializers.he"},
    }
    data = assembly.data(config, Streams(2), device)
    model, _, _ = assembly.model(config, data, Streams(2), device)
    model.load_state_dict(weights(folder, "best"))
    x, y = next(data.splits["test"].in_order(1000))
    accuracy = (model.eval()(x).argmax(1) == y).double().mean().item()
    assert found["metrics"]["test/accuracy"] == pytest.approx(accuracy, abs=1e-12)


@pytest.mark.slow
def test_same_command_gives_the_same_bits(commands: Commands) -> None:
    choices = ("model.dropout=0.3", "model.batch_norm=true", "training.epochs=2", "data.limit=200", NO_PICTURES)
    first, second = commands.trained(*choices), commands.trained(*choices)
    assert_equal_weights(weights(first), weights(second))
    assert metrics(first) == metrics(second)
    other = commands.trained(*choices, "seed=1")
    assert metrics(other) != metrics(first)


@pytest.mark.slow
def test_training_does_not_change_the_programs_own_generator(commands: Commands) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    commands.trained(*SMALL, "model.dropout=0.5")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
@pytest.mark.parametrize("other", ["optimizer=sgd", "scheduler=cosine", "model.dropout=0.5", "optimizer.lr=0.5"])
def test_runs_of_one_seed_share_split_draw_and_order(commands: Commands, other: str) -> None:
    plain, changed = commands.trained(*SMALL, "training.epochs=0"), commands.trained(*SMALL, "training.epochs=0", other)
    assert_equal_weights(weights(plain), weights(changed))
    states = []
    for choice in ([], [other]):
        folder = commands.trained(*SMALL, *choice)
        states.append(torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["streams"])
    for stream in ("split", "init", "order"):
        assert torch.equal(states[0][stream], states[1][stream]), stream


@pytest.mark.slow
def test_observers_change_nothing(commands: Commands) -> None:
    choices = ("training.epochs=3", "data.limit=150", "model.batch_norm=true", "model.dropout=0.2")
    watched = commands.trained(*choices, "observers.histograms.every=1")
    off = [f"observers.{name}.enabled=false" for name in ("progress", "metrics", "tensorboard", "histograms")]
    alone = commands.trained(*choices, *off)
    assert_equal_weights(weights(watched), weights(alone))
    assert not (alone / "metrics.csv").exists()
    assert not list(alone.glob("events*"))


@pytest.mark.slow
def test_observers_draw_no_random_numbers_even_for_a_model_that_does(commands: Commands) -> None:
    choices = (*own_model(commands.folder, RESTLESS), "training.epochs=2", "data.limit=96", "data.val_fraction=0")
    watched = commands.trained(*choices)
    off = [f"observers.{name}.enabled=false" for name in ("tensorboard", "histograms")]
    assert_equal_weights(weights(watched), weights(commands.trained(*choices, *off)))


@pytest.mark.slow
def test_divergence_is_a_status_with_its_step(commands: Commands) -> None:
    outcome = commands.train("optimizer=sgd", "optimizer.lr=1e6", "init=unit_normal", "training.epochs=5")
    assert outcome.code == 1, "as a sweep in which a run diverges"
    (folder,) = run_folders(commands.folder)
    found = summary(folder)
    assert found["status"] == "diverged"
    assert 1 <= found["diverged_at_step"] <= 36
    later = f"; losses are read after each epoch, here after step {found['steps']}"
    assert f"diverged: the loss was not finite at step {found['diverged_at_step']}{later}\n" in outcome.out
    assert (folder / "checkpoints" / "last.pt").exists()
    assert all(w.isfinite().all() for w in weights(folder).values()), "the last checkpoint is the last good one"


@pytest.mark.slow
def test_divergence_keeps_the_epochs_before_it(commands: Commands) -> None:
    # The rate grows until the loss overflows: some epochs are fine.
    grow = ["scheduler._target_=tests.interrupted.growing", "optimizer=sgd", "optimizer.lr=1e-3", "init=he"]
    assert commands.train(*grow, "training.epochs=10").code == 1
    (folder,) = run_folders(commands.folder)
    found = summary(folder)
    assert found["status"] == "diverged"
    rows = metrics(folder)
    assert 1 <= len(rows) == found["epochs"] < 10
    assert found["diverged_at_step"] > int(rows[-1]["step"])
    assert "test/accuracy" in found["metrics"]


@pytest.mark.slow
def test_early_stopping_ends_with_patience(commands: Commands) -> None:
    folder = commands.trained(
        "training.epochs=60", "training.early_stopping.patience=2", "optimizer.lr=0.01", "data.limit=200"
    )
    found, rows = summary(folder), metrics(folder)
    assert found["status"] == "stopped"
    losses = [float(row["val/loss"]) for row in rows]
    best = losses.index(min(losses))
    assert len(losses) == best + 1 + 2
    assert len(losses) < 60


@pytest.mark.slow
def test_a_batch_larger_than_the_split_is_reported_and_clipped(commands: Commands) -> None:
    outcome = commands.train(*SMALL, "training.batch_size=500")
    assert "training.batch_size=500 is more than the 96 training examples; 96 is used" in outcome.out
    (folder,) = run_folders(commands.folder)
    assert summary(folder)["steps"] == 2


@pytest.mark.slow
def test_a_last_batch_of_one_is_left_out_for_batch_norm_only(commands: Commands) -> None:
    size = ("data.limit=97", "training.batch_size=32", "training.epochs=1", NO_PICTURES)
    assert summary(commands.trained(*size))["steps"] == 4
    assert summary(commands.trained(*size, "model.batch_norm=true"))["steps"] == 3


@pytest.mark.slow
def test_no_validation_split_means_the_last_epoch_is_best(commands: Commands) -> None:
    folder = commands.trained(*SMALL, "data.val_fraction=0")
    found = summary(folder)
    assert found["best_epoch"] == 2
    assert "val/loss" not in found["metrics"]
    assert metrics(folder)[0]["val/loss"] == ""
    assert_equal_weights(weights(folder, "best"), weights(folder))


@pytest.mark.slow
def test_zero_epochs_prepare_and_evaluate(commands: Commands) -> None:
    found = summary(commands.trained("training.epochs=0"))
    assert (found["status"], found["epochs"], found["steps"], found["best_epoch"]) == ("finished", 0, 0, None)
    assert 0 < found["metrics"]["test/accuracy"] < 0.5
    said = "\nval is measured after each epoch, and this run has none\n"
    for words, explained in (("training.epochs=0", True), ("training.epochs=1", False)):
        assert (said in commands.train(*SMALL, words).out) == explained
    assert said not in commands.train(*SMALL, "training.epochs=0", "data.val_fraction=0").out


@pytest.mark.slow
def test_clip_norm_bounds_the_update(commands: Commands) -> None:
    choices = (*SMALL, "optimizer=sgd", "optimizer.lr=1", "training.epochs=1", "training.batch_size=96")
    start = weights(commands.trained(*choices, "training.epochs=0"))
    end = weights(commands.trained(*choices, "training.clip_norm=0.01"))
    moved = torch.cat([(end[name] - start[name]).flatten() for name in start]).norm().item()
    assert moved == pytest.approx(0.01, rel=1e-3)


@pytest.mark.slow
def test_schedule_is_followed_to_the_last_step(commands: Commands) -> None:
    folder = commands.trained(*SMALL, "scheduler=linear", "training.epochs=4", "optimizer.lr=0.1")
    # 3 updates per epoch, 12 in all; a row shows the rate of its epoch's last update.
    expected = [0.1 * (1 - step / 12) for step in (2, 5, 8, 11)]
    assert [float(row["lr"]) for row in metrics(folder)] == pytest.approx(expected)


@pytest.mark.slow
def test_a_reader_that_goes_away_does_not_end_the_run(tmp_path: Path) -> None:
    process = start_fresh(tmp_path, *SMALL)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(120) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    (folder,) = run_folders(tmp_path)
    assert summary(folder)["status"] == "finished"


@pytest.mark.slow
def test_a_sweep_leaves_a_folder_for_each_job(commands: Commands) -> None:
    outcome = commands.train("-m", *SMALL, "optimizer=sgd,adam", "seed=range(2)")
    assert outcome.code == 0
    folders = run_folders(commands.folder)
    assert len(folders) == 4
    assert {summary(f)["seed"] for f in folders} == {0, 1}
    assert [f.name.partition("_")[0] for f in folders] == ["00", "01", "02", "03"]


@pytest.mark.slow
def test_two_sweeps_of_the_same_second_get_two_folders(commands: Commands) -> None:
    for _ in range(2):
        assert commands.train("-m", *SMALL, "seed=1,2", "hydra.sweep.dir=outputs/same").code == 0
    folders = run_folders(commands.folder)
    assert [f.parent.name for f in folders] == ["same", "same", "same_2", "same_2"]


def test_groups_keep_the_proportions_of_their_rates() -> None:
    from experiments.training.single import Single
    from tests.programs import single

    program = single(1)
    head, rest = list(program.model.parameters())[-2:], list(program.model.parameters())[:-2]
    groups = torch.optim.SGD([{"params": rest, "lr": 1.0}, {"params": head, "lr": 0.1}])
    uneven = Single(program.model, groups, program.splits, eval_batch_size=8)
    uneven.step(torch.arange(16)[None], [0.5])
    assert [group["lr"] for group in groups.param_groups] == [0.5, pytest.approx(0.05)]


@pytest.mark.slow
def test_a_user_adds_choices_from_a_folder_of_their_own(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    own = commands.folder / "own"
    (own / "optimizer").mkdir(parents=True)
    (own / "model").mkdir()
    (own / "optimizer" / "mine.yaml").write_text("_target_: mine.Sign\nlr: 0.01\n")
    (own / "model" / "mine.yaml").write_text("_target_: mine.net\nwidth: 7\n")
    (commands.folder / "mine.py").write_text(
        "import torch\n"
        "class Sign(torch.optim.Optimizer):\n"
        "    def __init__(self, params, lr: float):\n"
        "        super().__init__(params, {'lr': lr})\n"
        "    def step(self):\n"
        "        for group in self.param_groups:\n"
        "            for p in group['params']:\n"
        "                p.data.add_(p.grad.sign(), alpha=-group['lr'])\n"
        "def net(input_shape, classes, width: int):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, width), torch.nn.Tanh(),\n"
        "                               torch.nn.Dropout(0.1), torch.nn.Linear(width, classes))\n"
    )
    monkeypatch.syspath_prepend(commands.folder)
    choices = ("--config-dir", str(own), "optimizer=mine", "model=mine", "training.epochs=3")
    first, second = commands.trained(*choices), commands.trained(*choices)
    assert summary(first)["metrics"]["val/accuracy"] > 0.5
    assert_equal_weights(weights(first), weights(second))  # nn.Dropout draws from the global generator
    resumed = commands.train(*choices[:2], f"resume={first}", "training.epochs=4", "trust=[mine]")
    assert resumed.code == 0, resumed.err
    assert summary(first)["epochs"] == 4
    refused = commands.train(*choices, "model.width=wide")
    assert (refused.code, refused.err) == (2, "Error: model.width='wide' should be a valid integer\n")


@pytest.mark.slow
def test_any_torch_class_by_target(commands: Commands) -> None:
    folder = commands.trained(
        *SMALL,
        "optimizer._target_=torch.optim.Rprop",
        "~optimizer.betas",
        "~optimizer.eps",
        "~optimizer.weight_decay",
        "init._target_=torch.nn.init.kaiming_normal_",
        "~init.gain",
    )
    assert summary(folder)["status"] == "finished"


@pytest.mark.slow
@needs_mnist
def test_mnist_reaches_96_percent_in_three_epochs(commands: Commands) -> None:
    folder = commands.trained(
        "data=mnist", f"data.root={SHARED_DATA}", "training.epochs=3", "training.batch_size=128", NO_PICTURES
    )
    assert summary(folder)["metrics"]["test/accuracy"] >= 0.96
