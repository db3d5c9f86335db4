"""Runs trained as one program, compared with the same runs trained separately."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments import assembly
from experiments.assembly.run import assembled
from experiments.common.errors import UserError
from experiments.common.screen import Screen
from experiments.folders.hydra import as_yaml
from experiments.folders.run import RunFolder
from experiments.penalties import Penalty
from experiments.runs.alone import train
from experiments.runs.job import Job
from experiments.runs.run import Run
from experiments.runs.together import largest_stack, train_together
from experiments.training.member import Member
from experiments.training.single import Single
from experiments.training.stack import configured, reason_apart
from experiments.training.stop import Stop
from tests.helpers import SMALL, composed, metrics, run_folders, summary, thinned
from tests.stacks import DOUBLE, QUIET, apart, assert_same_run, both_ways, job, together

OPTIMIZERS = [
    "sgd",
    "momentum",
    "nesterov",
    "adagrad",
    "adadelta",
    "rmsprop",
    "adam",
    "adamw",
    "adamax",
    "nadam",
    "radam",
    "asgd",
    "rprop",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    thinned(
        [
            ("model.hidden=[12,9]",),
            ("model=cnn", "model.stages=[[3],[4]]", "model.hidden=[8]"),
            ("model=cnn", "model.stages=[[3],[4]]", "model.hidden=[8]", "model.batch_norm=true"),
            ("model.hidden=[12]", "model.batch_norm=true"),
        ]
    ),
    ids=["mlp", "cnn", "cnn with BatchNorm", "mlp with BatchNorm"],
)
def test_members_agree_with_the_same_runs_trained_separately(tmp_path: Path, model: tuple[str, ...]) -> None:
    # Rprop follows the sign of a gradient, also if it is 0 except for rounding, as before BatchNorm of constant inputs.
    names = [name for name in OPTIMIZERS if name != "rprop" or "model.batch_norm=true" not in model]
    runs = [
        [*DOUBLE, *model, f"optimizer={name}", f"init={('he', 'xavier')[k % 2]}", f"seed={k}"]
        for k, name in enumerate(names)
    ]
    for one, other in both_ways(tmp_path, runs):
        assert_same_run(one, other)


@pytest.mark.slow
def test_everything_that_may_differ_in_a_stack_does(tmp_path: Path) -> None:
    differing = [
        ("model.dropout=0.3", "seed=4"),
        ("model.dropout=0.1", "model.input_dropout=0.2", "loss.label_smoothing=0.1"),
        ("penalty=l2", "penalty.strength=0.01", "scheduler=cosine", "scheduler.warmup=0.2"),
        ("penalty=l1", "training.clip_norm=0.5", "data.preprocess=scale"),
        ("penalty=max_norm", "penalty.limit=0.5", "optimizer.lr=0.05", "data.label_noise=0.2"),
        ("optimizer=sgd", "optimizer.weight_decay=0.1", "optimizer.lr_scale={head:0.1}", "optimizer.lr=0.2"),
        ("optimizer=adamw", "optimizer.weight_decay=0.3", "training.clip_value=0.01", "data.balance=class_weights"),
        ("scheduler=plateau", "scheduler.patience=0", "init=lsuv", "data.preprocess=zca"),
        ("training.early_stopping.patience=1", "optimizer.lr=0.3", "objective=val/loss", "init=he", "init.bias=0.0"),
        ("optimizer.betas=[0.5,0.8]",),
    ]
    runs = [[*DOUBLE, "training.epochs=5", "model.hidden=[12,9]", *own] for own in differing]
    stacked, logged = together(tmp_path / "stack", runs)
    assert not logged
    alone = apart(tmp_path / "alone", runs)
    for one, other in zip(alone, stacked, strict=True):
        assert_same_run(one, other)
    assert "stopped" in {summary(folder)["status"] for folder in stacked}, "one should have left before the others"


@pytest.mark.slow
def test_accumulated_batches_and_a_loss_of_another_kind(tmp_path: Path) -> None:
    common = [*DOUBLE, "training.batch_size=16", "training.accumulate=3", "loss=hinge", "model.batch_norm=true"]
    runs = [[*common, f"loss.margin={margin}", f"seed={margin}"] for margin in (1, 2)]
    stacked, _ = together(tmp_path / "stack", runs)
    for one, other in zip(apart(tmp_path / "alone", runs), stacked, strict=True):
        assert_same_run(one, other)


@pytest.mark.slow
def test_a_diverging_member_leaves_and_the_others_do_not_change(tmp_path: Path) -> None:
    common = [*DOUBLE, "optimizer=sgd"]
    runs = [[*common, "seed=1"], [*common, "optimizer.lr=1e200"], [*common, "seed=2"]]
    stacked, _ = together(tmp_path / "stack", runs)
    assert [summary(folder)["status"] for folder in stacked] == ["finished", "diverged", "finished"]
    alone = apart(tmp_path / "alone", runs)
    for k in (0, 2):
        assert_same_run(alone[k], stacked[k])
    assert summary(alone[1])["diverged_at_step"] == summary(stacked[1])["diverged_at_step"]


@pytest.mark.slow
def test_a_pruned_member_leaves(tmp_path: Path) -> None:
    jobs = [job(tmp_path / str(k), [*DOUBLE, f"seed={k}"]) for k in range(3)]
    seen: list[int] = []

    def on_epoch(members: Sequence[Member], position: Any) -> None:
        seen.append(len(position.active))
        members[1].pruned = lambda history: len(history) == 2

    train_together(jobs, Stop(), lambda _run: None, lambda _line: None, on_epoch)
    assert [summary(each.folder.path)["status"] for each in jobs] == ["finished", "pruned", "finished"]
    assert summary(jobs[1].folder.path)["epochs"] == 2
    assert "test/accuracy" in summary(jobs[1].folder.path)["metrics"]
    assert seen == [3, 3, 3, 2]
    alone = apart(tmp_path / "alone", [each.overrides for each in jobs])
    for k in (0, 2):
        assert_same_run(alone[k], jobs[k].folder.path)


@pytest.mark.slow
def test_in_float32_the_accuracy_is_that_of_single_runs(tmp_path: Path) -> None:
    runs = [["training.epochs=8", "model.hidden=[24]", *QUIET, f"seed={k}"] for k in range(6)]
    stacked, _ = together(tmp_path / "stack", runs)
    alone = apart(tmp_path / "alone", runs)
    pairs = [[summary(f)["metrics"]["test/accuracy"] for f in own] for own in (stacked, alone)]
    spread = torch.tensor(pairs[1]).std().item()
    assert torch.tensor(pairs[0]).mean().item() == pytest.approx(torch.tensor(pairs[1]).mean().item(), abs=spread)


@pytest.mark.slow
def test_a_member_can_be_resumed_as_a_single_run_and_a_single_run_in_a_stack(tmp_path: Path) -> None:
    base = [*DOUBLE, "model.batch_norm=true", "model.dropout=0.2"]
    kinds = ("adam", "momentum", "nadam", "sgd")
    averages = {"momentum": ["training.ema=0.9"], "sgd": ["training.swa=1"]}
    whole = [[*base, f"optimizer={name}", *averages.get(name, [])] for name in kinds]
    half = [[*own, "training.epochs=1"] for own in whole]
    alone = apart(tmp_path / "alone", whole)
    for start, go_on in ((together, "apart"), (apart, "together")):
        folder = tmp_path / f"first {go_on}"
        start(folder, half)
        for k in range(len(kinds)):
            hydra = folder / str(k) / ".hydra"
            hydra.mkdir()
            (hydra / "config.yaml").write_text(as_yaml(composed(*half[k])))
        jobs = [job(folder / str(k), own, resume=str(folder / str(k))) for k, own in enumerate(whole)]
        if go_on == "together":
            train_together(jobs, Stop(), lambda _run: None, lambda _line: None)
        else:
            for each in jobs:
                train(each.config, each.folder, overrides=each.overrides)
        for one, each in zip(alone, jobs, strict=True):
            assert_same_run(one, each.folder.path)


class Draws(nn.Module):
    """A user's own model that draws in its forward pass: not supported in stacks."""

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.flatten, self.linear = nn.Flatten(), nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """See `nn.Module`."""
        return self.linear(nn.functional.dropout(self.flatten(x), 0.1, self.training))


class Branches(Draws):
    """One that branches on its values, which cannot be done for many at once."""

    def forward(self, x: Tensor) -> Tensor:
        """See `nn.Module`."""
        x = self.flatten(x)
        return self.linear(x if x.sum() > 0 else -x)


class Plain(Draws):
    """One that can be called for many at once, with activations that are not modules and weights that are shared."""

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__(input_shape, classes)
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        """See `nn.Module`."""
        x = torch.relu(self.first(self.flatten(x)))
        return self.linear(torch.relu(self.second(x)))


class Spare(Draws):
    """One with a parameter that takes no part."""

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__(input_shape, classes)
        self.spare = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """See `nn.Module`."""
        return self.linear(self.flatten(x))


class Attends(Draws):
    """One whose backward pass is not known for many at once."""

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__(input_shape, classes)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """See `nn.Module`."""
        x = x.squeeze(1)
        return self.linear(self.attention(x, x, x, need_weights=False)[0].flatten(1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shared"),
    [("Draws", False), ("Branches", False), ("Plain", True), ("Spare", False), ("Attends", False)],
)
def test_models_of_the_user(tmp_path: Path, name: str, shared: bool) -> None:
    config = composed(*DOUBLE)
    config["model"] = {"_target_": f"tests.training.stack.test_stack.{name}"}
    jobs = [Job({**config, "seed": k}, RunFolder(tmp_path / str(k))) for k in range(2)]
    logged: list[str] = []
    train_together(jobs, Stop(), lambda _run: None, logged.append)
    assert {summary(each.folder.path)["status"] for each in jobs} == {"finished"}
    assert ("trained_together" in summary(jobs[0].folder.path)) == shared
    assert shared == (not any("one after another" in line for line in logged))
    for each in jobs:
        alone = RunFolder(tmp_path / "alone" / each.folder.path.name)
        train(each.config, alone)
        assert_same_run(alone.path, each.folder.path)


@pytest.mark.slow
def test_a_job_that_cannot_run_does_not_stop_the_others(tmp_path: Path) -> None:
    own = ("seed=1", "model.hidden=[0]", "observers.layers.every=-1", "seed=2")
    jobs = [job(tmp_path / str(k), [*DOUBLE, override]) for k, override in enumerate(own)]
    finished: list[Run] = []
    train_together(jobs, Stop(), finished.append, lambda _line: None)
    assert [summary(each.folder.path)["status"] for each in jobs] == ["finished", "failed", "failed", "finished"]
    assert "model.hidden" in summary(tmp_path / "1")["error"]
    assert "observers.layers.every=-1" in summary(tmp_path / "2")["error"]
    assert summary(tmp_path / "0")["trained_together"] == 2
    assert len(finished) == 4


@pytest.mark.slow
def test_stacks_are_as_large_as_memory_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.training.device.free_memory", lambda _device: 2**20)
    few = largest_stack(job(tmp_path, [*DOUBLE]))
    assert few is not None
    assert 1 <= few < 64
    monkeypatch.setattr("experiments.training.device.free_memory", lambda _device: 2**34)
    assert largest_stack(job(tmp_path, [*DOUBLE])) == 64
    with pytest.raises(UserError, match=r"model.hidden"):
        largest_stack(job(tmp_path, [*DOUBLE, "model.hidden=[0]"]))
    assert not run_folders(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "override",
    [
        "optimizer=lbfgs",
        "+optimizer.amsgrad=true",
        "training.compile=true",
        "training.channels_last=true",
        "data.augment={_target_: tests.training.stack.test_stack.Kept}",
        "freeze={features:1}",
    ],
)
def test_a_run_is_kept_out_of_stacks_for_the_same_reason_before_and_after_it_is_built(
    tmp_path: Path, override: str
) -> None:
    config = composed(*SMALL, override)
    before = configured(config).reason_apart()
    assert before is not None
    assert reason_apart(program_of(tmp_path, config)) == before


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, "muon"])
def test_a_run_that_can_share_a_stack_can_before_and_after_it_is_built(tmp_path: Path, optimizer: str) -> None:
    config = composed(*SMALL, f"optimizer={optimizer}")
    assert configured(config).reason_apart() is None
    assert reason_apart(program_of(tmp_path, config)) is None


class Kept:
    """An augmentation of the user, which might draw from anywhere."""

    def __call__(self, x: Tensor, targets: Tensor, _generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Change nothing."""
        return x, targets


def program_of(folder: Path, config: dict[str, Any]) -> Single:
    """The program of a run that is built and not trained."""
    settings = (assembly.general(config), assembly.training(config), torch.device("cpu"))
    return assembled(config, *settings, RunFolder(folder), Screen(quiet=True)).program


def test_updates_are_known_to_those_who_stay_when_another_member_leaves(tmp_path: Path) -> None:
    """Each update is measured, and its angle to the one before: the first one after an epoch needs the last one."""
    common = [*DOUBLE, "training.epochs=2", "data.limit=60", "model.hidden=[5]", "observers.layers.every_steps=1"]
    jobs = [job(tmp_path / str(k), [*common, f"seed={k}"]) for k in range(3)]

    def on_epoch(members: Sequence[Member], _position: Any) -> None:
        members[1].pruned = lambda _history: True

    train_together(jobs, Stop(), lambda _run: None, lambda _line: None, on_epoch)
    assert [summary(each.folder.path)["epochs"] for each in jobs] == [2, 1, 2]
    (alone,) = apart(tmp_path / "alone", [jobs[2].overrides])
    expected, rows = RunFolder(alone).read_layers(), jobs[2].folder.read_layers()
    assert [row[:4] for row in rows] == [row[:4] for row in expected]
    assert [row.value for row in rows] == pytest.approx([row.value for row in expected], rel=1e-4, abs=1e-6)
    assert {row.step for row in rows if row.quantity == "update_cosine"} == {2, 3, 4}


CROPS = (*DOUBLE, "model=cnn", "model.stages=[[3],[4]]", "model.hidden=[8]")
AUGMENTED = {
    "the same for all": [[*CROPS, "data.augment=[crop_flip,cutout,mixup]", f"seed={k}"] for k in range(3)],
    "different ones": [
        [*CROPS, "data.augment=crop_flip"],
        [*CROPS, "data.augment=[cutout,crop_flip]", "seed=3"],
        [*CROPS, "model.dropout=0.2"],
    ],
    "mixed in a chain": [[*DOUBLE, "data.augment=mixup", "model.dropout=0.2", f"seed={k}"] for k in range(2)],
    "reconstruction": [
        [*DOUBLE, "task=reconstruction", "model=autoencoder", "data.augment=cutout", f"seed={k}"] for k in range(2)
    ],
    "transforms of torchvision": [
        [*CROPS, "data.augment={_target_: torchvision.transforms.v2.RandomRotation, degrees: 15}", f"seed={k}"]
        for k in range(2)
    ],
    "parts of a batch": [
        [*CROPS, "data.augment=crop_flip", "model.dropout=0.3", "training.accumulate=2", f"seed={k}"] for k in range(2)
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", AUGMENTED)
def test_augmented_members_agree_with_the_same_runs_trained_separately(tmp_path: Path, name: str) -> None:
    for one, other in both_ways(tmp_path, AUGMENTED[name]):
        assert_same_run(one, other)


NORMS = (*DOUBLE, "model.hidden=[8]", "model.batch_norm=true", "training.epochs=4")
AVERAGED = {
    "exponential": [[*NORMS, f"training.ema={decay}"] for decay in (0.9, 0.5)],
    "plain": [[*NORMS, "training.swa=2", f"seed={k}"] for k in range(2)],
    "of some, which leave": [
        [*NORMS, "training.ema=0.8", "training.early_stopping.patience=1", "optimizer.lr=0.3"],
        [*NORMS, "optimizer=sgd"],
        [*NORMS, "training.swa=1", "model.dropout=0.2"],
        [*NORMS, "training.ema=0.95", "optimizer.lr=0.01"],
    ],
    "with autograd": [[*NORMS, "training.ema=0.9", "penalty=l2", f"seed={k}"] for k in range(2)],
    "mean absolute error": [[*DOUBLE, "data=diabetes", "training.ema=0.9", f"seed={k}"] for k in range(2)],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", AVERAGED)
def test_averaged_members_agree_with_the_same_runs_trained_separately(tmp_path: Path, name: str) -> None:
    for one, other in both_ways(tmp_path, AVERAGED[name]):
        assert_same_run(one, other)
        states = [torch.load(path / "checkpoints" / "last.pt", weights_only=True)["program"] for path in (one, other)]
        assert states[0].get("averaged") == states[1].get("averaged")


class Cubic(Penalty):
    """A penalty of the user whose strength depends on the layer, and that bounds weights too."""

    adds = bounds = True

    def __init__(self, strength: float = 1e-3) -> None:
        self.strength = strength

    def term(self, weights: Sequence[Tensor]) -> Tensor:
        """See `Penalty.term`."""
        return self.strength * sum((n * w.abs().pow(3).sum() for n, w in enumerate(weights, 1)), torch.zeros(()))

    def bound(self, weights: Sequence[Tensor]) -> None:
        """See `Penalty.bound`."""
        with torch.no_grad():
            weights[0].clamp_(-0.2, 0.2)


@pytest.mark.slow
def test_penalties_of_the_user_share_a_stack(tmp_path: Path) -> None:
    own = [*DOUBLE, "model.hidden=[12,9]", "penalty={_target_: tests.training.stack.test_stack.Cubic}"]
    runs = [[*own, "+penalty.strength=0.01"], [*DOUBLE, "model.hidden=[12,9]", "penalty=l2"], [*own, "seed=2"]]
    stacked, logged = together(tmp_path / "stack", runs)
    assert not logged
    assert summary(stacked[0])["trained_together"] == 3
    for one, other in zip(apart(tmp_path / "alone", runs), stacked, strict=True):
        assert_same_run(one, other)


@pytest.mark.slow
def test_runs_with_muon_are_in_a_stack_and_agree_as_far_as_its_16_bits_do(tmp_path: Path) -> None:
    own = [*DOUBLE, "model.hidden=[12,9]", "optimizer=muon", "init=he", "optimizer.lr=0.01"]
    runs = [[*own, "seed=1"], [*own, "optimizer.nesterov=false"], [*DOUBLE, "model.hidden=[12,9]"]]
    stacked, logged = together(tmp_path / "stack", runs)
    assert not logged
    for one, other in zip(apart(tmp_path / "alone", runs), stacked, strict=True):
        assert summary(other)["trained_together"] == 3
        pairs = [
            (float(a["train/loss"]), float(b["train/loss"])) for a, b in zip(metrics(one), metrics(other), strict=True)
        ]
        assert [a for a, _ in pairs] == pytest.approx([b for _, b in pairs], rel=1e-2)
    (stacked[0] / ".hydra").mkdir()  # torch's optimizers continue from the state
    longer = [*runs[0], "training.epochs=4"]
    (stacked[0] / ".hydra" / "config.yaml").write_text(as_yaml(composed(*runs[0])))
    resumed = job(stacked[0], longer, resume=str(stacked[0]))
    train(resumed.config, resumed.folder, overrides=resumed.overrides)
    (straight,) = apart(tmp_path / "straight", [longer])
    ends = [float(metrics(folder)[-1]["train/loss"]) for folder in (stacked[0], straight)]
    assert ends[0] == pytest.approx(ends[1], rel=1e-2)


class Dropping(torch.nn.Sequential):
    """A model of a user with torch's Dropout."""

    def __init__(self, input_shape: tuple[int, ...], outputs: int, p: float = 0.0) -> None:
        count = math.prod(input_shape)
        super().__init__(torch.nn.Flatten(), torch.nn.Dropout(p), torch.nn.Linear(count, outputs))


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_dropout_of_torch_that_drops_nothing_shares_stacks(tmp_path: Path, p: float) -> None:
    config = composed("training.epochs=1", "data.limit=96", *QUIET)
    config["model"] = {"_target_": f"{__name__}.Dropping", "p": p}
    reason = "1 draws from torch's global generator; experiments.models.blocks.Dropout does not" if p else None
    assert reason_apart(program_of(tmp_path, config)) == reason
