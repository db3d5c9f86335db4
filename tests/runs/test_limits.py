"""What needs more memory than is free, or than `limits.memory` allows, is refused before it is built."""

import json
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from experiments import assembly, compose
from experiments.assembly import _needs
from experiments.common.errors import UserError
from experiments.data import memory
from experiments.evaluation.loading import load
from experiments.folders.run import RunFolder
from experiments.models import sizes
from experiments.models.cnn import CNN
from experiments.models.mlp import MLP
from experiments.tasks import Classification
from experiments.training.single import Single
from tests.helpers import CONF, SMALL, Commands, Outcome, composed, run_folders

GIGABYTE = 10**9


def refused(outcome: Outcome) -> str:
    """Return the sentence of a command that was refused."""
    assert outcome.code == 2, outcome.out + outcome.err
    assert outcome.err.count("\n") == 1, outcome.err
    return outcome.err


# what asks for too much, on the command line

FREE = r"but only [\d.,]+ [kMG]B is free; "
SET = r"; limits\.memory=<size> sets another limit\n"
UNSET = [f"~model.{name}" for name in yaml.safe_load((CONF / "model" / "mlp.yaml").read_text()) if name != "_target_"]
"""The words that leave out the settings of the default model."""
TOO_MUCH: dict[str, tuple[tuple[str, ...], str]] = {
    **{
        name: (
            (f"data={name}", "data.examples=10000000000"),
            rf"data\.examples=10000000000 needs about 1\.5 TB of memory, {FREE}at most [\d,]+ examples would fit{SET}",
        )
        for name in ("moons", "circles", "blobs", "spiral")
    },
    "wide": (
        ("model.hidden=[1000000000000000000]",),
        r"model\.hidden=\[1000000000000000000\] needs about 1,204 EB of memory for weights, gradients and the "
        rf"optimizer's state, {FREE}at most [\d,]+ parameters would fit{SET}",
    ),
    "two that multiply": (
        ("model.hidden=[10000000,10000000]", "optimizer=sgd"),
        rf"model\.hidden=\[10000000, 10000000\] needs about 800 TB .*{FREE}at most [\d,]+ parameters",
    ),
    "channels": (
        ("model=cnn", "model.stages=[[1000000000,1000000000]]"),
        rf"model\.stages=\[\[1000000000, 1000000000\]\] needs about 144 EB .*{FREE}at most [\d,]+ parameters",
    ),
    "channels with few weights": (
        ("model=cnn", "model.stages=[[50000000]]", "model.kernel=1", "model.pool_size=8", "limits.memory=10GB"),
        r"model\.\w+=.* needs about [\d.]+ GB .*, but limits\.memory=10\.0 GB; ",
    ),
    "weights above the limit": (
        ("model.hidden=[1000]", "limits.memory=500kB"),
        r"model\.hidden=\[1000\] needs about 1\.4 MB of memory .*, but limits\.memory=500 kB; at most [\d,]+ param",
    ),
    "layers": (
        (f"model.hidden=[{','.join('1' * 1000)}]", "limits.memory=10MB"),
        r"model\.hidden=\[1(, 1)+.*\.\.\. needs about 50\.\d MB .*, but limits\.memory=10\.0 MB",
    ),
    "a batch": (
        ("training.batch_size=1000", "model.hidden=[500]", "limits.memory=2MB"),
        r"training\.batch_size=1000 needs about 2\.\d MB of memory, but limits\.memory=2\.0 MB; at most \d+ examples",
    ),
    "a batch of evaluation": (
        ("training.eval_batch_size=1000000", "model.hidden=[2000]", "optimizer=sgd", "limits.memory=3.5MB"),
        r"training\.eval_batch_size=1000000 needs about 10\.\d MB of memory, but limits\.memory=3\.5 MB; at most \d+ e",
    ),
    "a function of torch": (
        ("model._target_=torch.nn.Linear", *UNSET, "+model.in_features=1000000000", "+model.out_features=1000000000"),
        r"model\._target_=torch\.nn\.Linear needs at least 16\.0 EB of memory",
    ),
    "more than can be addressed": (
        ("model._target_=torch.nn.Linear", *UNSET, "+model.in_features=1000000000000",
         "+model.out_features=1000000000000"),
        r"model\._target_=torch\.nn\.Linear needs more memory than any machine has",
    ),
    "not a size": (("limits.memory=much",), r"limits\.memory='much' should be a size such as 8GB or 500MB, or null"),
    "not a unit": (("limits.memory='8 XB'",), r"limits\.memory='8 XB' should be a size such as 8GB or 500MB, or null"),
    "nothing": (("limits.memory=0",), r"limits\.memory=0 should be greater than 0"),
}  # fmt: skip

SAME_WAY = [pytest.param("check", name, marks=pytest.mark.exhaustive) for name in list(TOO_MUCH)[2:]]
CASES = [*(("train", name) for name in TOO_MUCH), *(("check", name) for name in list(TOO_MUCH)[:2]), *SAME_WAY]


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "name"), CASES)
def test_too_much_is_refused_with_what_would_fit(commands: Commands, name: str, verb: str) -> None:
    overrides, sentence = TOO_MUCH[name]
    error = refused(commands.type(verb, "observers.tensorboard.enabled=false", *overrides))
    assert re.search(sentence, error), error


@pytest.mark.parametrize("given", ["1GB", "1000000000", "1e9", "0.5GiB", "'900 MB'"])
def test_a_limit_that_is_large_enough_changes_nothing(commands: Commands, given: str) -> None:
    assert commands.train(*SMALL, "training.epochs=0", f"limits.memory={given}").code == 0


@pytest.mark.parametrize("verb", ["evaluate", "export"])
def test_a_verb_that_restores_runs_takes_a_limit(commands: Commands, copied: Path, verb: str) -> None:
    error = refused(commands.type(verb, f"run={copied}", "limits.memory=10kB"))
    assert re.search(
        r"checkpoints/best\.pt needs about [\d.]+ kB of memory, but limits\.memory=10\.0 kB; limits", error
    )
    error = refused(commands.type(verb, f"run={copied}", "limits.memory=much"))
    assert error == "Error: limits.memory='much' should be a size such as 8GB or 500MB, or null\n"
    error = refused(commands.type(verb, f"run={copied}", "limits.memmory=1GB"))
    assert "unknown option 'limits.memmory' of" in error
    assert "did you mean 'limits.memory'?" in error


@pytest.mark.slow
def test_an_evaluation_within_its_limit_is_the_same(commands: Commands, copied: Path) -> None:
    assert commands.type("evaluate", f"run={copied}", "device=cpu", "limits.memory=1GB").code == 0
    within = (copied / "evaluation" / "test" / "evaluation.json").read_text()
    assert commands.type("evaluate", f"run={copied}", "device=cpu").code == 0
    assert (copied / "evaluation" / "test" / "evaluation.json").read_text() == within


def test_a_list_that_takes_minutes_to_read_is_refused(commands: Commands) -> None:
    for words in (["model.hidden=[" + "1," * 20_000 + "1]"], ["-m", "seed=" + "1," * 20_000 + "2"]):
        error = refused(commands.train(*words))
        assert re.match(r"Error: (model\.hidden|seed) has 20,001 values, but a setting on the command line has", error)


def test_a_model_of_thousands_of_layers_is_refused_before_it_is_composed(commands: Commands) -> None:
    (commands.folder / "own" / "model").mkdir(parents=True)
    layers = ",".join(["1"] * 20_000)
    (commands.folder / "own" / "model" / "deep.yaml").write_text(f"_target_: mine.Deep\nhidden: [{layers}]\n")
    assert refused(commands.train("--config-dir", "own", "model=deep")) == (
        "Error: model.hidden in 'own/model/deep.yaml' has 20,000 values, but a network has at most 4,000 layers; "
        "use fewer\n"
    )
    with pytest.raises(UserError, match="has 20,000 values, but a network has at most 4,000 layers"):
        compose("model=deep", config_dir="own")


def test_a_file_of_arrays_counts_with_its_size_in_memory(commands: Commands) -> None:
    labels = np.arange(1000) % 2
    arrays: Any = {
        "x_train": np.zeros((1000, 1000)),
        "y_train": labels,
        "x_test": np.zeros((10, 1000)),
        "y_test": labels[:10],
    }
    np.savez_compressed("zeros.npz", **arrays)  # 1000 times smaller
    assert Path("zeros.npz").stat().st_size < 100_000
    error = refused(commands.train(*SMALL, "data=npz", "data.path=zeros.npz", "limits.memory=5MB"))
    assert "data.path='zeros.npz' needs about 8.1 MB of memory, but limits.memory=5.0 MB" in error


def test_a_table_counts_with_the_size_of_its_file(commands: Commands) -> None:
    Path("t.csv").write_text("a,b,target\n" + "1.5,2.5,x\n2.5,3.5,y\n" * 500)
    error = refused(commands.train(*SMALL, "data=csv", "data.path=t.csv", "data.target=target", "limits.memory=5kB"))
    assert "data.path='t.csv' needs about 10.0 kB of memory, but limits.memory=5.0 kB" in error


# estimates


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("hidden", [[], [3], [7, 5]])
def test_the_sizes_of_our_models_are_those_of_the_built_ones(hidden: list[int], batch_norm: bool) -> None:
    def numbers(model: nn.Module) -> int:
        return sum(tensor.numel() for tensor in model.state_dict().values())

    shape = (2, 9, 9)
    own = sizes.mlp(shape, 4, hidden=hidden, batch_norm=batch_norm)["hidden"]
    assert own.numbers == numbers(MLP(shape, 4, hidden=hidden, batch_norm=batch_norm))
    assert (own.layers, own.outputs) == (len(hidden) + 1, sum(hidden) + 4)
    for stages in ([], [[2]], [[2, 3], [4]]):
        for pool in ("max", "none"):
            settings: dict[str, Any] = {"stages": stages, "pool": pool, "hidden": hidden, "batch_norm": batch_norm}
            built = CNN(shape, 4, kernel=5, **settings)
            measured = _needs.whole(sizes.cnn(shape, 4, kernel=5, **settings))
            assert measured.numbers == numbers(built)
            task = Classification()
            task.fit("abcd", torch.arange(4))
            layers = assembly.layers(built, torch.zeros(1, *shape), task)
            assert measured.outputs == sum(_needs.values(layer) for layer in layers if layer.multiply_adds)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_a_model_of_torchvision_is_counted_without_its_numbers_and_without_random_ones(name: str) -> None:
    section = {"_target_": "experiments.models.vision.torchvision_model", "name": name}
    before = torch.get_rng_state()
    size = _needs.counted(section, (3, 32, 32), 10, 4, None)
    assert torch.equal(torch.get_rng_state(), before)
    built = assembly.network({"model": section}, (3, 32, 32), 10)
    assert size is not None
    assert size.numbers == sum(parameter.numel() for parameter in built.parameters())
    with memory.limited(GIGABYTE // 1000), pytest.raises(memory.MemoryLimitError, match=f"model.name={name} needs at"):
        _needs.counted(section, (3, 32, 32), 10, 4, None)


class Counted(nn.Module):
    """A model of a user that counts how often it is built."""

    built = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).built += 1
        self.layer = nn.Linear(64, 10)


def test_a_model_of_a_user_is_not_built_to_be_counted() -> None:
    assert _needs.counted({"_target_": f"{__name__}.Counted"}, (64,), 10, 4, None) is None
    assert Counted.built == 0


def test_a_list_of_layers_is_not_built_to_be_counted() -> None:
    config = {**composed(), "limits": {"memory": None}}
    config["model"] = {**config["model"], "hidden": [1] * 200_000}
    with memory.limited(GIGABYTE), pytest.raises(UserError, match=r"needs about 10\.0 GB of memory"):
        _needs.check_model(config, assembly.training(config), (64,), 10, 0, None)


@pytest.mark.parametrize(
    ("overrides", "copies"),
    [
        (("optimizer=sgd",), 2),
        (("optimizer=momentum",), 3),
        (("optimizer=adam",), 4),
        (("optimizer=adam", "training.ema=0.9"), 5),
        (("optimizer=lbfgs",), 22),
        (("optimizer=adam", "freeze=[head]"), 1),
    ],
)
def test_the_copies_of_the_weights_are_counted(overrides: tuple[str, ...], copies: int) -> None:
    config = composed(*overrides)
    assert _needs.copies(config, assembly.training(config)) == copies


def test_sizes_are_read_and_shown() -> None:
    assert [memory.read(text) for text in ("8GB", "500 MB", "1.5GiB", "3b", "2tb")] == [
        8 * GIGABYTE, 500_000_000, 3 * 2**29, 3, 2000 * GIGABYTE,
    ]  # fmt: skip
    sizes = (1, 999, 1500, 99_600_000_000, 10**18, 10**40)
    shown = ["1 byte", "999 bytes", "1.5 kB", "100 GB", "1.0 EB", "more than 1,000,000 EB"]
    assert [memory.shown(size) for size in sizes] == shown
    assert [memory.rounded_down(number) for number in (7, 123, 987_654)] == [7, 120, 980_000]


@contextmanager
def address_space(more: int) -> Iterator[None]:
    """Let this process have only a few more bytes."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the size of a process is read on Linux")
def test_the_limit_of_the_process_counts_and_its_errors_are_known() -> None:
    with address_space(GIGABYTE):
        free = memory.free_memory()
        assert free is not None
        assert free <= GIGABYTE
        for allocate in (
            lambda: torch.empty(2 * GIGABYTE, dtype=torch.uint8),
            lambda: np.empty(2 * GIGABYTE, np.uint8),
        ):
            with pytest.raises((RuntimeError, MemoryError)) as caught:
                allocate()
            assert memory.exceeds_memory(caught.value)
            assert "more were asked for" in memory.asked_for(caught.value)


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    for name, content in (
        ("memory.max", "5000\n"),
        ("memory.current", "3000\n"),
        ("memory.stat", "inactive_file 500\n"),
    ):
        (tmp_path / name).write_text(content)
    assert memory.of_the_container() == 2500
    assert memory.free_memory() == 2500
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.of_the_container() is None


# folders of strangers


def little(patch: pytest.MonkeyPatch, free: int) -> None:
    """Leave little memory free."""
    patch.setattr(memory, "free_memory", lambda: free)


def with_setting(run: Path, key: str, value: Any) -> None:
    """Change a setting in both files that a configuration is read from."""
    section, name = key.split(".")
    path = run / ".hydra" / "config.yaml"
    content = yaml.safe_load(path.read_text())
    content.setdefault(section, {})[name] = value
    path.write_text(yaml.safe_dump(content))
    path = run / ".hydra" / "overrides.yaml"
    path.write_text(yaml.safe_dump([*yaml.safe_load(path.read_text()), f"{key}={json.dumps(value)}"]))


READERS = ("load", "evaluate", "export", "resume")


def read(commands: Commands, reader: str, run: Path) -> Outcome:
    """Restore a run in one of the four ways."""
    if reader == "resume":
        return commands.train(f"resume={run}")
    if reader != "load":
        return commands.type(reader, str(run))
    try:
        load(run)
    except UserError as error:
        return Outcome(2, "", f"Error: {error}\n")
    return Outcome(0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("hidden", "restored"),
    [
        ([10**18], "another architecture|Storage size calculation overflowed"),
        ([1] * 300, r"another architecture: 301 layers instead of \d+ weights"),
    ],
)
def test_a_model_of_a_stranger_is_not_built_larger_than_its_weights(
    commands: Commands, copied: Path, monkeypatch: pytest.MonkeyPatch, reader: str, hidden: list[int], restored: str
) -> None:
    with_setting(copied, "model.hidden", hidden)
    with_setting(copied, "limits.memory", 10**30)
    little(monkeypatch, GIGABYTE // 100)
    error = refused(read(commands, reader, copied))
    assert re.search(r"model\.hidden=\[1.* needs about .*10.0 MB is free" if reader == "resume" else restored, error)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_a_checkpoint_that_is_larger_than_the_free_memory_is_not_read(
    commands: Commands, copied: Path, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    for name in ("last.pt", "best.pt"):
        with (copied / "checkpoints" / name).open("r+b") as file:
            file.truncate(50 * GIGABYTE)  # with a hole, which takes no space
    little(monkeypatch, 20 * GIGABYTE)
    assert re.search(
        r"\.pt.* needs about 50\.0 GB of memory, but only 20\.0 GB is free", refused(read(commands, reader, copied))
    )


@pytest.mark.parametrize("error", [MemoryError("no memory"), OSError(24, "Too many open files")])
def test_a_checkpoint_that_cannot_be_read_for_lack_of_memory_is_not_taken_for_a_broken_one(
    copied: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_arguments: Any, **_settings: Any) -> None:
        raise error

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(type(error)):
        RunFolder(copied).load(copied / "checkpoints" / "last.pt")


def test_examples_of_a_strangers_size_are_refused(
    commands: Commands, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = json.loads((copied / "data.json").read_text())
    (copied / "data.json").write_text(json.dumps({**about, "shape": [1, 2**12, 2**12]}))
    little(monkeypatch, GIGABYTE // 10)
    error = refused(commands.type("evaluate", str(copied)))
    assert "data.json is damaged (an example needs about 201 MB of memory, but only 100 MB is free; " in error


def test_a_batch_of_a_strangers_size_is_refused(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_setting(copied, "training.eval_batch_size", 10**9)
    run = load(copied)
    little(monkeypatch, 20_000)
    x = np.zeros((1000, *run.description.shape), np.float32)
    with pytest.raises(
        UserError, match=r"eval_batch_size=1000000000 needs about 512 kB .* at most 39 examples would fit"
    ):
        run.scores(x)
    assert len(run.scores(x[:39])) == 39


def declaring(path: Path, shape: tuple[int, ...]) -> Path:
    """Write an array's head without its values."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return path


def test_a_file_to_predict_for_that_declares_more_than_it_has_is_refused(commands: Commands, copied: Path) -> None:
    declaring(commands.folder / "own.npy", (2**40,))
    error = refused(commands.type("evaluate", str(copied), "input=own.npy"))
    assert "'own.npy' cannot be read as an .npy file: it declares 8,796,093,022,208 bytes, but has 128" in error


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_a_file_to_predict_for_that_is_too_large_is_refused(
    commands: Commands, copied: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    x = np.zeros((10_000, 64))
    path = commands.folder / f"own.{kind}"
    if kind == "npz":
        np.savez_compressed(path, x=x)
    else:
        np.save(path, x)
    real = memory.require

    def require(needed: int, *arguments: Any, **settings: Any) -> None:
        real(needed, *arguments, **{**settings, "free": 1_000_000})

    monkeypatch.setattr(memory, "require", require)
    error = refused(commands.type("evaluate", str(copied), f"input=own.{kind}"))
    assert f"'own.{kind}' needs about 5.1 MB of memory, but only 1.0 MB is free" in error


def test_a_long_and_narrow_picture_is_not_scaled_up(tmp_path: Path) -> None:
    from PIL import Image

    from experiments.data import packed

    Image.new("L", (60_000, 1)).save(tmp_path / "line.png")
    with pytest.raises(packed.UnreadableError, match="its size of 60000 x 1 pixels becomes 13440000 x 224"):
        packed.single_picture(str(tmp_path / "line.png"), 224, 3, packed.Conversion())


# commands that run out of memory


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["check", "evaluate", "export"])
def test_a_command_that_runs_out_of_memory_ends_in_one_sentence(
    commands: Commands, copied: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def fail(*_arguments: Any, **_settings: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 80 bytes")

    monkeypatch.setattr(Single, "evaluate", fail)
    monkeypatch.setattr("experiments.evaluation.loading.scores_of", fail)
    monkeypatch.setattr("experiments.checks.running.check_parts", fail)
    error = refused(commands.type(verb, *(SMALL if verb == "check" else (str(copied),))))
    assert "the command needs more memory than is free (80 bytes more were asked for); use a smaller model" in error


@pytest.mark.slow
def test_a_saved_limit_is_not_used_by_a_resume(commands: Commands, copied: Path) -> None:
    with_setting(copied, "limits.memory", 1)
    assert commands.train(f"resume={copied}").code == 0
    assert "limits.memory=1.0 kB" in refused(
        commands.train(f"resume={copied}", "training.epochs=3", "limits.memory=1kB")
    )
    assert len(run_folders(commands.folder)) == 0
