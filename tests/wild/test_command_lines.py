"""Command lines as people type them: each works, or its answer names the words that were meant, which then work."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from experiments.cli.overrides import flags_first, split_arguments, unknown_flag
from experiments.common import habits
from experiments.common.keys import flattened
from experiments.common.meant import name_meant, pasted, spelled
from tests.helpers import CONF, NO_PICTURES, Commands, metrics, run_folders, sampled, summary

TINY = ("training.epochs=1", "data.limit=64", "observers.tensorboard.enabled=false", NO_PICTURES)
MEANT = {
    # a setting without its section
    "lr=0.01": "optimizer.lr=0.01",
    "learning_rate=0.01": "optimizer.lr=0.01",
    "epochs=3": "training.epochs=3",
    "batch_size=64": "training.batch_size=64",
    "dropout=0.5": "model.dropout=0.5",
    "patience=5": "training.early_stopping.patience=5",
    "device=gpu": "training.device=auto",
    "weight_decay=0.1": "optimizer.weight_decay=0.1",
    "data_path=own.csv": "data=csv data.path=own.csv",
    "bs=64": "training.batch_size=64",
    "wd=1e-4": "optimizer.weight_decay=1e-4",
    "hidden=100": "model.hidden=[100]",
    "training.lr=0.1": "optimizer.lr=0.1",
    "data.split=0.2": "data.val_fraction=0.2",
    "num_epochs=3": "training.epochs=3",
    "max_steps=3": "training.steps=3",
    "l2=0.01": "penalty=l2 penalty.strength=0.01",
    "hidden_size=12": "'model.hidden=[12]'",
    "model.hidden_size=12": "'model.hidden=[12]'",
    "early_stop=true": "training.early_stopping.patience=5",
    "accelerator=cpu": "training.device=cpu",
    "amp=true": "training.precision=fp16",
    "mixup=0.2": "data.augment=mixup",
    "deterministic=yes": "training.deterministic=true",
    "monitor=val_loss": "training.early_stopping.metric=val/loss",
    "path=own.csv": "data=csv data.path=own.csv",
    # a choice as other programs have it
    "model=lstm": "model=rnn model.cell=lstm",
    "loss=l1": "loss=mae",
    "optimizer.name=sgd": "optimizer=sgd",
    "scheduler.type=cosine": "scheduler=cosine",
    "loss=ce": "loss=cross_entropy",
    "loss=bce": "loss=binary_cross_entropy",
    "data=own.csv": "data=csv data.path=own.csv",
    "data=./own.csv": "data=csv data.path=./own.csv",
    "own.npz": "data=npz data.path=own.npz",
    "+lr=0.1": "optimizer.lr=0.1",
    "+optimizer.lr=0.1": "optimizer.lr=0.1",
    "++dropout=0.5": "model.dropout=0.5",
    "training.clip_norm=none": "training.clip_norm=null",
    "training.clip_norm=false": "training.clip_norm=null",
    "model.dropout=none": "model.dropout=0",
    "model.batch_norm=none": "model.batch_norm=false",
    "training.precision=16": "training.precision=fp16",
    "training.precision=bf16-mixed": "training.precision=bf16",
    "objective=f1": "'metrics=[f1]' objective=val/f1",
    "objective=loss": "objective=val/loss",
    "objective=test/loss": "objective=val/loss",
    "metrics=auroc,f1": "'metrics=[auroc,f1]'",
    "epoch=2": "training.epochs=2",
    "grad_clip=1": "training.clip_norm=1",
    "monitor=val/loss patience=3": "training.early_stopping.metric=val/loss training.early_stopping.patience=3",
    "loss=nll": "loss=cross_entropy",
    "precision=16": "training.precision=fp16",
    "optimizer=[sgd,adam]": "-m optimizer=sgd,adam",
    "-m 'optimizer=[sgd, adam]'": "-m optimizer=sgd,adam",
    "model=[mlp]": "model=mlp",
    # the device
    "cuda": "training.device=auto",
    "cpu": "training.device=cpu",
    "gpu=1": "training.device=auto",
    "use_cuda=false": "training.device=cpu",
    # a setting that another choice has
    "momentum=0.9": "optimizer=momentum optimizer.momentum=0.9",
    "+momentum=0.9": "optimizer=momentum optimizer.momentum=0.9",
    "optimizer=sgd optimizer.momentum=0.9": "optimizer=momentum optimizer.momentum=0.9",
    # as other programs take it
    "--epochs 3": "training.epochs=3",
    "--lr=0.1": "optimizer.lr=0.1",
    "-lr 0.1": "optimizer.lr=0.1",
    "--batch-size 64": "training.batch_size=64",
    "optimizer sgd": "optimizer=sgd",
    "optimizer = sgd": "optimizer=sgd",
    "optimizer= sgd": "optimizer=sgd",
    "optimizer:sgd": "optimizer=sgd",
    # as other libraries call it
    "optimizer=SGD": "optimizer=sgd",
    "optimizer=AdamW": "optimizer=adamw",
    "model=MLP": "model=mlp",
    "model=resnet18": "model=torchvision model.name=resnet18",
    "data=MNIST": "data=mnist",
    "loss=crossentropy": "loss=cross_entropy",
    "loss=CrossEntropyLoss": "loss=cross_entropy",
    "init=xavier_normal": "init=xavier",
    "init=kaiming_uniform": "init=he_uniform",
    "init=glorot_uniform": "init=xavier_uniform",
    "scheduler=CosineAnnealingLR": "scheduler=cosine",
    "scheduler=CosineAnnealingWarmRestarts": "scheduler=cosine_restarts",
    "scheduler=ReduceLROnPlateau": "scheduler=plateau",
    "scheduler=OneCycleLR": "scheduler=one_cycle",
    "model.activation=swish": "model.activation=silu",
    "training.precision=half": "training.precision=fp16",
    # a value without its setting
    "swish": "model.activation=silu",
    "adam": "optimizer=adam",
    # nothing
    "~scheduler": "scheduler=constant",
    "scheduler=none": "scheduler=constant",
    # lists, commas, quotes and brackets
    "model.hidden=100": "model.hidden=[100]",
    "model.hidden=100,50": "model.hidden=[100,50]",
    "hidden=100,50": "model.hidden=[100,50]",
    "model.hidden=[100,100": "model.hidden=[100,100]",
    "model.hidden=(100,100)": "model.hidden=[100,100]",
    "model.hidden=[100, 100]": "model.hidden=[100,100]",
    "optimizer=adam,": "optimizer=adam",
    "\"'optimizer=adam'\"": "optimizer=adam",
    "'data.separator=;'": "data=csv 'data.separator=\";\"'",
    "data=csv 'data.separator=;'": "data=csv 'data.separator=\";\"'",
    "optimizer.lr=0,01": "optimizer.lr=0.01",
    "lr=0,01": "optimizer.lr=0.01",
    # several values
    "optimizer.lr=1e-3,1e-2": "-m optimizer.lr=1e-3,1e-2",
    "--multirun optimizer.lr=0.1, 0.01": "--multirun optimizer.lr=0.1,0.01",
    "seed=1-5": "-m 'seed=range(1,6)'",
    "-m seed=1..5": "-m 'seed=range(1,6)'",
    "seed=[1,2]": "-m seed=1,2",
    # numbers
    "model.dropout=50": "model.dropout=0.5",
    "data.val_fraction=20%": "data.val_fraction=0.2",
    "data.val_fraction=1/5": "data.val_fraction=0.2",
    "training.epochs=ten": "training.epochs=10",
    "training.epochs=1.5": "training.epochs=2",
    "training.batch_size=64.0": "training.batch_size=64",
    "model.batch_norm=yes": "model.batch_norm=true",
    # a section
    "training.early_stopping=5": "training.early_stopping.patience=5",
    "training.early_stopping=true": "training.early_stopping.patience=5",
    "early_stopping=5": "training.early_stopping.patience=5",
    "training=5": "training.epochs=5",
    "optimizer=0.1": "optimizer.lr=0.1",
}
"""What is typed, and the words that were probably meant."""
OFTEN = {
    *("lr=0.01", "momentum=0.9", "optimizer=SGD", "swish", "model=resnet18", "--epochs 3", "optimizer = sgd"),
    *("optimizer sgd", "model.hidden=100", "model.hidden=[100,100", "lr=0,01", "training.early_stopping=5"),
    *("'data.separator=;'", "~scheduler", "optimizer=sgd optimizer.momentum=0.9", "model.dropout=50", "-m seed=1..5"),
    *("+lr=0.1", "objective=f1", "gpu=1", "optimizer=[sgd,adam]", "epoch=2"),
    *("training.clip_norm=none", "training.precision=16"),
    *("l2=0.01", "early_stop=true", "amp=true", "model=lstm", "path=own.csv", "hidden_size=12"),
}  # fmt: skip
"""Those that `make test` takes; `make test-all` takes all."""
UNTRAINED = ("data=", "model=torchvision", "model=rnn", "training.precision=", "loss=")
"""Words with which a run needs a file, labels, much memory or another device: these are only composed."""


def asked(outcome_text: str) -> list[str]:
    """Return the words after the question of the only sentence, as a shell reads them."""
    (sentence,) = {line for line in outcome_text.splitlines() if "did you mean " in line}
    return shlex.split(re.sub(r"^.*did you mean (.*)\?$", r"\1", sentence))


@pytest.mark.slow
@pytest.mark.parametrize("typed", sampled(MEANT, OFTEN))
def test_the_words_that_were_meant_are_named_and_work(commands: Commands, typed: str) -> None:
    words = shlex.split(typed)
    outcome = commands.train(*words)
    assert outcome.code == 2, outcome.out
    assert "Traceback" not in outcome.err
    answer = asked(outcome.out + outcome.err)
    whole = shlex.split(MEANT[typed])
    assert answer in (whole, [word for word in whole if word not in words])
    if any(word.startswith(UNTRAINED) for word in whole):
        assert commands.train(*whole, "--cfg", "job").code == 0
        return
    before = set(run_folders(commands.folder))
    flags, overrides = split_arguments(whole)
    pasted_back = commands.train(*flags, *TINY, *overrides)
    assert pasted_back.code == 0, pasted_back.err
    ended = [summary(folder)["status"] for folder in set(run_folders(commands.folder)) - before]
    assert set(ended) == {"finished"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("shuffle=true", "; the training examples are shuffled anew in each epoch"),
        ("output_dir=runs", "; a run's folder is outputs/<name>/<date>_<time>: name=<name> sets one part, "),
        ("layers=2", "; model.hidden lists the units of each layer: model.hidden=[100,100] has two"),
        ("optimizer.beta1=0.9", "; optimizer.betas=[0.9,0.999] sets both"),
        ("nonsense=1", "; python -m experiments.train --help all lists the settings"),
    ],
)
def test_a_key_of_other_programs_without_a_counterpart_is_explained(commands: Commands, typed: str, said: str) -> None:
    refusal = commands.train(typed).refusal()
    assert refusal.startswith(f"Error: unknown key {typed.partition('=')[0]!r}")
    assert said in refusal
    assert "did you mean" not in refusal


def test_the_words_for_keys_of_other_programs_name_settings_and_choices() -> None:
    known = {key for path in (CONF / "train.yaml", *CONF.glob("*/*.yaml")) for key in keys_of(path)}
    for words in (*habits.TYPED.values(), *habits.SWITCHED.values(), *habits.CHOICES.values()):
        for word in words.split():
            key, _, value = word.partition("=")
            choice = CONF / key / f"{value}.yaml"
            assert key in known or choice.is_file() or (value == "{}" and (CONF / key).is_dir()), word
    names = [*habits.TYPED, *habits.SWITCHED, *habits.SAID]
    assert all(spelled(name) == name for name in names)
    assert not set(habits.TYPED) & set(habits.SAID)


def keys_of(path: Path) -> Iterator[str]:
    """The dotted keys of a file of the configuration."""
    section = "" if path.parent == CONF else f"{path.parent.name}."
    yield from (section + key for key in flattened(OmegaConf.to_container(OmegaConf.load(path))))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("-h=1", "'-h'"),
        ("--help=model", "--help model"),
        ("-m=true", "'-m'"),
        ("--multirun=seed=1,2", "--multirun seed=1,2"),
    ],
)
def test_a_flag_without_a_value_refuses_one(commands: Commands, typed: str, meant: str) -> None:
    flag = typed.partition("=")[0]
    assert commands.train(typed).refusal() == (
        f"Error: {typed} gives {flag} a value, but {flag} takes none; did you mean {meant}?\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("typed", ["optimizer=sgd -m seed=1,2", "seed=1,2 optimizer=sgd --multirun"])
def test_flags_may_be_anywhere(commands: Commands, typed: str) -> None:
    outcome = commands.train(*shlex.split(typed), *TINY)
    assert outcome.code == 0, outcome.err
    assert "2 runs: 2 finished" in outcome.out


def test_flags_keep_their_values() -> None:
    assert flags_first(["a=1", "--cfg", "job", "b=2", "-m", "--config-dir", "own", "c=3", "--info", "d=4"]) == [
        *("--cfg", "job", "-m", "--config-dir", "own", "--info"),
        *("a=1", "b=2", "c=3", "d=4"),
    ]
    assert [unknown_flag(word) for word in ("--epochs", "-lr", "--multi", "--config-dir=own", "-m", "a=-1")] == [
        *(True, True),
        *(False,) * 4,
    ]


@pytest.mark.parametrize("launcher", [[], pytest.param(["-m", "hydra/launcher=basic"], marks=pytest.mark.slow)])
def test_printed_paths_are_relative_to_the_working_folder(commands: Commands, launcher: list[str]) -> None:
    outcome = commands.train(*launcher, *TINY, "hydra.job.chdir=true")
    assert outcome.code == 0, outcome.err
    shown = re.findall(r"(?:^run +|--logdir )(\S+)$", outcome.out, re.MULTILINE)
    assert len(shown) == 2
    for path in shown:
        assert not Path(path).is_absolute()
        assert (commands.folder / path / "summary.json").exists()


@pytest.mark.slow
def test_a_number_of_the_environment_is_a_number(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LR", "2e-2")
    monkeypatch.setenv("SEEDS", "7")
    monkeypatch.setenv("OWN_NAME", "mine")
    folder = commands.trained(*TINY, "optimizer.lr=${oc.env:LR}", "seed=${oc.env:SEEDS}", "name=${oc.env:OWN_NAME}")
    assert summary(folder)["seed"] == 7
    assert [row["lr"] for row in metrics(folder)] == ["0.02"]
    assert folder.parent.name == "mine"
    outcome = commands.train("optimizer.lr=${oc.env:NOT_SET}")
    assert (outcome.code, outcome.err) == (
        2,
        "Error: optimizer.lr cannot be resolved: the environment variable 'NOT_SET' is not set\n",
    )


@pytest.mark.slow
def test_meaningless_remedies_are_not_suggested(commands: Commands) -> None:
    wrong = ("shuffle=true", "output=out", "save_path=out", "pretrained=true", "num_workers=4")
    for words in (["xyzzy"], ["--frobnicate"], ["data.fold=many"], *([word] for word in wrong)):
        outcome = commands.train(*words)
        assert outcome.code == 2
        assert "did you mean" not in outcome.err, outcome.err


def test_a_question_can_be_pasted() -> None:
    assert pasted([]) == ""
    assert pasted(["a=b"]) == "; did you mean 'a=b'?"
    for words in (["a='b c'"], ["-m", "a=1,2"], ['a="b;c"'], ["x=it's", "b=$HOME"]):
        assert asked(pasted(words)) == words


def test_names_are_found_in_longer_words() -> None:
    choices = ["constant", "cosine", "cosine_restarts", "multistep", "step", "he", "xavier"]
    assert [name_meant(word, choices) for word in ("MultiStepLR", "zzz", "he_normal", "Cosine")] == [
        *("multistep", None, "he", "cosine"),
    ]


@pytest.mark.slow
def test_a_resumed_run_asks_for_the_folder_of_its_choices(commands: Commands) -> None:
    path = commands.folder / "own" / "data" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("_target_: experiments.data.planes.moons\n")
    own = ("--config-dir", str(commands.folder / "own"))
    folder = commands.trained(*own, "data=mine", *TINY)
    outcome = commands.train(f"resume={folder}", "training.epochs=2")
    assert outcome.code == 2
    assert "unknown data 'mine'" in outcome.err
    assert outcome.err.endswith("; add the --config-dir that the run was started with\n")
    assert commands.train(*own, f"resume={folder}", "training.epochs=2").code == 0


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["scheduler=step", "scheduler.step_size=5"], "scheduler.every is a share of training"),
        (["scheduler=cosine", "scheduler.T_max=10"], "a schedule is as long as the training: training.epochs"),
        (["scheduler=cosine", "scheduler.eta_min=0"], "scheduler.final is the last rate divided by optimizer.lr"),
        (["num_workers=4"], "data.workers=2 reads a Dataset of one's own by two processes"),
        (["=3"], "Error: =3 has no key before '='; settings are typed as key=value\n"),
        (["--config-name=foo"], "Error: --config-name=foo is not a configuration of this package; leave it out\n"),
    ],
)
def test_what_has_no_counterpart_is_explained(commands: Commands, typed: list[str], said: str) -> None:
    assert said in commands.train(*typed).refusal()
