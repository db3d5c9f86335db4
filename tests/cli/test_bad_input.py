"""What a user can get wrong: one sentence, exit code 2, no traceback, nothing lost."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.folders.run import Row, RunFolder
from tests.helpers import SMALL, Commands, run, run_folders, run_fresh, summary, thinned

CASES = [
    # unknown choice, group, key
    ("optimizer=adm", "unknown optimizer 'adm'; choose from adadelta, ", "did you mean 'optimizer=adam'?"),
    ("optimzer=adam", "unknown key 'optimzer'; ", "did you mean 'optimizer=adam'?"),
    ("optimizer.lrr=1", "unknown key 'optimizer.lrr'; choose from ", "did you mean 'optimizer.lr=1'?"),
    ("training.epoch=3", "unknown key 'training.epoch'; choose from ", "did you mean 'training.epochs=3'?"),
    ("optimizer=sgd optimizer.betas=[0,0]", "unknown key 'optimizer.betas'", "; choose from decay_exempt, lr_scale, "),
    ("+optimizer.momentum=0.9", "unknown setting 'optimizer.momentum' of Adam", "; choose from lr, betas"),
    ("+extra=1", "unknown setting 'extra'", "; choose from name, seed"),
    # wrong type
    ("optimizer.lr=fast", "optimizer.lr='fast' should be a valid number", ""),
    ("training.epochs=2.5", "training.epochs=2.5 should be a valid integer", ""),
    ("training.batch_size=true", "training.batch_size=true should be a valid integer", ""),
    ("optimizer.betas=[0.9]", "optimizer.betas=[0.9] should have one more item", ""),
    ("model.batch_norm=maybe", "model.batch_norm='maybe' should be a valid boolean", ""),
    ("training=5", "training=5 should be a section of settings", ""),
    ("optimizer=null", "Config group override must be a string", ""),
    # out of range
    ("optimizer.lr=0", "optimizer.lr=0 should be greater than 0", ""),
    ("optimizer.lr=-0.1", "optimizer.lr=-0.1 should be greater than 0", ""),
    ("optimizer.weight_decay=-1", "optimizer.weight_decay=-1 should be greater than or equal to 0", ""),
    ("optimizer=momentum optimizer.momentum=1", "optimizer.momentum=1 should be less than 1", ""),
    ("model.dropout=1", "model.dropout=1 should be less than 1", ""),
    ("model.hidden=[10,0]", "model.hidden[1]=0 should be greater than or equal to 1", ""),
    ("training.epochs=-1", "training.epochs=-1 should be greater than or equal to 0", ""),
    ("training.threads=0", "training.threads=0 should be greater than or equal to 1", "'auto'"),
    ("data.val_fraction=1", "data.val_fraction=1 should be less than 1", ""),
    ("data.limit=5000", "data.limit=5000 is more than the 1150 training examples", ""),
    ("scheduler=step scheduler.every=0", "scheduler.every=0 should be greater than or equal to 0.000001", ""),
    ("init.gain=0", "init.gain=0 should be greater than 0", ""),
    ("training.batch_size=1 model.batch_norm=true", "batch_size=1 gives BatchNorm a variance of 0", "at least 2"),
    ("seed=-1", "seed=-1 should be greater than or equal to 0", ""),
    (f"seed={'9' * 400}", "seed=99999999999999999999... (400 digits) should be at most 9223372036854775807", ""),
    (f"seed={'9' * 5000}", "seed has a number of 5000 digits", "at most 19 digits"),
    (f"model.hidden=[10,1{'0' * 30}]", "model.hidden[1]=1000000000000000000000000000000 should be at most", ""),
    ("loss.label_smoothing=1e400", "loss.label_smoothing=inf should be a finite number\n", ""),
    ("training.threads=100000", "training.threads=100000 is more than the ", "of this machine; use at most as many"),
    ("data.keep_classes=[3]", "data.keep_classes=[3] has only the class '3'", "needs at least two classes"),
    ("data=npz data.path=one_class.npz", "data has only the class '0'", "needs at least two classes"),
    ("data.limit=9", "data.limit=9 is less than the 10 classes", "at least one example of each class"),
    ("objective=val/loss data.val_fraction=0", "objective=val/loss is never measured", "data.val_fraction=0 leaves no"),
    ("training.early_stopping.metric=val/los", "training.early_stopping.metric='val/los' is not measured; choose from",
     "did you mean 'training.early_stopping.metric=val/loss'?"),
    ("sweep.zip=[[seed],[1]]", "sweep.zip lists the values of several runs, but this command is a single", "add -m"),
    ("observers.mine._target_=m.O", "unknown key 'observers.mine._target_'", "mean '+observers.mine._target_=m.O'?"),
    ("observers.layer.every=2", "unknown key 'observers.layer.every'", "did you mean 'observers.layers.every=2'?"),
    # no such name
    ("model.activation=Tanh", "unknown model.activation 'Tanh'; choose from celu, elu", "'model.activation=tanh'?"),
    ("model.activation=LeakyReLU", "unknown model.activation 'LeakyReLU'; choose", "'model.activation=leaky_relu'?"),
    ("model.activation=rellu", "model.activation='rellu' is not an activation", "mean 'model.activation=relu'?"),
    ("data.preprocess=standardise", "unknown data.preprocess 'standardise'", "mean 'data.preprocess=standardize'?"),
    ("objective=val/acc", "objective='val/acc' is not measured; ", "did you mean 'objective=val/accuracy'?"),
    ("init.bias=none", "init.bias='none' should be a valid number or 'torch', 'normal' or 'own'", ""),
    (
        "training.early_stopping.metric=val/los training.early_stopping.patience=2",
        "training.early_stopping.metric='val/los' is not measured; choose from ",
        "did you mean 'training.early_stopping.metric=val/loss'?",
    ),
    ("optimizer._target_=torch.optim.Adamm", "cannot be imported: torch.optim has no 'Adamm'", "did you mean 'Adam'?"),
    ("observers.tensorboard.enabled=3", "observers.tensorboard.enabled=3 should be true or false", ""),
    # what does not go together
    ("scheduler=plateau data.val_fraction=0", "scheduler=plateau needs the validation loss", ""),
    ("model=cnn model.stages=[[4],[4],[4],[4]]", "model.stages has 4 pooling layers of size 2", "8 x 8"),
    ("model=cnn model.kernel=2", "model.kernel=2 is even", "use an odd number such as 3"),
    ("model._target_=torch.nn.Linear ~model.hidden ~model.activation ~model.batch_norm ~model.norm ~model.groups "
     "~model.residual ~model.dropout ~model.input_dropout +model.in_features=5 +model.out_features=10",
     "model cannot take an example", "(1, 8, 8)"),
    ("optimizer=lbfgs training.accumulate=2", "training.accumulate cannot be combined with LBFGS", "uses the whole"),
    ("optimizer=lbfgs training.clip_norm=1", "training.clip_norm cannot be combined with LBFGS", "leave one of"),
    ("optimizer=lbfgs training.precision=fp16", "training.precision cannot be combined with LBFGS", "scaled loss"),
    ("optimizer=lbfgs penalty=max_norm", "penalty=MaxNorm cannot be combined with LBFGS", "leave one of them out"),
    ("optimizer=lbfgs optimizer.lr_scale={head:0.1}", "optimizer: LBFGS doesn't support per-parameter options", ""),
    ("optimizer.lr_scale={hed:0.1}", "optimizer.lr_scale='hed' matches no parameter", "head.weight, head.bias"),
    ("optimizer.lr_scale={head:-1}", "optimizer.lr_scale=-1 should be greater than or equal to 0", ""),
    ("optimizer.lr_scale={*:0}", "freezes every parameter", "at least one must be trained"),
    ("optimizer.decay_exempt=[*.bas]", "optimizer.decay_exempt='*.bas' matches no parameter", "head.bias"),
    ("optimizer.decay_exempt=bias", "optimizer.decay_exempt='bias' should be", ""),
    ("training.ema=0.9 training.swa=1", "training.ema=0.9 and training.swa=1 both average", "leave one null"),
    ("training.ema=1", "training.ema=1 should be less than 1", ""),
    ("training.swa=30", "training.swa=30 starts after the last of training.epochs=20", ""),
    ("training.precision=half", "training.precision='half' should be 'fp32', 'tf32', 'fp64', 'bf16' or 'fp16'", ""),
    ("training.accumulate=0", "training.accumulate=0 should be greater than or equal to 1", ""),
    ("training.compile=fast", "training.compile='fast' should be", "'reduce-overhead'"),
    ("data.folds=5 data.fold=5", "data.fold=5 does not exist", "allows 0 to 4"),
    ("data.folds=5", "data.folds=5 needs data.fold", "from 0 to 4"),
    ("data.fold=1", "data.fold=1 needs the number of folds", "add data.folds=5"),
    ("data.folds=2000 data.fold=0", "data.folds=2000 is more than the 1438 training examples", ""),
    ("data.label_noise=1.5", "data.label_noise=1.5 should be less than or equal to 1", ""),
    ("data.balance=yes", "data.balance='yes' should be 'none' or 'class_weights'", ""),
    ("data.augment=crop_flp", "unknown data.augment 'crop_flp'; choose from none, ", "mean 'data.augment=crop_flip'?"),
    ("data=moons data.augment=crop_flip", "data.augment='crop_flip' needs pictures", "(2,)"),
    ("data=moons model=cnn", "a CNN needs pictures", "use model=mlp"),
    ("data=moons data.examples=4 data.imbalance=9", "data.examples=4 leaves a class", "at least 2"),
    ("data.preprocess=pca_whiten model=cnn", "a CNN needs pictures", "use model=mlp"),
    (
        "loss._target_=torch.nn.CrossEntropyLoss",
        "loss._target_='torch.nn.CrossEntropyLoss' is a class; use the function torch.nn.functional.cross_entropy",
        "",
    ),
    ("loss._target_=torch.relu ~loss.label_smoothing", "loss._target_='torch.relu' has no parameter reduction", ""),
    ("loss._target_=torch.nn.functional.l1_loss ~loss.label_smoothing", "loss: torch.nn.functional.l1_loss", ""),
    ("loss.label_smoothing=1", "loss.label_smoothing=1 should be less than 1", ""),
    ("penalty=l2 penalty.strength=-1", "penalty.strength=-1 should be greater than or equal to 0", ""),
    ("penalty._target_=builtins.dict", "built a dict, expected a Penalty", ""),
    ("training.early_stopping.patience=2 data.val_fraction=0", "metric='val/loss' is not measured", "no validation"),
    ("training.early_stopping.min_delta=abc", "min_delta='abc' should be a valid number", ""),
    ("observers.histograms.every=abc", "observers.histograms.every='abc' should be a valid integer", ""),
    ("observers.histograms.every=-1", "observers.histograms.every=-1 should be greater than or equal to 0", ""),
    ("-m resume=nowhere seed=1,2", "is not a sweep folder", "sweep.yaml"),
    ("data=npz data.path='x[/b].npz'", "data.path='x[/b].npz' does not exist", ""),
    ("data.preprocess=[1]", "unknown data.preprocess [1]; ", "choose from none"),
    # absent
    ("data=mnist", "data.root='data' does not contain MNIST, and download=false", "data.download=true"),
    ("data=npz", "data.path is missing", "data.path=..."),
    ("data=npz data.path=nowhere.npz", "data.path='nowhere.npz' does not exist", "x_train"),
    ("data=npz data.path=half.npz", "data.path='half.npz' has no y_train and no x_test and no y_test", "x_train"),
    ("data=npz data.path=text.npz", "data.path='text.npz' cannot be read", ""),
    ("hydra.run.dir=/proc/nowhere/run", "cannot write /proc/nowhere", ""),
    ("resume=nowhere", "resume='nowhere' is not a run folder", "it has no .hydra/overrides.yaml"),
    ("optimizer.lr=[", "optimizer.lr=[", ""),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", thinned(CASES), ids=[case[0][:40] for case in CASES])
def test_one_sentence_and_exit_2(commands: Commands, case: tuple[str, str, str]) -> None:
    typed, said, hint = case
    np.savez(commands.folder / "half.npz", x_train=np.zeros((3, 2)))
    x, y = np.zeros((9, 2)), np.zeros(9, dtype=np.int64)
    np.savez(commands.folder / "one_class.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    (commands.folder / "text.npz").write_text("not an archive")
    outcome = commands.train(*typed.split(" "))
    assert outcome.code == 2
    assert outcome.err.startswith("Error: ")
    assert said in outcome.err
    assert hint in outcome.err
    assert outcome.err.count("\n") == 1, outcome.err
    for folder in run_folders(commands.folder):
        assert summary(folder)["status"] == "failed"
        assert summary(folder)["error"]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("name", ["cuda", "cuda:3"])
def test_a_device_that_is_absent(commands: Commands, name: str) -> None:
    outcome = commands.train(f"training.device={name}")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert f"training.device='{name}' is not on this machine; allowed: auto, cpu" in outcome.err


@pytest.mark.slow
def test_a_real_process_prints_the_same(tmp_path: Path) -> None:
    outcome = run_fresh(tmp_path, "optimizer.lr=-1")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "Error: optimizer.lr=-1 should be greater than 0\n"


@pytest.mark.slow
def test_the_traceback_is_shown_when_asked_for(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments.common.errors import UserError

    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(UserError, match="should be greater than 0"):
        commands.train("optimizer.lr=-1")


@pytest.mark.slow
def test_a_sweep_continues_after_a_job_that_cannot_run(commands: Commands) -> None:
    outcome = commands.train("-m", *SMALL, "optimizer.lr=0.1,-1,0.01")
    assert outcome.code == 1
    assert outcome.out.count("failed: optimizer.lr=-1 should be greater than 0") == 1
    assert "3 runs: 2 finished, 1 failed" in outcome.out
    assert "Traceback" not in outcome.err
    statuses = [summary(folder)["status"] for folder in run_folders(commands.folder)]
    assert statuses == ["finished", "failed", "finished"]


LR = "optimizer.lr=choice(0.1,0.01)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "the run's folder outputs/train/"),
        (("-m", "seed=1,2"), "the sweep's folder outputs/train/"),
        (("-m", "seed=1,2", "hydra.launcher.max_stack=1"), "the sweep's folder outputs/train/"),
        (("-m", "hydra/sweeper=optuna", "hydra.sweeper.sampler=grid", LR), "the sweep's folder outputs/train/"),
    ],
    ids=["a run", "a stack", "a sweep without stacks", "a search"],
)
def test_a_folder_that_is_removed_meanwhile(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    pytest.importorskip("optuna")
    real, written = RunFolder.write_metrics, []

    def write_metrics(self: RunFolder, rows: Sequence[Row]) -> None:
        written.append(len(rows))
        if len(written) == 1:
            shutil.rmtree(commands.folder / "outputs")
        real(self, rows)

    monkeypatch.setattr(RunFolder, "write_metrics", write_metrics)
    outcome = commands.train(*words[:1], *SMALL, *words[1:])
    assert outcome.code == 2, outcome.out
    assert outcome.err.startswith(f"Error: {said}")
    assert "was removed during the " in outcome.err
    assert outcome.err.count("\n") == 1, outcome.err
    assert not list(commands.folder.glob("outputs/**/summary.json"))


@pytest.mark.slow
def test_an_output_folder_that_cannot_be_written(commands: Commands) -> None:
    (commands.folder / "outputs").write_text("a file where the folder should be")
    outcome = commands.train(*SMALL)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "cannot write" in outcome.err
    assert "outputs" in outcome.err


@pytest.mark.slow
def test_two_commands_of_the_same_second_get_two_folders(commands: Commands) -> None:
    same = "hydra.run.dir=outputs/same"
    for _ in range(3):
        assert commands.train(*SMALL, same).code == 0
    names = [folder.name for folder in run_folders(commands.folder)]
    assert names == ["same", "same_2", "same_3"]


LONG = ("training.epochs=100000", "model.hidden=[200]", "data.limit=64", "observers.histograms.every=0")


def assert_complete(folder: Path) -> None:
    """Fail unless the files of a run are complete and the run can be resumed."""
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert len(rows) >= 2
    assert all(line.count(",") == 7 for line in rows)
    assert torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["position"]["epoch"] >= 1
    assert not list(folder.rglob("*.tmp"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 3 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("tensorboard", [True, pytest.param(False, marks=pytest.mark.exhaustive)])
def test_a_disk_that_fills(small_disk: Path, tensorboard: bool) -> None:
    # Either the event file fills it, or a file outside the run does during the run.
    filler = "" if tensorboard else """
from experiments.folders.run import RunFolder
real, count = RunFolder.write_next, 0
def write_next(self, state):
    global count
    count += 1
    if count == 20:
        with open("filler", "wb") as file:
            try:
                while True:
                    file.write(b"x" * 4096); file.flush()
            except OSError:
                pass
    return real(self, state)
RunFolder.write_next = write_next
"""  # fmt: skip
    histograms = "observers.histograms.every=1" if tensorboard else "observers.tensorboard.enabled=false"
    outcome = run(small_disk, *LONG, histograms, prelude=filler)
    assert outcome.code == 2, outcome.err
    sentence = [line for line in outcome.err.splitlines() if line.startswith("Error: cannot write")]
    assert len(sentence) == 1
    assert "No space left on device" in sentence[0]
    assert "Traceback" not in outcome.err
    (folder,) = run_folders(small_disk)
    assert_complete(folder)
    assert "resume=" in sentence[0]


@pytest.mark.slow
def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """The same without root: no file may be larger than 400 KiB, so the event file is cut off."""

    limit = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400 * 1024, 400 * 1024))"
    )
    outcome = run(tmp_path, *LONG[:3], prelude=limit)
    assert outcome.code == 2, outcome.err
    assert "Error: cannot write" in outcome.err
    assert "Traceback" not in outcome.err
    (folder,) = run_folders(tmp_path)
    assert_complete(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(commands: Commands) -> None:
    (commands.folder / "outputs").mkdir(mode=0o500)
    outcome = commands.train(*SMALL)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "Permission denied" in outcome.err


def test_a_mistake_in_another_word_is_not_asked_about(commands: Commands) -> None:
    refusal = commands.train("model.hidden=100", "data.limit=5").refusal()
    assert refusal == "Error: data.limit=5 is less than the 10 classes; use at least one example of each class\n"
    assert "did you mean 'model.hidden=[100]'?" in commands.train("model.hidden=100").refusal()
