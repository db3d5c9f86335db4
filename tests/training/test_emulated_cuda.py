"""Whole commands on an emulated CUDA device: placement, waits, and launches per step."""

import json
import os
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from experiments import assembly
from experiments.assembly.run import Parts, assembled
from experiments.common.screen import Screen
from experiments.data import host
from experiments.folders.run import RunFolder
from experiments.models.draws import Draws
from experiments.optimizers import Muon, begin_momentum, count_on_device, count_on_host, step_unless
from experiments.training import engine
from experiments.training.device import TF32_HINT, choose, kernels, tolerance
from experiments.training.scaling import Scaler
from experiments.training.single import Single
from experiments.training.stack import Stack
from experiments.training.streams import global_state
from tests.emulated_cuda import CudaTensor, Current, Record, Wait, emulated
from tests.helpers import NO_PICTURES, SMALL, Commands, composed, metrics, run_folders, sampled, summary
from tests.search.searches import SEARCH

DEVICE = "training.device=cuda"
UNWATCHED = tuple(
    f"observers.{name}.enabled=false"
    for name in ("pictures", "regions", "layers", "histograms", "tensorboard", "progress", "metrics")
)
OBSERVERS = ("src/experiments/observers/", "src/experiments/models/measures.py", "src/experiments/figures/")
"""What observers run."""


@pytest.fixture
def cuda() -> Iterator[Record]:
    """An emulated device."""
    with emulated() as record:
        yield record


@pytest.fixture
def inside(cuda: Record, monkeypatch: pytest.MonkeyPatch) -> Counter[Wait]:
    """The waits inside all steps, with the number of steps under `Wait("step", "")`."""
    waits: Counter[Wait] = Counter()

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any) -> Any:
            with cuda.counted() as own:
                result = real(*args)
            waits.update(own.waits)
            waits[Wait("step", "")] += 1
            return result

        return step

    for program in (Single, Stack):
        monkeypatch.setattr(program, "step", watched(program.step))
    return waits


def of_observers(wait: Wait) -> bool:
    """Whether an observer causes a wait."""
    return wait.line.startswith(OBSERVERS)


TOKENS = (
    *(SMALL[0], NO_PICTURES, "data=text", "data.length=16", "data.characters=4000"),
    *("model=transformer", "model.width=8", "model.heads=2", "model.layers=1"),
)
"""A small text, and a model of it; the layers of torch that are recurrent need a real driver."""
TRAININGS: dict[str, tuple[str, ...]] = {
    "single": (*SMALL, "model.dropout=0.2", "training.clip_norm=1.0"),
    "cnn": (*SMALL[:2], NO_PICTURES, "model=cnn", "model.batch_norm=true", "data.augment=crop_flip"),
    "accumulated": (*SMALL, "training.accumulate=2", "training.ema=0.9", "penalty=l2", "model.batch_norm=true"),
    "closure": (*SMALL, "optimizer=lbfgs", "model.dropout=0.2"),
    "muon": (*SMALL, "optimizer=muon", "data.balance=class_weights", "penalty=max_norm"),
    "mixed": (*SMALL, "data.augment=[cutout,mixup]", "model=cnn"),
    "numbers": (*SMALL, "data=diabetes", "model.hidden=[8]"),
    "inputs": (*SMALL, "task=reconstruction", "model=autoencoder", "model.variational=true"),
    "tokens": TOKENS,
    "carried state": (*TOKENS[:5], "data.stateful=true", "model={_target_: tests.training.test_carried.Own}"),
    "stack of tokens": ("-m", *TOKENS, "seed=0,1"),
    "stack": ("-m", *SMALL, "optimizer=adam,sgd,momentum,adagrad", "model.dropout=0.2"),
    "stack of averages": ("-m", *SMALL, "optimizer=muon,asgd,rprop", "training.ema=0.9"),
    "stack of pictures": ("-m", *SMALL[:2], NO_PICTURES, "model=cnn", "data.augment=[crop_flip,mixup]", "seed=0,1"),
    "stack of numbers": ("-m", *SMALL, "data=diabetes", "seed=0,1"),
    "search": (*SEARCH, *SMALL, "optimizer.lr=interval(0.001,0.1)", "hydra.sweeper.n_trials=2"),
}
"""Command lines of `train`."""
MAY_WAIT = {"closure"}
"""Trainings whose step waits: L-BFGS decides by the loss."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    sampled(TRAININGS, ("single", "cnn", "muon", "numbers", "tokens", "carried state", "stack", "search")),
)
def test_no_step_waits_for_the_device(commands: Commands, inside: Counter[Wait], name: str) -> None:
    outcome = commands.train(*TRAININGS[name], DEVICE)
    assert outcome.code == 0, outcome.err
    assert inside.pop(Wait("step", "")) > 0
    assert all(summary(run)["device"].startswith("cuda:0") for run in run_folders(commands.folder))
    assert (not inside) or name in MAY_WAIT, inside
    if name.startswith("stack"):
        assert "one after another" not in outcome.out
        assert all(summary(run)["trained_together"] > 1 for run in run_folders(commands.folder))


@pytest.mark.slow
def test_verbs_of_a_run_keep_to_their_devices(commands: Commands, cuda: Record) -> None:
    run = commands.trained(*SMALL, DEVICE, "training.epochs=1", "training.keep_checkpoints=every:1")
    for words in (
        ("train", f"resume={run}", "training.epochs=2"),
        ("evaluate", f"run={run}", "device=cuda"),
        ("evaluate", f"run={run}", "device=cuda", "ensemble=mean"),
        ("export", f"run={run}", "format=torch"),
        ("check", "data.limit=96", "model.hidden=[12]", DEVICE),
        ("surface", "surface.steps=2"),
        ("remedy", f"run={run}", "seeds=2", "most=1"),
        ("reproduce", "initial_loss", DEVICE, "seed=0", "jobs=1"),
    ):
        outcome = commands.type(*words)
        assert outcome.code == 0, outcome.err
    assert cuda.launches


@pytest.mark.slow
def test_verbs_of_a_text_keep_to_their_devices(commands: Commands, cuda: Record) -> None:
    run = commands.trained(*TOKENS, DEVICE)
    for words in (
        ("evaluate", f"run={run}", "device=cuda"),
        ("check", *TOKENS, "only=[signal,leak,reference]", DEVICE),
    ):
        outcome = commands.type(*words)
        assert outcome.code == 0, outcome.err
    assert cuda.launches


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [("model.batch_norm=true", "model.dropout=0.2"), ("data=diabetes", "model.hidden=[8]"), ("-m", "seed=0,1")],
    ids=" ".join,
)
def test_an_epoch_waits_twice_and_for_its_checkpoint(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Once for the sums of its updates and once for its evaluation; each checkpoint is copied with one more wait."""
    found, kept = {}, {}
    real = engine.state_to_host
    for epochs in (1, 4):
        checkpoints: list[int] = []

        def copied(state: Any, checkpoints: list[int] = checkpoints) -> Any:
            with Current.record.counted() as own:
                result = real(state)
            checkpoints.append(own.waits.total())
            return result

        monkeypatch.setattr(engine, "state_to_host", copied)
        with emulated() as record:
            outcome = commands.train(*words, *SMALL, *UNWATCHED, DEVICE, f"training.epochs={epochs}")
        assert outcome.code == 0, outcome.err
        assert not record.synchronized
        found[epochs], kept[epochs] = record.waits.total(), checkpoints
    members = len(run_folders(commands.folder)) // 2
    assert set(kept[1] + kept[4]) == {1}
    assert len(kept[4]) - len(kept[1]) == 3 * members
    assert found[4] - sum(kept[4]) - (found[1] - sum(kept[1])) == 3 * 2


PICTURES = ("model=cnn", "model.batch_norm=true")
PERCEPTRON = ("model.hidden=[50,50]",)
RULES = ("optimizer=sgd", "optimizer=momentum", "optimizer=adagrad", "optimizer=adam")
LAUNCHES: dict[str, tuple[int, Callable[[], Callable[[], Any]]]] = {
    "by hand": (24, lambda: by_hand()),
    "single": (31, lambda: single_step(*PERCEPTRON)),
    "single with Dropout": (35, lambda: single_step(*PERCEPTRON, "model.dropout=0.2")),
    "single CNN with BatchNorm": (46, lambda: single_step(*PICTURES)),
    "stack of 4": (74, lambda: stack_step(4, *PERCEPTRON)),
    "stack of 8": (74, lambda: stack_step(8, *PERCEPTRON)),
    "stack of four rules": (93, lambda: stack_step(4, *PERCEPTRON, each=RULES)),
    "stack of 4 with Dropout": (78, lambda: stack_step(4, *PERCEPTRON, "model.dropout=0.2")),
    "stack of 4 in fp16": (136, lambda: stack_step(4, *PERCEPTRON, "training.precision=fp16")),
    "stack of four rules in fp16": (183, lambda: stack_step(4, *PERCEPTRON, "training.precision=fp16", each=RULES)),
    "stack of 8 with Dropout": (78, lambda: stack_step(8, *PERCEPTRON, "model.dropout=0.2")),
}
"""The most launches of a step on digits, batch 32, which may only fall; `docs/benchmarks.md` has them too.

A step with Dropout is one whose masks were drawn with those of an earlier one, as most are.
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", LAUNCHES)
def test_the_launches_of_a_step(cuda: Record, name: str) -> None:
    most, build = LAUNCHES[name]
    step = build()
    step()  # the first update creates the optimizer's state
    with cuda.counted() as own:
        step()
    assert not own.waits
    assert own.launches.total() == most, own.launches


def by_hand() -> Callable[[], Any]:
    """A step as a loop by hand has it."""
    device = torch.device("cuda:0")
    x, y = torch.randn(96, 64, device=device), torch.arange(96, device=device) % 10
    model = perceptron().to(device)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    index = torch.arange(32, device=device)

    def step() -> None:
        loss = F.cross_entropy(model(x.index_select(0, index)), y.index_select(0, index))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def perceptron() -> nn.Module:
    """The default model, with two hidden layers of 50."""
    return nn.Sequential(nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, 10))


def parts(seed: int, words: Sequence[str], sources: assembly.Sources) -> Parts:
    """The objects of a run on the emulated device."""
    config = composed("data.limit=96", "training.device=cuda", f"seed={seed}", *words)
    general, settings = assembly.general(config), assembly.training(config)
    folder = Path(tempfile.mkdtemp())
    screen = Screen(folder / "log", quiet=True)
    try:
        return assembled(config, general, settings, torch.device("cuda:0"), RunFolder(folder), screen, sources)
    finally:
        screen.close()
        shutil.rmtree(folder)


def single_step(*words: str) -> Callable[[], Any]:
    """A step of one run."""
    program = parts(0, words, assembly.Sources()).program
    index = torch.arange(32).to(program.device)[None]
    return lambda: program.step(index, [1e-3])


def stack_step(size: int, *words: str, each: Sequence[str] = ("optimizer=adam",)) -> Callable[[], Any]:
    """A step of a stack of runs, of which as many as possible have each of some choices."""
    sources = assembly.Sources()
    programs = [parts(seed, [*words, each[seed * len(each) // size]], sources).program for seed in range(size)]
    device = programs[0].device
    stack = Stack(programs, [global_state(device)] * size)
    index = torch.arange(32).to(device).expand(size, -1)
    return lambda: stack.step(index, [1e-3] * size)


@pytest.mark.usefixtures("cuda")
def test_tensors_of_mixed_devices_are_refused() -> None:
    here, there = torch.ones(2), torch.ones(2, device="cuda:0")
    for mixed in (lambda: here + there, lambda: there.add_(here), lambda: torch.stack([here, there])):
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device, but found at least two"):
            mixed()
    assert (there + torch.tensor(1.0)).tolist() == [2, 2]  # a single number may be on the CPU


@pytest.mark.usefixtures("cuda")
def test_a_generator_of_the_wrong_device_is_refused() -> None:
    for generator, device in ((torch.Generator(), "cuda:0"), (torch.Generator("cuda"), "cpu")):
        with pytest.raises(RuntimeError, match="device type for generator but found"):
            torch.randn(2, generator=generator, device=device)
    assert torch.Generator("cuda").get_state().numel() == 16
    with pytest.raises(RuntimeError, match="RNG state is wrong size"):
        torch.Generator("cuda").set_state(torch.Generator().get_state())


def test_every_wait_is_recorded_with_its_line(cuda: Record) -> None:
    numbers = torch.arange(4.0, device="cuda:0")
    waiting: dict[str, Callable[[], object]] = {
        "_local_scalar_dense": numbers[0].item,
        "tolist": numbers.tolist,
        "copy to the host": numbers.cpu,
        "boolean mask": lambda: numbers[numbers > 1],
        "list as index": lambda: numbers[[0, 1]],
        "copy to the device": lambda: torch.ones(2).to("cuda:0"),
        "copy to the device from memory that is not pinned": lambda: torch.ones(2).to("cuda:0", non_blocking=True),
    }
    for kind, wait in waiting.items():
        with cuda.counted() as own:
            wait()
        assert any(found == kind and line.startswith(__name__.replace(".", "/")) for found, line in own.waits), own
    with cuda.counted() as own:
        torch.ones(2).pin_memory().to("cuda:0", non_blocking=True)
        numbers.view(2, 2).t()
    assert not own.waits
    assert own.launches == {"copy to the device": 1}


MOVED = (*SMALL, "model.dropout=0.2", "model.batch_norm=true", "training.ema=0.9", "data.preprocess=zca")


@pytest.mark.parametrize(
    ("first", "second"), [("cpu", "cuda"), pytest.param("cuda", "cpu", marks=pytest.mark.slow)], ids="to".join
)
def test_a_run_can_be_resumed_on_another_device(commands: Commands, first: str, second: str) -> None:
    with emulated():
        run = commands.trained(*MOVED, f"training.device={first}", "training.epochs=1")
        outcome = commands.train(f"resume={run}", f"training.device={second}", "training.epochs=2")
        assert outcome.code == 0, outcome.err
        places = {"cpu": ("the CPU", "cpu"), "cuda": ("a CUDA device", "cuda:0")}
        assert (
            f"The run was trained on {places[first][0]} before and continues on {places[second][1]}: "
            "the last digits of its numbers differ from here on"
        ) in " ".join(outcome.out.split())
        assert summary(run)["device"].startswith(places[second][1])
        again = commands.train(f"resume={run}", f"training.device={second}", "training.epochs=3")
        assert again.code == 0, again.err
        assert "The run was trained on" not in again.out
    assert [row["epoch"] for row in metrics(run)] == ["1", "2", "3"]


@pytest.mark.slow
def test_runs_of_a_stack_can_be_resumed_on_another_device(commands: Commands) -> None:
    words = ("-m", *SMALL, "optimizer=adam,momentum", "model.dropout=0.2", "training.keep_checkpoints=every:1")
    with emulated():
        assert commands.train(*words, "hydra.sweep.dir=outputs/s", "training.device=cpu").code == 0
        for run in run_folders(commands.folder):  # as if they had been interrupted after an epoch
            (run / "checkpoints" / "epoch_001.pt").replace(run / "checkpoints" / "last.pt")
            (run / "summary.json").write_text(json.dumps({**summary(run), "status": "interrupted"}))
        outcome = commands.train(*words, "resume=outputs/s", "training.device=cuda")
        assert outcome.code == 0, outcome.err
    for run in run_folders(commands.folder):
        assert summary(run)["device"].startswith("cuda:0")
        assert summary(run)["trained_together"] == 2
        assert "The run was trained on the CPU before" in (run / "train.log").read_text()


@pytest.mark.slow
def test_without_random_draws_the_device_changes_only_the_last_digits(commands: Commands) -> None:
    with emulated():
        moved = commands.trained(*SMALL, "training.device=cpu", "training.epochs=1")
        assert commands.train(f"resume={moved}", "training.device=cuda", "training.epochs=2").code == 0
    stayed = commands.trained(*SMALL, "training.device=cpu", "training.epochs=2")
    for one, other in zip(metrics(moved), metrics(stayed), strict=True):
        assert [float(v) for v in one.values()] == pytest.approx([float(v) for v in other.values()], rel=1e-5)


def test_masks_are_the_same_on_both_devices() -> None:
    with emulated():
        x = torch.ones(10, 7)
        masks = [Draws(3).factors("hidden1.dropout", 0.3, inputs).cpu() for inputs in (x, x.to("cuda:0"))]
    assert torch.equal(*masks)


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", False), ("tf32", True)])
def test_fp32_means_fp32_and_tf32_is_a_choice(
    commands: Commands, inside: Counter[Wait], monkeypatch: pytest.MonkeyPatch, precision: str, tf32: bool
) -> None:
    seen, real = set(), Single.step
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    def step(self: Single, *args: Any) -> Any:
        seen.add((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
        return real(self, *args)

    monkeypatch.setattr(Single, "step", step)
    commands.trained(*SMALL, *UNWATCHED, DEVICE, f"training.precision={precision}", "training.epochs=1")
    assert inside[Wait("step", "")]
    assert seen == {(tf32, tf32)}
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_stacks_may_differ_by_more_if_the_device_rounds_to_tf32() -> None:
    here, there = torch.device("cpu"), torch.device("cuda:0")
    with emulated():
        with kernels(deterministic=False, precision="tf32"):
            assert (tolerance(1e-4, here), tolerance(1e-4, there)) == (1e-4, 1e-2)
        with kernels(deterministic=False):
            assert tolerance(1e-4, there) == 1e-4


def test_the_hint_about_tf32_is_no_warning_of_a_run() -> None:
    """Its words are those of torch's compiler, which warns about it in torch 2.11."""
    source = Path(torch.__file__).parent / "_inductor" / "compile_fx.py"
    assert TF32_HINT in source.read_text()
    with emulated(), kernels(deterministic=False):
        warnings.warn(f"{TF32_HINT}. Consider setting ...", UserWarning, stacklevel=1)
    with pytest.raises(UserWarning, match=TF32_HINT):
        warnings.warn(f"{TF32_HINT}. Consider setting ...", UserWarning, stacklevel=1)


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:1", "cpu"])
def test_a_cuda_device_gets_the_workspace_of_deterministic_products(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """When it is chosen: torch reads the variable once, at the first product."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with emulated(devices=2):
        chosen = choose(name)
    assert str(chosen) == {"auto": "cuda:0", "cuda": "cuda:0"}.get(name, name)
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if name != "cpu" else None)


def muon(parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """Muon for matrices, and AdamW for the rest."""
    return Muon(parameters, [p for p in parameters if p.ndim == 2], lr=0.1)


SCALED: dict[str, Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer]] = {
    "Adam": partial(torch.optim.Adam, lr=0.1, fused=True),
    "SGD": partial(torch.optim.SGD, lr=0.1, momentum=0.9, fused=True),
    "Muon": muon,
    "Rprop": partial(torch.optim.Rprop, lr=0.1),
    "RMSprop": partial(torch.optim.RMSprop, lr=0.1, momentum=0.5),
    "Adadelta": partial(torch.optim.Adadelta, lr=0.1),
    "Adamax": partial(torch.optim.Adamax, lr=0.1),
    "ASGD": partial(torch.optim.ASGD, lr=0.1, lambd=0.01, t0=2.0),
    "NAdam": partial(torch.optim.NAdam, lr=0.1),
    "RAdam": partial(torch.optim.RAdam, lr=0.1),
}
ROUNDED = {"Adamax", "ASGD", "NAdam", "RAdam"}
"""Optimizers that count on the device, where `1 - beta^t` is in fp32."""


def scaled_updates(device: str, name: str, overflowing: Sequence[int]) -> list[list[float]]:
    """The weights after five updates with gradients of which some overflow."""
    draw = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(size, generator=draw).to(device)) for size in ((3, 4), (3,))]
    optimizer, scaler = SCALED[name](parameters), Scaler(torch.device(device).type, init_scale=4.0)
    if name == "SGD":
        begin_momentum(optimizer)
    for update in range(5):
        for parameter in parameters:
            gradient = torch.randn(parameter.shape, generator=draw)
            gradient = gradient / (0.0 if update in overflowing else 1.0)
            parameter.grad = scaler.scale(gradient.to(device))
        with counting(device) as own:
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
        assert not own.waits
    return [parameter.detach().cpu().flatten().tolist() for parameter in parameters]


def counting(device: str) -> AbstractContextManager[Record]:
    """Record the work of the emulated device inside the block; on the CPU nothing."""
    return nullcontext(Record()) if device == "cpu" else Current.record.counted()


@pytest.mark.parametrize("overflowing", [(), (0,), (0, 1, 3)], ids=str)
@pytest.mark.parametrize("name", SCALED)
def test_updates_in_half_precision_are_skipped_without_a_wait(name: str, overflowing: tuple[int, ...]) -> None:
    expected = scaled_updates("cpu", name, overflowing)
    with emulated():
        found = scaled_updates("cuda:0", name, overflowing)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-4 if name in ROUNDED else 1e-6, abs=1e-7)


@pytest.mark.parametrize("name", sorted(ROUNDED))
def test_an_optimizer_that_counts_on_the_device_moves_to_the_cpu_and_back(name: str) -> None:
    def stepped(optimizer: torch.optim.Optimizer, device: str, state: Any) -> dict[str, Any]:
        if state is not None:
            optimizer.load_state_dict(state)
            count_on_host(optimizer)
        (parameter,) = optimizer.param_groups[0]["params"]
        parameter.grad = torch.ones(3).to(device)
        if device != "cpu":
            count_on_device(optimizer)
            with Current.record.counted() as own:
                step_unless(optimizer, torch.zeros((), device=device) > 0)
            assert not own.waits
        else:
            optimizer.step()
        return optimizer.state_dict()

    found = {}
    for devices in (("cpu",) * 3, ("cuda:0", "cpu", "cuda:0")):
        with emulated():
            weights, state = torch.zeros(3), None
            for device in devices:
                parameter = nn.Parameter(weights.to(device))
                state = stepped(SCALED[name]([parameter]), device, state)
                weights = parameter.detach().cpu()
        found[devices] = weights.tolist()
    one, other = found.values()
    assert other == pytest.approx(one, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("words", [("model=cnn",), ("-m", "seed=0,1")], ids=" ".join)
def test_data_on_the_host_are_copied_without_a_wait(
    commands: Commands, inside: Counter[Wait], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """On a stream of their own, for which the step waits on the device; the bits are those of data on the device."""
    rows = []
    for share in (0.5, 0.0):
        monkeypatch.setattr("experiments.data.batches.RESIDENT_SHARE", share)
        sweep = commands.folder / f"outputs/{share}"
        choices = (f"hydra.run.dir={sweep}/0", f"hydra.sweep.dir={sweep}")
        outcome = commands.train(*words, *SMALL[:2], *UNWATCHED[:-1], DEVICE, *choices)
        assert outcome.code == 0, outcome.err
        rows.append([metrics(run) for run in run_folders(commands.folder) if run.is_relative_to(sweep)])
    assert inside.pop(Wait("step", "")) > 0
    assert not inside
    assert rows[0] == rows[1]


def test_a_batch_is_used_after_its_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    x, device = torch.arange(12.0).view(6, 2), torch.device("cuda:0")
    monkeypatch.setattr(host, "_streams", {})
    with emulated() as record:
        for rows in (torch.tensor([3, 0]), slice(1, 3)):
            batch = host.gathered(x, rows, device)
            assert not record.waits
            assert torch.equal((batch + 0).cpu(), x[rows])
            record.waits.clear()
        for forgotten, problem in (("wait_stream", "before the stream"), ("record_stream", "may be reused")):
            with monkeypatch.context() as patch:
                owner = CudaTensor if forgotten == "record_stream" else type(torch.cuda.current_stream())
                patch.setattr(owner, forgotten, lambda _self, _other: None)
                with pytest.raises(RuntimeError, match=problem):
                    host.gathered(x, torch.tensor([1]), device) + 0


def test_devices_are_hidden_from_the_tests() -> None:
    assert os.environ.get("TEST_DEVICE") == "cuda" or not torch.cuda.is_available()
