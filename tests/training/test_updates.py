"""How an update is computed: parts of a batch, clipping, precision, averages, groups, closures, compiled models."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments import initializers, optimizers
from experiments.data.augment import CropFlip
from experiments.data.batches import Split
from experiments.models.blocks import use_noise
from experiments.models.cnn import CNN
from experiments.models.mlp import MLP
from experiments.training.averaging import Average
from experiments.training.criterion import Criterion
from experiments.training.single import Single, Updating, part_sizes
from experiments.training.streams import Streams
from tests.helpers import (
    NO_PICTURES,
    SMALL,
    Commands,
    assert_equal_weights,
    metrics,
    run_folders,
    summary,
    thinned,
    weights,
)

CPU = torch.device("cpu")


def pictures(examples: int = 48) -> Split:
    """Three classes of small pictures."""
    draw = torch.Generator().manual_seed(5)
    y = torch.arange(examples) % 3
    x = torch.randn(examples, 2, 8, 8, generator=draw) + y.view(-1, 1, 1, 1)
    return Split(x, y, lambda batch: batch, CPU)


def program_of(
    model: Callable[[], nn.Module] | None = None,
    optimizer: Callable[[Any], torch.optim.Optimizer] | None = None,
    criterion: Criterion | None = None,
    augments: Any = (),
    **updating: Any,
) -> Single:
    """A program whose model is the same in every call."""
    streams = Streams(0)
    built = model() if model else MLP((2, 8, 8), 3, hidden=[12])
    initializers.initialize(built, initializers.he, streams.init)
    chosen = optimizer or (lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9))
    split = pictures()
    return Single(
        built,
        chosen(built.parameters()),
        {"train": split, "val": split, "test": split},
        eval_batch_size=20,
        criterion=criterion,
        updating=Updating(**updating),
        augments=augments,
        noise=streams.noise,
    )


def go(program: Single, steps: int = 4, size: int = 24, rate: float = 0.05) -> dict[str, Tensor]:
    """Make some updates, and return the weights."""
    for number in range(steps):
        start = number * size % 48
        program.step(torch.arange(start, start + size)[None] % 48, [rate])
    return program.model.state_dict()


@pytest.mark.parametrize("settings", [{"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.0}])
def test_a_thawing_layer_starts_its_momentum_in_torchs_fused_sgd_too(settings: dict[str, Any]) -> None:
    weights: list[dict[str, Tensor]] = []
    for fused in (True, False):
        program = program_of(optimizer=partial(torch.optim.SGD, lr=0.1, fused=fused, **settings))
        program.thaws = dict.fromkeys(list(program.named)[:2], 1)
        for epoch in range(3):
            program.begin_epoch(epoch)
            weights.append({name: value.clone() for name, value in go(program, 2).items()})
    for epoch, (one, other) in enumerate(zip(weights[:3], weights[3:], strict=True)):
        assert_close(one, other)
        frozen = next(iter(one))
        assert torch.equal(one[frozen], weights[0][frozen]) == (epoch == 0)


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor], atol: float = 1e-6) -> None:
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=atol, rtol=0, msg=name)


@pytest.mark.parametrize("micro", [12, 8, 5, 23])
@pytest.mark.parametrize("augments", [(), (CropFlip(2),)], ids=["plain", "crop_flip"])
def test_parts_of_a_batch_add_up_to_it(micro: int, augments: Any) -> None:
    """24 examples at once or in parts: the same update, loss and answers; the penalty counts once."""
    from experiments.penalties import L2

    whole = program_of(criterion=Criterion(penalty=L2(0.1)), augments=augments)
    parts = program_of(criterion=Criterion(penalty=L2(0.1)), augments=augments, micro_batch=micro)
    index = torch.arange(24)[None]
    for one, other in ((whole.step(index, [0.1]), parts.step(index, [0.1])) for _ in range(3)):
        torch.testing.assert_close(one.loss, other.loss)
        torch.testing.assert_close(one.penalty, other.penalty)
        assert torch.equal(one.score, other.score)
    assert_close(whole.model.state_dict(), parts.model.state_dict())


@pytest.mark.slow
def test_accumulated_runs_equal_runs_of_a_larger_batch(commands: Commands) -> None:
    choices = (*SMALL, "optimizer=momentum", "data.balance=class_weights", "data.augment=mixup")
    large = commands.trained(*choices, "training.batch_size=32")
    small = commands.trained(*choices, "training.batch_size=8", "training.accumulate=4")
    assert summary(large)["steps"] == summary(small)["steps"] == 6
    assert_close(weights(large), weights(small), 1e-5)


@pytest.mark.parametrize(
    ("examples", "size", "sizes"),
    [(24, 12, [12, 12]), (25, 12, [12, 13]), (26, 12, [12, 12, 2]), (3, 2, [3]), (1, 4, [1]), (3, 4, [3])],
)
def test_no_part_is_a_single_example(examples: int, size: int, sizes: list[int]) -> None:
    assert part_sizes(examples, size) == sizes


def test_clip_value_bounds_each_element() -> None:
    program = program_of(optimizer=lambda p: torch.optim.SGD(p, 1.0), clip_value=1e-3)
    before = {name: value.clone() for name, value in program.model.state_dict().items()}
    after = go(program, steps=1, rate=1.0)
    moved = max((after[name] - before[name]).abs().max().item() for name in before)
    assert moved == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near_and_not_the_same(precision: str) -> None:
    program = program_of(precision=precision)
    if program.scaler is not None:
        program.scaler = torch.amp.GradScaler(
            "cpu", init_scale=1024
        )  # low enough that no step overflows and is left out
    full, half = go(program_of()), go(program)
    assert any(not torch.equal(full[name], half[name]) for name in full)
    assert_close(full, half, 2e-2)
    assert all(value.dtype == torch.float32 for value in half.values())


def test_fp16_scales_small_gradients_so_that_they_do_not_vanish() -> None:
    """A loss of 1e-6 times the usual one: its gradients are too small for fp16."""

    def tiny(scores: Tensor, targets: Tensor, reduction: str) -> Tensor:
        return 1e-6 * nn.functional.cross_entropy(scores, targets, reduction=reduction)

    def moved(program: Single) -> float:
        before = program.model.state_dict()["features.hidden1.linear.weight"].clone()
        return (go(program, 1, rate=1e6)["features.hidden1.linear.weight"] - before).norm().item()

    full = moved(program_of(optimizer=lambda p: torch.optim.SGD(p, 1.0), criterion=Criterion(tiny)))
    half = moved(program_of(optimizer=lambda p: torch.optim.SGD(p, 1.0), criterion=Criterion(tiny), precision="fp16"))
    assert half == pytest.approx(full, rel=0.02)


def test_a_scaled_overflow_leaves_the_weights() -> None:
    program = program_of(precision="fp16")
    assert program.scaler is not None
    program.scaler = torch.amp.GradScaler("cpu", init_scale=1e30)
    before = {name: value.clone() for name, value in program.model.state_dict().items()}
    assert_equal_weights(before, go(program, 1))
    assert program.scaler.get_scale() < 1e30


def test_momentum_starts_at_zero_if_the_first_update_is_skipped() -> None:
    """Memory that torch's fused SGD does not initialize shows here: deterministic algorithms fill it with nan."""

    def momentum(fused: bool) -> dict[str, Tensor]:
        program = program_of(optimizer=lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, fused=fused), precision="fp16")
        program.scaler = torch.amp.GradScaler("cpu", init_scale=1e30, backoff_factor=1e-27)
        return go(program, 4)

    plain = momentum(False)
    torch.use_deterministic_algorithms(True)
    try:
        fused = momentum(True)
    finally:
        torch.use_deterministic_algorithms(False)
    assert_close(plain, fused)


def test_channels_last_changes_no_number_beyond_rounding() -> None:
    def cnn() -> nn.Module:
        return CNN((2, 8, 8), 3, stages=[[4], [6]], hidden=[8], batch_norm=True)

    program = program_of(cnn, channels_last=True)
    assert_close(go(program_of(cnn)), go(program), 1e-5)
    convolution = program.model.get_submodule("features.stage1_1.conv")
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # of torch, before a mask
def test_a_compiled_model_learns_the_same() -> None:
    def dropping() -> MLP:
        return MLP((2, 8, 8), 3, hidden=[12], dropout=0.3)

    eager, program = program_of(dropping), program_of(dropping, compiled="default", micro_batch=12)
    for own in (eager, program):
        use_noise(own.model, own.noise)
    assert_close(go(eager), go(program), 1e-5)
    assert program.forward is not program.model
    assert set(program.state_dict(0)["model"]) == set(eager.model.state_dict())


def test_the_ema_weights_are_evaluated_and_kept() -> None:
    program = program_of(ema=0.5)
    shadow, seen = Average(program.model, 0.5), []
    for _ in range(3):
        go(program, 1)
        shadow.update()
        seen.append(program.evaluate("val")[0])
    state = program.state_dict(0)
    assert_equal_weights(state["model"], dict(shadow.module.state_dict()))
    assert_equal_weights(state["trained"], dict(program.model.state_dict()))
    assert not torch.equal(state["model"]["head.weight"], state["trained"]["head.weight"])
    plain = program_of()
    plain.model.load_state_dict(state["model"])
    assert plain.evaluate("val")[0] == seen[-1]


def test_swa_averages_the_ends_of_epochs_and_measures_batch_norm_again() -> None:
    def net() -> nn.Module:
        return MLP((2, 8, 8), 3, hidden=[6], batch_norm=True, dropout=0.3)

    program, ends = program_of(net, swa=2), []
    for epoch in (1, 2, 3):
        go(program, 2)
        program.end_epoch(epoch)
        ends.append({name: value.clone() for name, value in program.model.state_dict().items()})
        assert ("trained" in program.state_dict(0)) == (epoch >= 2)
    average = program.state_dict(0)["model"]
    for name, value in program.model.named_parameters():
        del value
        torch.testing.assert_close(average[name], (ends[1][name] + ends[2][name]) / 2)
    x = program.splits["train"].x.flatten(1)
    inputs = x @ average["features.hidden1.linear.weight"].T
    batches = inputs.split(20)
    expected = torch.stack([batch.mean(0) for batch in batches]).mean(0)
    torch.testing.assert_close(average["features.hidden1.batch_norm.running_mean"], expected, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_the_best_checkpoint_has_the_averaged_weights(commands: Commands) -> None:
    folder = commands.trained(*SMALL, "training.epochs=4", "training.ema=0.9", "objective=train/loss")
    state = torch.load(folder / "checkpoints" / "best.pt", weights_only=True)["program"]
    assert state["averaged"] == 12
    assert not torch.equal(state["model"]["head.weight"], state["trained"]["head.weight"])


CASES = {
    "swa": ("training.swa=2", "model.batch_norm=true"),
    "ema": ("training.ema=0.9", "model.batch_norm=true"),
    "fp16": ("training.precision=fp16", "training.clip_norm=1"),
    "mixup": ("data.augment=[crop_flip,mixup]", "model.dropout=0.2"),
    "muon": ("optimizer=muon", "training.accumulate=2"),
    "lbfgs": ("optimizer=lbfgs", "model.dropout=0.2"),
    "penalty": ("penalty=l1", "optimizer=asgd"),
    "max_norm": ("penalty=max_norm", "optimizer=rprop"),
    "whitened": ("data.preprocess=zca", "init=lsuv", "data.label_noise=0.1"),
    "thawing": ("freeze={features.hidden1:3,features.hidden2:1}", "model.batch_norm=true", "optimizer=muon"),
    "frozen": ("optimizer.lr_scale={features.hidden1:0,head:2}", "optimizer.weight_decay=0.1"),
}


@pytest.mark.slow
@pytest.mark.parametrize("choices", thinned(CASES.values()), ids=list(CASES))
def test_a_run_resumes_to_the_same_bits(commands: Commands, choices: tuple[str, ...]) -> None:
    quiet = ("observers.tensorboard.enabled=false", NO_PICTURES)
    small = ("data.limit=96", "model.hidden=[12,8]", "training.batch_size=20", *quiet)
    whole = commands.trained(*small, *choices, "training.epochs=4")
    parts = commands.trained(*small, *choices, "training.epochs=2")
    outcome = commands.train(f"resume={parts}", "training.epochs=4")
    assert outcome.code == 0, outcome.err
    assert_equal_weights(weights(whole), weights(parts))
    assert metrics(whole) == metrics(parts)


@pytest.mark.slow
def test_a_run_interrupted_within_an_epoch_resumes_to_the_same_bits() -> None:
    """State is saved and loaded after every update."""
    settings: Any = {"ema": 0.9, "precision": "fp16", "micro_batch": 10}
    straight = program_of(augments=(CropFlip(1),), **settings)
    go(straight, 6)
    broken = program_of(augments=(CropFlip(1),), **settings)
    for number in range(6):
        start = number * 24 % 48
        broken.step(torch.arange(start, start + 24)[None] % 48, [0.05])
        state, noise = broken.state_dict(0), broken.noise
        fresh = program_of(augments=(CropFlip(1),), **settings)
        fresh.load_state_dict(0, state)
        fresh.noise = noise
        broken = fresh
    assert_equal_weights(straight.state_dict(0)["model"], broken.state_dict(0)["model"])
    assert_equal_weights(straight.state_dict(0)["trained"], broken.state_dict(0)["trained"])


# groups


def test_groups_hold_every_parameter_once() -> None:
    model = CNN((1, 8, 8), 3, stages=[[4], [4]], hidden=[6], batch_norm=True)
    scales = {"features": 0.1, "features.stage1_1": 0.5, "*.bias": 2.0, "head": 0.0}
    groups = optimizers.parameter_groups(model, decays=True, scales=scales)
    inside = [p for group in groups for p in group["params"]]
    trained = [p for name, p in model.named_parameters() if not name.startswith("head")]
    assert {id(p) for p in inside} == {id(p) for p in trained}
    assert len(inside) == len(trained)
    assert not any(p.requires_grad for p in model.head.parameters())
    scale_of = {id(p): group.get("lr_scale", 1) for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        if not name.startswith("head"):  # the last pattern that matches counts
            wanted = 2.0 if name.endswith(".bias") else 0.5 if "stage1_1." in name else 0.1
            assert scale_of[id(parameter)] == wanted, name


def test_biases_and_norms_decay_only_if_configured(commands: Commands) -> None:
    """With a gradient of only decay, the weights with decay shrink."""
    model = MLP((4,), 3, hidden=[5], batch_norm=True)
    for exempt, spared in (("auto", {"batch_norm", "bias"}), ([], set()), (["head"], {"head"})):
        groups = optimizers.parameter_groups(model, decays=True, exempt=exempt)
        without = {id(p) for group in groups if group.get("weight_decay") == 0 for p in group["params"]}
        for name, parameter in model.named_parameters():
            assert (id(parameter) in without) == any(word in name for word in spared), (exempt, name)
    del commands


@pytest.mark.slow
def test_a_scale_of_0_freezes_and_another_multiplies(commands: Commands) -> None:
    choices = (*SMALL, "optimizer=sgd", "training.epochs=1", "training.batch_size=96")
    start = weights(commands.trained(*choices, "training.epochs=0"))
    plain = weights(commands.trained(*choices))
    scaled = weights(commands.trained(*choices, "optimizer.lr_scale={features:0,head:0.5}"))
    for name in start:
        if name.startswith("features"):
            assert torch.equal(scaled[name], start[name])
        else:
            torch.testing.assert_close(scaled[name] - start[name], (plain[name] - start[name]) / 2)


def test_muon_moves_hidden_matrices_and_adamw_the_rest() -> None:
    program = program_of(lambda: MLP((2, 8, 8), 3, hidden=[12, 10]))
    model = program.model
    hidden = [model.get_parameter(f"features.hidden{n}.linear.weight") for n in (1, 2)]
    numbers: Any = {"lr": 0.01, "weight_decay": 0.1}
    ours = optimizers.Muon(model.parameters(), hidden, **numbers)
    assert [len(part.param_groups[0]["params"]) for part in ours.parts] == [2, 4]
    other = program_of(lambda: MLP((2, 8, 8), 3, hidden=[12, 10])).model
    matrices = [other.get_parameter(f"features.hidden{n}.linear.weight") for n in (1, 2)]
    rest = [p for p in other.parameters() if all(p is not m for m in matrices)]
    theirs = [
        torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw", **numbers),
        torch.optim.AdamW(rest, betas=(0.9, 0.95), **numbers),
    ]
    x, y = program.splits["train"].batch(torch.arange(48))
    for _ in range(5):
        for net, updates in ((model, [ours]), (other, theirs)):
            net.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            for update in updates:
                update.step()
    assert_close(dict(model.state_dict()), dict(other.state_dict()))
    assert not optimizers.needs_closure(ours)


def test_lbfgs_equals_torchs_by_hand_and_solves_softmax_regression() -> None:
    def net() -> nn.Module:
        return MLP((2, 8, 8), 3, hidden=[])

    def lbfgs(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(parameters, line_search_fn="strong_wolfe")

    program, other = program_of(net, lbfgs), program_of(net, lbfgs)
    losses = [program.step(torch.arange(48)[None], [1.0]).loss.item() for _ in range(3)]
    x, y = other.splits["train"].batch(torch.arange(48))

    def closure() -> Tensor:
        other.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(other.model(x), y)
        loss.backward()
        return loss

    for _ in range(3):
        other.optimizer.step(closure)  # type: ignore[arg-type]
    assert_close(program.model.state_dict(), other.model.state_dict())
    assert losses[0] > 1 > 1e-2 > losses[-1]


def test_lbfgs_sees_the_same_noise_at_every_evaluation() -> None:
    program = program_of(
        lambda: MLP((2, 8, 8), 3, hidden=[8], dropout=0.5),
        lambda p: torch.optim.LBFGS(p, line_search_fn="strong_wolfe"),
    )
    use_noise(program.model, program.noise)
    first, calls = program.noise.factors, []

    def factors(name: str, rate: float, x: Tensor) -> Tensor:
        calls.append(first(name, rate, x))
        return calls[-1]

    program.noise.factors = factors  # type: ignore[method-assign]
    program.step(torch.arange(48)[None], [1.0])
    assert len(calls) > 1
    assert all(torch.equal(calls[0], mask) for mask in calls)


# data


@pytest.mark.slow
def test_folds_are_a_sweep_whose_validation_splits_cover_the_training_data(commands: Commands) -> None:
    outcome = commands.train("-m", *SMALL[1:], "training.epochs=1", "data.folds=3", "data.fold=range(3)")
    assert outcome.code == 0, outcome.err
    folders = run_folders(commands.folder)
    assert len(folders) == 3
    assert all("val, 359 test" in (folder / "train.log").read_text() for folder in folders)
    assert "2 stacks instead of one: the runs differ in examples" in outcome.out


def test_folds_are_disjoint_and_cover(tmp_path: Path) -> None:
    from experiments import assembly

    del tmp_path
    taken = []
    for fold in range(4):
        config = {"data": {"_target_": "experiments.data.sources.digits", "folds": 4, "fold": fold}}
        data = assembly.data(config, Streams(3), CPU)
        assert len(data.splits["train"]) + len(data.splits["val"]) == 1438
        taken.append(data.splits["val"].x.flatten(1))
    together = torch.cat(taken)
    from experiments.data.sources import digits

    whole = digits().x_train.flatten(1)
    assert torch.equal(together.unique(dim=0), whole.unique(dim=0))
    assert len(together) == len(whole)


def test_label_noise_changes_only_the_training_split() -> None:
    from experiments import assembly

    def splits(noise: float) -> dict[str, Split]:
        config = {"data": {"_target_": "experiments.data.sources.digits", "label_noise": noise}}
        return assembly.data(config, Streams(1), CPU).splits

    clean, noisy = splits(0.0), splits(0.25)
    assert (clean["train"].y != noisy["train"].y).sum() == round(0.25 * len(clean["train"]))
    for name in clean:
        assert torch.equal(clean[name].x, noisy[name].x)
        assert name == "train" or torch.equal(clean[name].y, noisy[name].y)


def test_class_weights_give_every_class_the_same_weight() -> None:
    from experiments import assembly

    config = {
        "data": {"_target_": "experiments.data.planes.blobs", "imbalance": 9.0, "balance": "class_weights"},
    }
    data = assembly.data(config, Streams(0), CPU)
    assert data.class_weights is not None
    counts = torch.bincount(data.splits["train"].y)
    shares = counts * data.class_weights
    torch.testing.assert_close(shares, shares.mean().expand(3), rtol=1e-5, atol=0)
    assert (data.class_weights[data.splits["train"].y]).mean().item() == pytest.approx(1, abs=1e-5)


def test_whitening_in_advance_is_the_same_as_at_each_batch() -> None:
    from experiments import assembly
    from experiments.data.sources import digits

    config = {"data": {"_target_": "experiments.data.sources.digits", "preprocess": "zca"}}
    train = assembly.data(config, Streams(2), CPU).splits["train"]
    raw = assembly.data({"data": {**config["data"], "preprocess": "none"}}, Streams(2), CPU).splits["train"]
    from experiments.data.preprocess import zca

    assert train.x.shape[1:] == digits().x_train.shape[1:]
    torch.testing.assert_close(train.batch(torch.arange(9))[0], zca(raw.x)(raw.x[:9]))


def test_missing_cells_take_the_training_splits_mean(tmp_path: Path) -> None:
    from experiments import assembly

    rows = "".join(f"{'' if i % 3 == 0 else i},{i % 4},{i % 2}\n" for i in range(60))
    (tmp_path / "t.csv").write_text("a,b,kind\n" + rows)
    section = {"_target_": "experiments.data.tables.csv", "path": str(tmp_path / "t.csv"), "target": "kind"}
    data = assembly.data({"data": {**section, "missing": "mean", "preprocess": "none"}}, Streams(0), CPU)
    train = data.splits["train"]
    mean = train.x[:, 0].nanmean()
    for split in data.splits.values():
        x, _ = next(split.in_order(100))
        gaps = split.x[:, 0].isnan()
        assert gaps.any()
        torch.testing.assert_close(x[gaps, 0], mean.expand(int(gaps.sum())))
        assert x.isfinite().all()
