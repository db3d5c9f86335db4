"""Code of the user next to a run or a stack: it works, or one sentence says what is wrong, and costs one run only."""

import csv
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torchvision.transforms import v2

from experiments import assembly, compose
from experiments.assembly import trust
from experiments.data.transforms import TRANSFORMS
from experiments.folders.reading import history
from experiments.training.streams import Streams
from tests.helpers import (
    SMALL,
    Commands,
    assert_equal_weights,
    composed,
    metrics,
    run_folders,
    sampled,
    summary,
    weights,
)

from .outcomes import assert_refused
from .own_code import Tracking

HERE = "tests.wild.own_code"
QUICK = (*SMALL, "observers.layers.enabled=false")
THREE = (*QUICK, "seed=0,1,2")


@pytest.fixture(autouse=True)
def fresh_service() -> Iterator[None]:
    """The service of the trackers begins without a run."""
    Tracking.active, Tracking.log[:] = None, []
    yield
    Tracking.active, Tracking.log[:] = None, []


# ------------------------------------------------------------------------------------------------- observers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tracker", "said"),
    [
        (
            "Tracker",
            r"training 3 runs one after another to find which one fails: the observer .*Tracker raised Runtime",
        ),
        (
            "EarlyTracker",
            r"training 3 runs one after another: observers.t: EarlyTracker raised RuntimeError: run a run",
        ),
        ("LonelyTracker", r"00_seed=0 on its own: observers.t watches one run at a time"),
    ],
)
def test_a_tracker_with_one_active_run_watches_all_runs_of_a_stack(commands: Commands, tracker: str, said: str) -> None:
    outcome = commands.train("-m", *THREE, f"+observers.t._target_={HERE}.{tracker}")
    assert outcome.code == 0, outcome.out
    assert re.search(said, outcome.out), outcome.out
    assert [summary(folder)["status"] for folder in run_folders(commands.folder)] == ["finished"] * 3
    assert Tracking.active is None
    assert [line.partition(" ")[0] for line in Tracking.log][-6:] == ["begin", "end"] * 3


@pytest.mark.slow
def test_numbers_that_an_observer_adds_are_columns(commands: Commands) -> None:
    own = f"+observers.t._target_={HERE}.Adding"
    plain = commands.trained(*QUICK, "training.epochs=3", "name=plain")
    folder = commands.trained(*QUICK, own, "training.epochs=3")
    rows = metrics(folder)
    assert [(row["mine/epochs"], row["mine/tensor"], row["late"]) for row in rows] == [
        ("10.0", "0.5", ""),
        ("20.0", "0.5", "1.0"),
        ("30.0", "0.5", "1.0"),
    ]
    assert [{k: row[k] for k in metrics(plain)[0]} for row in rows] == metrics(plain)
    log = (folder / "train.log").read_text()
    assert log.count("adds 'note' to a row, which is not a number; it is left out.") == 1
    assert "was damaged" not in log

    half = commands.trained(*QUICK, own, "training.epochs=1")
    assert commands.train(f"resume={half}", "training.epochs=3", "trust=[tests]").code == 0
    assert metrics(half) == rows
    assert "damaged" not in (half / "train.log").read_text()
    assert "late" in history(folder)


@pytest.mark.slow
def test_rows_of_a_stack_have_the_columns_too(commands: Commands) -> None:
    assert commands.train("-m", *THREE, f"+observers.t._target_={HERE}.Adding").code == 0
    for folder in run_folders(commands.folder):
        with (folder / "metrics.csv").open() as file:
            assert [row["mine/epochs"] for row in csv.DictReader(file)] == ["10.0", "20.0"]


HOOKS = ("before_update", "after_update", "epoch_end", "before_checkpoint", "close")


@pytest.mark.slow
@pytest.mark.parametrize("hook", sampled(HOOKS, ("after_update", "epoch_end")))
def test_an_observer_that_fails_costs_its_run_only(commands: Commands, hook: str) -> None:
    own = f"+observers.t={{_target_: {HERE}.Late, hook: {hook}}}"
    outcome = commands.train("-m", *THREE, own)
    assert outcome.code == 1
    said = rf"the observer {HERE}.Late raised KeyError: 'wrong name' \(\w+ in own_code.py, line \d+\) in {hook}"
    assert re.search(rf"^01_seed=1  failed: {said}$", outcome.out, re.MULTILINE), outcome.out
    assert "names code" not in outcome.out
    first, failed, last = run_folders(commands.folder)
    assert [summary(folder)["status"] for folder in (first, failed, last)] == ["finished", "failed", "finished"]
    assert re.fullmatch(said, summary(failed)["error"])
    log = (failed / "train.log").read_text()
    assert "Traceback (most recent call last)" in log
    assert "names code" not in log


@pytest.mark.slow
def test_the_other_runs_are_those_of_a_stack_without_the_failure(commands: Commands) -> None:
    own = f"+observers.t={{_target_: {HERE}.Late, hook: epoch_end, number: %d}}"
    assert commands.train("-m", *THREE, own % 9, "name=sound").code == 0
    assert commands.train("-m", *THREE, own % 1, "name=failing").code == 1
    sound, failing = (sorted(Path("outputs", name).glob("*/*_seed=*")) for name in ("sound", "failing"))
    for number in (0, 2):
        assert_equal_weights(weights(sound[number]), weights(failing[number]))


@pytest.mark.slow
def test_a_single_run_ends_with_the_sentence(commands: Commands) -> None:
    outcome = commands.train(*QUICK, f"+observers.t={{_target_: {HERE}.Late, hook: epoch_end, number: 0}}")
    assert outcome.code == 2
    assert re.fullmatch(
        rf"Error: the observer {HERE}.Late raised KeyError: 'wrong name' \(fail in own_code.py, line \d+\) in epoch_end\n",  # noqa: E501
        outcome.err,
    )


@pytest.mark.parametrize("name", ["Writing", "WritingLate"])
def test_the_file_of_an_observer_is_not_a_file_of_the_run(commands: Commands, name: str) -> None:
    hook = "epoch_end" if name == "Writing" else "scored"
    outcome = commands.train(*QUICK, "training.epochs=1", f"+observers.t._target_={HERE}.{name}")
    assert outcome.code == 2
    assert re.fullmatch(
        rf"Error: the observer {HERE}.{name} raised FileNotFoundError: .*: '/nonexistent/notes.txt' "
        rf"\({hook} in own_code.py, line \d+\)\n",
        outcome.err,
    )


@pytest.mark.slow
def test_a_class_that_is_not_an_observer_is_refused(commands: Commands) -> None:
    outcome = commands.train(*QUICK, f"+observers.t._target_={HERE}.Watcher")
    assert (outcome.code, outcome.err) == (
        2,
        "Error: observers.t._target_: Watcher builds a Watcher, expected an experiments.observers.base.Observer; "
        "derive the class from it\n",
    )


@pytest.mark.slow
def test_own_code_is_trusted_by_the_command_that_names_it(commands: Commands) -> None:
    """A sweep whose runs are restarted or resumed asks for no trust; a folder that is resumed does."""
    own = (f"scheduler={{_target_: {HERE}.broken}}", *THREE)
    outcome = commands.train("-m", *own)
    assert outcome.code == 1
    assert "names code" not in outcome.out
    said = r"failed: code from outside this package raised KeyError: 'late' \(\w+ in own_code.py, line \d+\)"
    assert len(re.findall(said, outcome.out)) == 3, outcome.out
    (sweep,) = {folder.parent for folder in run_folders(commands.folder)}
    again = commands.train("-m", *own, f"resume={sweep}", "retry_failed=true")
    assert len(re.findall(said, again.out)) == 3, again.out
    alone = commands.train(*QUICK, own[0])
    assert alone.code == 2
    assert re.fullmatch(
        r"Error: code from outside this package raised KeyError: 'late' \(\w+ in own_code.py, line \d+\); "
        r"train.log has the traceback\n",
        alone.err,
    )
    refused = commands.train(f"resume={run_folders(commands.folder)[0]}")
    assert "names code from outside this package" in refused.err


@pytest.mark.slow
def test_own_code_that_is_typed_again_needs_no_trust(commands: Commands) -> None:
    path = commands.folder / "own" / "scheduler" / "growing.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"_target_: {HERE}.growing\n")
    typed = ("--config-dir", "own", "scheduler=growing", "optimizer.lr=1e-9")
    folder = commands.trained(*typed, *QUICK)
    more = (f"resume={folder}", "training.epochs=3")
    for words in (("--config-dir", "own"), ("--config-dir", "own", "optimizer.lr=1e-9")):
        assert "scheduler._target_='tests.wild.own_code.growing'" in commands.train(*words, *more).refusal()
    assert commands.train(*typed, *more).code == 0
    assert summary(folder)["epochs"] == 3
    named = commands.train(*typed[:2], f"scheduler._target_={HERE}.growing", f"resume={folder}", "training.epochs=4")
    assert named.code == 0, named.err


@pytest.mark.slow
@pytest.mark.parametrize("other", ["os.system", f"{HERE}.broken", f"{HERE}.torch.load"])
def test_only_the_code_that_is_typed_again_is_trusted(commands: Commands, other: str) -> None:
    own = f"scheduler._target_={HERE}.growing"
    folder = commands.trained(own, "optimizer.lr=1e-9", *QUICK)
    for name, added in (("overrides", f"optimizer._target_={other}"), ("config", {"_target_": other})):
        path = folder / ".hydra" / f"{name}.yaml"
        content = yaml.safe_load(path.read_text())
        if isinstance(added, str):
            content.append(added)
        else:
            content["optimizer"] |= added
        path.write_text(yaml.safe_dump(content))
    error = commands.train(f"resume={folder}", own, "training.epochs=3").refusal()
    assert f"optimizer._target_={other!r} in resume=" in error
    assert "names code from outside this package" in error


# ----------------------------------------------------------------------------------------------------- data


def loaded(*words: str, **settings: Any) -> assembly.Data:
    """Load data as a run does."""
    config = composed(*words)
    return assembly.data({**config, "data": {**config["data"], **settings}}, Streams(0), torch.device("cpu"))


def source(kind: str, **settings: Any) -> assembly.Data:
    """Load one of the sources."""
    config = composed()
    common = assembly.splitting(config["data"])
    section = {**common, "_target_": f"{HERE}.source", "kind": kind, **settings}
    return assembly.data({**config, "data": section}, Streams(0), torch.device("cpu"))


SOURCES = {
    "dataset": r"data: x_train is a TensorDataset; expected a tensor: such as torch.stack\(\[x for x, _ in dataset\]\)",
    "array": r"data: x_train is a ndarray; expected a tensor: torch.as_tensor\(x_train\)",
    "labels of a dataset": r"data: y_train is a TensorDataset; expected a tensor: such as torch.stack\(\[y for _, y in",
    "float labels": r"data: targets has 3 names, but y has 1 columns",
    "one-hot labels": r"data: y_test has 1 columns, but y_train has 3",
    "labels from 1": r"data: y_train has class numbers from 1 to 3, but there are 3 classes; expected numbers from 0",
    "negative labels": r"data: y_train has class numbers from -1 to 1, but there are 3 classes",
    "number of classes": r"data: classes is 3; expected a list of the names of the classes",
    "flat inputs": r"data: x_train has the shape \(24,\) and type float32; expected numbers of shape",
    "half a validation": r"data: a validation part needs both x_val and y_val",
    "other shape": r"data: the training and validation examples have different shapes: \(4,\) and \(2,\)",
    "error": rf"data: {HERE}.source raised NameError: name 'undefined' is not defined \(\w+ in own_code.py, line \d+\)",
    "nothing": rf"data._target_='{HERE}.source' returned a NoneType, expected a Source",
}


@pytest.mark.parametrize(("kind", "sentence"), SOURCES.items(), ids=SOURCES)
def test_a_source_that_is_wrong_ends_in_one_sentence(kind: str, sentence: str) -> None:
    assert_refused(partial(source, kind), sentence)


@pytest.mark.parametrize("kind", ["right", "small integers"])
def test_a_source_that_is_right_is_loaded(kind: str) -> None:
    data = source(kind)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 19, "val": 5, "test": 24}
    assert all(split.y.dtype == torch.int64 for split in data.splits.values())


def test_a_source_may_bring_its_validation_part() -> None:
    data = source("validation")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 24, "val": 6, "test": 24}
    assert data.notes == ["the 6 validation examples are the data set's own; data.val_fraction=0.2 is not used"]
    assert data.splits["val"].y.tolist() == [0, 1, 2, 0, 1, 2]
    kept = source("validation", keep_classes=["c", "a"])
    assert kept.splits["val"].y.tolist() == [1, 0, 1, 0]
    assert len(kept.splits["val"].first(9)[0]) == 4
    folded = partial(source, "validation", folds=2, fold=0)
    assert_refused(folded, r"data.folds=2 divides the training examples, but the data set has its own validation part")


# ------------------------------------------------------------------------------------------------ augmentations

ROTATION = "data.augment={_target_: torchvision.transforms.v2.RandomRotation, degrees: 15}"


@pytest.mark.slow
def test_a_transform_of_torchvision_augments(commands: Commands) -> None:
    one, two = (commands.trained(*QUICK, ROTATION, f"name={name}") for name in ("one", "two"))
    plain = commands.trained(*QUICK, "name=plain")
    assert_equal_weights(weights(one), weights(two))
    assert metrics(one) != metrics(plain)
    half = commands.trained(*QUICK, ROTATION, "training.epochs=1", "name=half")
    assert commands.train(f"resume={half}", "training.epochs=2").code == 0  # no trust is needed
    assert_equal_weights(weights(half), weights(one))


def test_each_example_is_transformed_with_its_own_draw() -> None:
    data = loaded(augment={"_target_": "torchvision.transforms.v2.RandomHorizontalFlip"})
    x, y = data.splits["train"].first(64)
    before = torch.get_rng_state()
    flipped, targets = data.augments[0](x, y, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(flipped, x, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(flipped, x, strict=True)]
    assert all(a or b for a, b in zip(mirrored, same, strict=True))
    assert 16 < sum(mirrored) < 48
    assert targets is y


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            {"_target_": "torchvision.transforms.v2.ColorJitter"},
            "choose from ElasticTransform, GaussianBlur, RandomAff",
        ),
        ({"_target_": "torchvision.transforms.v2.RandomResizedCrop", "size": 5}, "to .1, 5, 5.; the size has to stay"),
        ({"_target_": "torchvision.transforms.v2.RandomRotation"}, "data.augment.degrees is missing"),
        ({"_target_": "torchvision.transforms.v2.RandomRotation", "degrees": "x"}, "data.augment"),
        ({"_target_": f"{HERE}.OnlyInputs"}, "returns something else than inputs and targets"),
        ({"_target_": f"{HERE}.Misspelled"}, r"raised AttributeError: .* \(\w+ in own_code.py, line \d+\)"),
        ({"_target_": f"{HERE}.Shifted", "by": "far"}, "data.augment"),
    ],
)
def test_an_augmentation_that_is_wrong_ends_in_one_sentence(entry: dict[str, Any], said: str) -> None:
    assert_refused(partial(loaded, augment=entry), said)


def test_a_type_without_json_form_accepts_its_values() -> None:
    (augment,) = loaded(augment={"_target_": f"{HERE}.Shifted", "by": 2}).augments
    x = torch.zeros(2, 1, 8, 8)
    assert torch.equal(augment(x, torch.zeros(2), torch.Generator())[0], x + 2)


def test_the_transforms_that_are_allowed_exist_and_need_no_trust() -> None:
    assert all(hasattr(v2, name) for name in TRANSFORMS)
    paths = {f"torchvision.transforms.{module}{name}" for module in ("", "v2.") for name in TRANSFORMS}
    assert paths == trust.AUGMENTING


# ------------------------------------------------------------------------------------------ models, schedules


@pytest.mark.slow
def test_a_model_with_a_mistake_ends_in_one_sentence(commands: Commands) -> None:
    Path("model").mkdir()
    Path("model", "own.yaml").write_text(f"_target_: {HERE}.Scaled\nfails: true\n")
    outcome = commands.train(
        *[w for w in QUICK if "hidden" not in w], "--config-dir", str(commands.folder), "model=own"
    )
    assert outcome.code == 2
    assert re.fullmatch(
        r"Error: model cannot take an example of shape \(1, 8, 8\): "
        r"it raised AttributeError: .* \(\w+ in own_code.py, line \d+\)\n",
        outcome.err,
    )


MISTAKES = {
    "model.Detached": r"model: tests.wild.own_code.Detached returns scores without a gradient, so nothing can be train",
    "model.Refusing": r"model cannot take an example of shape \(1, 8, 8\): it raised ValueError: no such input "
    r"\(forward in own_code.py, line \d+\)$",
    "model.Opening": r"code from outside this package raised FileNotFoundError: .*: '/nonexistent/table.json' "
    r"\(forward in own_code.py, line \d+\)$",
    "loss.detached_loss": r"loss: .*detached_loss returns numbers without a gradient, so nothing can be",
    "loss.failing_loss": r"loss: .*failing_loss cannot be called with scores and classes: it raised ValueError: "
    r"no such class .* \(failing_loss in own_code.py, line \d+\)$",
    "init.copied": r"init: .*copied cannot fill a weight of this model: it returns another tensor; expected it to fill",
    "init.unfinished": r"code from outside this package raised NameError: .* \(\w+ in own_code.py, line \d+\); train",
    "loss.plain_loss": r"loss._target_=.* has no parameter reduction; expected a function of scores, targets and",
    "loss.mean_loss": r"loss: .*mean_loss does not return one number per example for reduction='none'",
    "penalty.Each": r"penalty._target_=.* returns a tensor of shape \(2,\) from term, expected a scalar tensor",
    "penalty.Nothing": r"penalty._target_=.* raised NotImplementedError in term",
    "penalty.Steps": r"penalty.params is missing, and Steps has no default for it",
    "optimizer.Steps": r"optimizer._target_=.* built a Steps, expected a torch.optim.Optimizer",
    "optimizer.Rateless": r"optimizer: Rateless has no learning rate lr, which the schedule needs",
    "optimizer.Failing": r"code from outside this package raised KeyError: 'rate' \(\w+ in own_code.py, line \d+\)",
    "model.net": r"model._target_=.* built a str, expected an nn.Module",
    "scheduler.worded": r"scheduler._target_=.* raised ValueError: could not convert string to float",
    "data.preprocess.fit": r"data.preprocess returned a Tensor, expected a function of inputs",
}


@pytest.mark.parametrize(
    "mistake",
    sampled(MISTAKES, ("init.copied", "model.Detached", "model.Opening", "loss.failing_loss", "data.preprocess.fit")),
)
def test_a_mistake_in_own_code_is_one_sentence(commands: Commands, mistake: str) -> None:
    section, _, name = mistake.rpartition(".")
    if section == "data.preprocess":
        words = [*QUICK, f"data.preprocess={{_target_: {HERE}.{name}}}"]
    else:
        Path(section).mkdir()
        Path(section, "mine.yaml").write_text(f"_target_: {HERE}.{name}\n")
        words = ["--config-dir", ".", *(w for w in QUICK if not w.startswith(f"{section}.")), f"{section}=mine"]
    outcome = commands.train(*words)
    assert outcome.code == 2, outcome.err
    assert re.match(rf"Error: {MISTAKES[mistake]}", outcome.err, re.MULTILINE), outcome.err
    assert outcome.err.count("\n") == 1


INLINE = {
    "model": "model={_target_: tests.wild.own_code.Scaled}",
    "init": "init={_target_: tests.wild.own_code.small, size: 0.1}",
    "loss": "loss={_target_: tests.wild.own_code.sharp_loss, sharpness: 2}",
    "optimizer": "optimizer={_target_: tests.wild.own_code.Twisted, twist: 2}",
    "scheduler": "scheduler={_target_: tests.wild.own_code.flat, height: 0.5}",
}


@pytest.mark.parametrize(("group", "word"), INLINE.items(), ids=INLINE)
def test_a_function_or_class_with_its_settings_takes_the_place_of_a_choice(group: str, word: str) -> None:
    section = dict(compose(word).plain()[group])
    typed = yaml.safe_load(word.partition("=")[2])
    assert {key: section[key] for key in typed} == typed
    common = {"init": {"bias"}, "optimizer": {"decay_exempt", "lr_scale"}, "scheduler": {"warmup", "horizon"}}
    assert section.keys() - typed.keys() == common.get(group, set())


def test_it_trains_in_one_command(commands: Commands) -> None:
    words = [word for word in QUICK if "hidden" not in word]
    outcome = commands.train(*words, *INLINE.values(), "training.steps=2")
    assert outcome.code == 0, outcome.err
    assert "training Twisted lr 0.1, scheduler flat, init small, batch 32, seed 0" in outcome.out
    refused = commands.train(*words, "model={_target_: tests.wild.own_code.Scaled, fales: true}")
    assert "unknown setting 'model.fales' of Scaled; choose from fails" in refused.err
