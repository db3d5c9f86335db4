"""Beginning with trained weights, freezing layers, choosing classes: what is copied, what stays, and when it thaws."""

import itertools
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments import assembly
from experiments.assembly._datasets import of_classes
from experiments.cli.overrides import spelled_out
from experiments.common.errors import UserError
from experiments.data.batches import Split
from experiments.data.sources import Source
from experiments.training.freezing import frozen_norms, to_training_mode
from experiments.training.streams import Streams
from tests.helpers import (
    SMALL,
    Commands,
    assert_equal_weights,
    composed,
    run,
    run_folders,
    summary,
    trained_in,
    weights,
)
from tests.interrupted import assert_same_end, at_step
from tests.stacks import DOUBLE, apart, assert_same_run, together

SOURCE = (*SMALL, "model.batch_norm=true", "model.hidden=[12,8]", "data.keep_classes=[0,1,2]", "name=source")
TARGET = (*SMALL, "model.batch_norm=true", "model.hidden=[12,8]", "data.limit=50")
NEW = ("data.keep_classes=[3,4,5,6,7]", "init_from.replace=[head]")


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run of three classes, in a folder whose name Hydra's grammar would misread."""
    folder = tmp_path_factory.mktemp("source")
    return trained_in(folder, *SOURCE).rename(folder / "0_init=he,seed=1 (a)")


# what is copied


@pytest.mark.slow
def test_a_run_starts_from_the_sources_best_weights_except_the_replaced_layers(
    commands: Commands, source: Path
) -> None:
    begun = commands.trained(*TARGET, *NEW, f"init_from={source}", "training.epochs=0")
    scratch = commands.trained(*TARGET, *NEW[:1], "training.epochs=0")
    best, found, own = weights(source, "best"), weights(begun), weights(scratch)
    assert found.keys() == best.keys()
    for name, value in found.items():
        assert torch.equal(value, own[name] if name.startswith("head.") else best[name]), name
    assert not torch.equal(best["features.hidden1.batch_norm.running_mean"], torch.zeros(12))
    noted = summary(begun)["init_from"]
    assert noted["file"] == str((source / "checkpoints" / "best.pt").resolve())
    assert noted["replaced"] == ["head.weight", "head.bias"]
    assert len(noted["sha256"]) == 64
    assert "init_from" not in summary(scratch)
    said = " ".join((begun / "train.log").read_text().split())
    assert f"weights {source / 'checkpoints' / 'best.pt'}, except head.weight, head.bias (set by init)" in said


@pytest.mark.slow
def test_the_averaged_weights_are_used(commands: Commands) -> None:
    averaged = commands.trained(*SMALL, "training.ema=0.9")
    state = torch.load(averaged / "checkpoints" / "best.pt", weights_only=True)["program"]
    begun = commands.trained(*SMALL, f"init_from={averaged}", "training.epochs=0")
    assert_equal_weights(weights(begun), state["model"])
    assert not torch.equal(state["trained"]["head.weight"], state["model"]["head.weight"])


def of_data_parallel(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{name}": value for name, value in state.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"lr": 1}},
        of_data_parallel,
        lambda state: {name: value for name, value in state.items() if "num_batches" not in name},
    ],
    ids=["plain", "state_dict", "model", "data_parallel", "old"],
)
def test_files_of_weights_as_they_are_met(commands: Commands, source: Path, wrap: Any) -> None:
    state = weights(source, "best")
    torch.save(wrap(state), "w=1,2.pt")
    begun = commands.trained(*TARGET, "init_from=w=1,2.pt", "data.keep_classes=[0,1,2]", "training.epochs=0")
    counted = {name for name in state if "num_batches" in name}
    for name, value in weights(begun).items():
        assert torch.equal(value, state[name]) or name in counted, name


@pytest.mark.slow
def test_a_replaced_layer_is_scaled_to_the_weights_before_it(commands: Commands, source: Path) -> None:
    """LSUV of the head, measured on what the copied layers give."""
    config = composed(*TARGET, NEW[0], "init=lsuv", "data.limit=256")
    config["init_from"] = {"path": str(source), "replace": ["head"]}
    streams, place = Streams(0), torch.device("cpu")
    data = assembly.data(config, streams, place)
    model, _, origin = assembly.model(config, data, streams, place)
    assert origin is not None
    variance = model.eval()(data.splits["train"].first(256)[0]).var(correction=0).item()
    assert variance == pytest.approx(1, abs=0.051)
    del commands


# what stays


def frozen_names(state: dict[str, Tensor], layer: str) -> set[str]:
    return {name for name in state if name.startswith(layer)}


@pytest.mark.slow
def test_a_frozen_layer_keeps_its_bits_and_its_running_averages(commands: Commands, source: Path) -> None:
    common = (*TARGET, *NEW, f"init_from={source}", "optimizer=adamw", "optimizer.weight_decay=0.5", "penalty=max_norm")
    before = weights(commands.trained(*common, "training.epochs=0"))
    listed = weights(commands.trained(*common, "penalty.limit=0.01", "freeze=[features.hidden1]"))
    scaled = weights(commands.trained(*common, "penalty.limit=0.01", "optimizer.lr_scale={features.hidden1:0}"))
    assert_equal_weights(listed, scaled)
    for name, value in listed.items():
        assert torch.equal(value, before[name]) == name.startswith("features.hidden1."), name


@pytest.mark.slow
def test_an_average_keeps_the_running_averages_of_frozen_layers(commands: Commands, source: Path) -> None:
    common = (*TARGET, *NEW, f"init_from={source}", "freeze=[features.hidden1]", "training.swa=1")
    swa = weights(commands.trained(*common))
    for name in frozen_names(swa, "features.hidden1.batch_norm"):
        assert torch.equal(swa[name], weights(source, "best")[name]), name
    assert not torch.equal(
        swa["features.hidden2.batch_norm.running_mean"],
        weights(source, "best")["features.hidden2.batch_norm.running_mean"],
    )


def test_which_norms_are_frozen() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False)), nn.BatchNorm1d(2))
    assert not frozen_norms(model)
    model[0].requires_grad_(False)
    assert list(frozen_norms(model)) == ["0.1"]
    model[1].weight.requires_grad_(False)
    assert list(frozen_norms(model)) == ["0.1"]
    model[1].requires_grad_(False)
    assert list(frozen_norms(model)) == ["0.1", "1"]
    to_training_mode(model.eval())
    assert [module.training for module in model.modules()] == [True, True, True, False, False]


# thawing


GRADUAL = ("freeze={features:3,features.hidden2:1}", "training.epochs=4", "optimizer.weight_decay=0.1")


@pytest.mark.slow
def test_layers_thaw_at_the_end_of_their_epochs(commands: Commands, source: Path) -> None:
    common = (*TARGET, *NEW, f"init_from={source}", GRADUAL[0])
    states = [weights(commands.trained(*common, f"training.epochs={epochs}")) for epochs in range(5)]
    changed = [
        {layer: not torch.equal(now[name], before[name]) for layer, name in LAYERS.items()}
        for before, now in itertools.pairwise(states)
    ]
    assert changed == [
        {"hidden1": False, "hidden2": False, "head": True},
        {"hidden1": False, "hidden2": True, "head": True},
        {"hidden1": False, "hidden2": True, "head": True},
        {"hidden1": True, "hidden2": True, "head": True},
    ]
    mean = "features.hidden1.batch_norm.running_mean"
    assert [torch.equal(state[mean], states[0][mean]) for state in states] == [True, True, True, True, False]


LAYERS = {
    "hidden1": "features.hidden1.linear.weight",
    "hidden2": "features.hidden2.linear.weight",
    "head": "head.weight",
}


@pytest.mark.slow
def test_frozen_layers_have_no_updates_to_measure(commands: Commands, source: Path) -> None:
    folder = commands.trained(*TARGET, *NEW, f"init_from={source}", *GRADUAL, "observers.layers.every_steps=1")
    rows = [line.split(",") for line in (folder / "layers.csv").read_text().splitlines()[1:]]
    first: dict[str, int] = {}
    for epoch, _step, layer, quantity, _value in rows:
        if quantity == "update_ratio":
            first[layer] = min(first.get(layer, 99), int(epoch))
    assert {layer: first[name] for layer, name in LAYERS.items()} == {"hidden1": 4, "hidden2": 2, "head": 1}


@pytest.mark.slow
def test_frozen_for_all_epochs_is_frozen_and_for_none_is_not(commands: Commands) -> None:
    plain, none = (weights(commands.trained(*SMALL, *more)) for more in ((), ("freeze={features:0}",)))
    assert_equal_weights(plain, none)
    always, listed = (
        weights(commands.trained(*SMALL, f"freeze={freeze}")) for freeze in ("{features:9}", "[features]")
    )
    assert_equal_weights(always, listed)


@pytest.mark.slow
def test_watching_a_thaw_changes_nothing(commands: Commands) -> None:
    small = ("data.limit=96", "model.hidden=[12,8]", "model.batch_norm=true", "model.dropout=0.2", *GRADUAL)
    every = ("observers.layers.every_steps=1", "observers.pictures.every=1")
    none = [f"observers.{name}.enabled=false" for name in composed()["observers"]]
    assert_equal_weights(
        weights(commands.trained(*small, *every)),
        weights(commands.trained(*small, *none)),
    )


@pytest.mark.slow
def test_a_run_killed_before_a_thaw_resumes_to_the_same_bits_without_its_source(
    commands: Commands, source: Path
) -> None:
    shutil.copytree(source, "gone")
    choices = (*TARGET, *NEW, *GRADUAL, "init_from=gone", "training.batch_size=20")
    whole = commands.trained(*choices)
    stopped = run(commands.folder, *choices, prelude=at_step(8, "SIGTERM"))
    assert stopped.code == 128 + signal.SIGTERM, stopped.err
    (folder,) = set(run_folders(commands.folder)) - {whole, Path("gone").resolve()}
    assert summary(folder)["steps"] == 8, "it should stop within the third epoch"
    shutil.rmtree("gone")
    resumed = commands.train(f"resume={folder}")
    assert resumed.code == 0, resumed.err
    assert_same_end(whole, folder)
    assert summary(folder)["init_from"] == summary(whole)["init_from"]
    evaluated = commands.type("evaluate", str(folder))
    assert evaluated.code == 0, evaluated.err


# many at once


@pytest.mark.slow
def test_runs_of_trained_weights_and_frozen_layers_share_a_stack(tmp_path: Path, source: Path) -> None:
    common = [
        *DOUBLE,
        "model.batch_norm=true",
        "model.hidden=[12,8]",
        *NEW,
        "freeze=[features.hidden1]",
        "data.limit=50",
    ]
    runs = [
        [*common, f"init_from.path='{source}'", "optimizer=adamw", "optimizer.weight_decay=0.2"],
        [*common, f"init_from.path='{source}'", "seed=1", "penalty=l2", "optimizer=sgd"],
        [*common, "seed=2"],
    ]
    stacked, said = together(tmp_path / "stack", runs)
    assert not said
    for one, other in zip(apart(tmp_path / "alone", runs), stacked, strict=True):
        assert_same_run(one, other)
        assert torch.equal(
            weights(other)["features.hidden1.batch_norm.running_var"],
            weights(one)["features.hidden1.batch_norm.running_var"],
        )


@pytest.mark.slow
def test_a_sweep_over_starting_points(commands: Commands, source: Path) -> None:
    done = commands.train(
        "-m", *TARGET, *NEW, f"init_from=null,{source}", "freeze=null,{features:1}", "training.epochs=1"
    )
    assert done.code == 0, done.err
    folders = run_folders(commands.folder)
    begun = [(summary(f).get("init_from") is not None, summary(f).get("trained_together")) for f in folders]
    assert sorted(begun, key=str) == [(False, 2), (False, None), (True, 2), (True, None)]
    assert "a temporary freeze is not supported in stacks" in done.out


# the command line


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("init_from=a", "init_from.path='a'"),
        ("init_from=a,b", "init_from.path='a','b'"),
        ("init_from=null,a", "init_from.path=null,'a'"),
        ("init_from=0_init=he,seed=1,a", "init_from.path='0_init=he,seed=1','a'"),
        ("init_from=0_init=he,seed=1", "init_from.path='0_init=he,seed=1'"),
        ("init_from=nowhere=1", "init_from.path='nowhere=1'"),
        ("init_from='a','b'", "init_from.path='a','b'"),
        ("init_from=choice(a,b)", "init_from.path=choice(a,b)"),
        ("init_from=ResNet18_Weights.DEFAULT", "init_from.path=ResNet18_Weights.DEFAULT"),
        ("init_from.path=a", "init_from.path=a"),
        ("init=he", "init=he"),
    ],
)
def test_starting_points_as_they_are_typed(
    typed: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "0_init=he,seed=1"):
        Path(name).mkdir()
    assert spelled_out(["-m", typed]) == ["-m", meant]


@pytest.mark.slow
def test_check_starts_from_trained_weights_too(commands: Commands, source: Path) -> None:
    said = commands.type("check", *TARGET, "data.keep_classes=[0,1,2]", f"init_from={source}", "only=initial_loss")
    fresh = commands.type("check", *TARGET, "data.keep_classes=[0,1,2]", "only=initial_loss")
    assert said.out != fresh.out


class Evil:
    """Would leave a file if it were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


@pytest.mark.slow
def test_unusable_folders_are_refused_in_one_sentence(commands: Commands, source: Path) -> None:
    torch.save({"w": torch.zeros(1), "e": Evil()}, "evil.pt")
    torch.save([1], "list.pt")
    Path("junk.pt").write_bytes(b"junk")
    Path("empty").mkdir()
    Path("bare", ".hydra").mkdir(parents=True)
    Path("sweep").mkdir()
    Path("sweep", "sweep.yaml").touch()
    classes = "data.keep_classes=[0,1,2]"
    table = (
        ("init_from=nowhere", "'nowhere' does not exist; give a run folder"),
        ("init_from=empty", "'empty' is not a run folder"),
        ("init_from=bare", "'bare' is a run without a checkpoint"),
        ("init_from=sweep", "'sweep' is a sweep folder"),
        ("init_from=evil.pt", "'evil.pt' is not a file of weights: it names "),
        ("init_from=list.pt", "'list.pt' has no weights by name"),
        ("init_from=junk.pt", "'junk.pt' is not a file of weights: it is not a readable zip file"),
        ("init_from=ResNet18_Weights.IMAGENET1K_V9", "did you mean 'ResNet18_Weights.IMAGENET1K_V1'?"),
        (
            f"init_from={source}",
            "head.weight is 3 x 8 instead of 10 x 8, head.bias is 3 instead of 10; init_from.replace=[head]",
        ),
        (f"init_from={source} {classes} model.hidden=[12]", "features.hidden2.linear.weight, "),
        (f"init_from={source} {classes} init_from.replace=[hed]", "init_from.replace='hed' matches no layer"),
        (f"init_from={source} {classes} init_from.replace=head", "init_from.replace='head' should be a valid array"),
        ("freeze=[hed]", "freeze='hed' matches no parameter; choose from features, head; did you mean 'head'?"),
        ("freeze=[features,head]", "leaves nothing to train in the first epoch"),
        ("freeze={features:2,head:2}", "leaves nothing to train in the first epoch"),
        ("freeze={features:2} optimizer.lr_scale={head:0}", "leave nothing to train in the first epoch"),
        ("freeze={head:-1}", "freeze=-1 should be greater than or equal to 0"),
        ("freeze=head", "freeze='head' should be a valid array"),
        ("data.keep_classes=[0,12]", "data.keep_classes='12' is not a class; choose from 0, 1, "),
        ("data.keep_classes=[1,1]", "data.keep_classes names '1' twice"),
        ("data.keep_classes=[]", "data.keep_classes=[] should have at least 1 item"),
    )
    common = tuple(word for word in TARGET if not word.startswith("data.limit"))
    for words, said in table:
        head, _, rest = words.partition(" data.") if str(source) in words else (words, "", "")
        typed = [head, *f"data.{rest}".split()] if rest else ([words] if str(source) in words else words.split())
        outcome = commands.train(*common, *typed)
        assert outcome.code == 2, words
        assert said in outcome.err, (words, outcome.err)
        assert outcome.err.count("\n") == 1, outcome.err
    assert not Path("ran").exists()


# classes


def split_of(config: dict[str, Any], seed: int) -> assembly.Data:
    return assembly.data(config, Streams(seed), torch.device("cpu"))


@pytest.mark.parametrize("seed", range(4))
def test_ten_examples_of_each_class(seed: int) -> None:
    data = split_of(composed("data.keep_classes=[5,6,7,8,9]", "data.limit=50"), seed)
    assert data.classes == ["5", "6", "7", "8", "9"]
    assert torch.bincount(data.splits["train"].y).tolist() == [10] * 5
    assert {name: set(split.y.tolist()) for name, split in data.splits.items()} == {
        name: set(range(5)) for name in ("train", "val", "test")
    }


def test_classes_are_numbered_as_they_are_named() -> None:
    """Each picture has the class that it has in the whole data set."""
    whole, some = split_of(composed(), 0), split_of(composed("data.keep_classes=[7,2]"), 3)

    def known(split: Split) -> dict[bytes, int]:
        rows = split.x if split.rows is None else split.x[split.rows]
        return {x.numpy().tobytes(): int(y) for x, y in zip(rows, split.y, strict=True)}

    labels = {**known(whole.splits["train"]), **known(whole.splits["val"])}
    for x, y in {**known(some.splits["train"]), **known(some.splits["val"])}.items():
        assert labels[x] == (7, 2)[y]
    wanted = {x: y for x, y in known(whole.splits["test"]).items() if y in (7, 2)}
    assert {x: (7, 2)[y] for x, y in known(some.splits["test"]).items()} == wanted


def test_classes_with_names_may_be_given_by_their_numbers() -> None:
    x, y = torch.zeros(6, 1), torch.tensor([0, 1, 2, 0, 1, 2])
    named = of_classes(Source(x, y, x, y, ["cat", "dog", "cow"]), [2, "cat"])
    assert named.classes == ["cow", "cat"]
    assert named.y_train.tolist() == [1, -1, 0, 1, -1, 0]
    with pytest.raises(UserError, match=r"data.keep_classes='0' is not a class; choose from 1, 2, 3"):
        of_classes(Source(x, y, x, y, ["1", "2", "3"]), [0])


def test_runs_that_share_their_data_see_the_same_classes() -> None:
    config, sources = composed("data.keep_classes=[7,2]", "data.limit=30"), assembly.Sources()
    alone = split_of(config, 1)
    shared = assembly.data(config, Streams(1), torch.device("cpu"), sources)
    for name, split in alone.splits.items():
        index = torch.arange(len(split))
        for one, other in zip(split.batch(index), shared.splits[name].batch(index), strict=True):
            assert torch.equal(one, other), name


def test_runs_with_the_same_training_split_share_what_is_fitted_to_it() -> None:
    """Another seed, another limit and another preparation have their own; so has a run that shares nothing."""
    sources, device = assembly.Sources(), torch.device("cpu")

    def prepared(seed: int, *overrides: str, shared: assembly.Sources | None = sources) -> Any:
        return (
            assembly.data(composed(f"seed={seed}", *overrides), Streams(seed), device, shared).splits["train"].prepare
        )

    first = prepared(1)
    assert prepared(1, "model.hidden=[3]") is first
    others = [prepared(2), prepared(1, "data.limit=90"), prepared(1, "data.preprocess=scale"), prepared(1, shared=None)]
    assert len({id(prepare) for prepare in [first, *others]}) == 5
    own = "data.preprocess={_target_: experiments.data.preprocess.standardize}"
    assert prepared(1, own) is not prepared(1, own)
    assert torch.equal(first.scale, others[-1].scale)
    assert not torch.equal(first.scale, others[0].scale)


@pytest.mark.slow
def test_a_penalty_on_only_frozen_weights_is_none(commands: Commands) -> None:
    folder = commands.trained(*SMALL, "freeze=['*.weight']", "penalty=l2")
    assert summary(folder)["status"] == "finished"
