"""The layers' numbers are what a hand computes, at the right time, and cost no bit of the training."""

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from experiments import initializers
from experiments.data.batches import Split
from experiments.figures.classes import confusion, confusion_figure
from experiments.folders.run import LayerRow, RunFolder
from experiments.models import measures
from experiments.models.mlp import MLP
from experiments.observers.layers import Layers
from experiments.observers.pictures import filters, grid
from experiments.training.engine import fit
from experiments.training.member import Member
from experiments.training.observer import Observer
from experiments.training.position import Plan, Position
from experiments.training.single import Single, Updating
from experiments.training.streams import Streams
from tests.helpers import SMALL, Commands, metrics, run_folders, summary, weights

CPU = torch.device("cpu")


def program(
    make: Any = torch.optim.SGD, updating: Updating | None = None, batch_norm: bool = True, **options: Any
) -> Single:
    """Three classes, 300 examples; the first 256 are the probe."""
    draw = torch.Generator().manual_seed(1)
    y = torch.arange(300) % 3
    split = Split(torch.randn(300, 6, generator=draw) + 2 * torch.eye(6)[y], y, lambda x: x, CPU)
    model = MLP((6,), 3, hidden=[7, 5], batch_norm=batch_norm)
    initializers.initialize(model, initializers.he, Streams(1).init)
    optimizer = make(model.parameters(), **{"lr": 0.1, **options})
    return Single(
        model, optimizer, {"train": split, "val": split, "test": split}, eval_batch_size=100, updating=updating
    )


def rows_of(folder: Path) -> dict[tuple[int, str], dict[str, float]]:
    """layers.csv: by step and quantity, the value of each layer."""
    found: dict[tuple[int, str], dict[str, float]] = defaultdict(dict)
    for row in RunFolder(folder).read_layers():
        found[row.step, row.quantity][row.layer] = row.value
    return found


def layers_of_training(
    folder: Path, made: Single, *observers: Observer, epochs: int = 2
) -> dict[tuple[int, str], dict[str, float]]:
    """Train with 5 updates an epoch."""
    member = Member(RunFolder(folder), Streams(1), 0.1, lambda *_: 1.0, "val/accuracy", observers=list(observers))
    fit(made, [member], Position(Plan(epochs, 60, 300, drop_last=False, validate=True)))
    return rows_of(folder)


class Diary(Observer):
    """Keeps the parameters before and after every update."""

    watches_updates = True

    def start(self, *known: Any) -> None:
        super().start(*known)
        self.seen: list[dict[str, Tensor]] = [self.now()]
        self.gradients: dict[int, dict[str, Tensor]] = {}

    def now(self) -> dict[str, Tensor]:
        return {name: p.detach().double().clone() for name, p in self.program.module(0).named_parameters()}

    def after_update(self, step: int) -> None:
        self.seen.append(self.now())
        self.gradients[step] = {n: g.double().clone() for n, g in self.program.gradients(0).items()}


OPTIMIZERS: dict[str, tuple[Any, dict[str, Any], Updating | None]] = {
    "sgd": (torch.optim.SGD, {}, None),
    "momentum and decay": (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}, None),
    "adam": (torch.optim.Adam, {"lr": 0.01}, None),
    "clipped": (torch.optim.SGD, {}, Updating(clip_norm=0.01)),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_updates_are_measured_whatever_the_optimizer_does(tmp_path: Path, optimizer: str) -> None:
    make, options, updating = OPTIMIZERS[optimizer]
    diary = Diary()
    found = layers_of_training(tmp_path, program(make, updating, **options), diary, Layers(), epochs=2)
    for step in (5, 10):
        older, old, new = diary.seen[step - 2 : step + 1]
        for name in new:
            if old[name].norm() > 0:
                ratio = (new[name] - old[name]).norm() / old[name].norm()
                assert found[step, "update_ratio"][name] == pytest.approx(float(ratio), rel=1e-3)
            one, two = (new[name] - old[name]).flatten(), (old[name] - older[name]).flatten()
            cosine = one @ two / (one.norm() * two.norm())
            assert found[step, "update_cosine"][name] == pytest.approx(float(cosine), rel=1e-2, abs=1e-3)
        norms = diary.gradients[step]
        together = math.hypot(norms["head.weight"].norm().item(), norms["head.bias"].norm().item())
        assert found[step, "update_gradient_norm"]["head"] == pytest.approx(together, rel=1e-4)
    assert not [step for step, _ in found if step not in (0, 5, 10)]


def test_activations_and_gradients_are_those_of_the_probe(tmp_path: Path) -> None:
    made = program(batch_norm=False)
    found = layers_of_training(tmp_path, made, Layers(), epochs=1)
    x, y = made.probe(0)
    model = made.model
    model.zero_grad()
    first = torch.relu(model.features.hidden1.linear(x))  # type: ignore[union-attr, operator]
    first.retain_grad()
    second = torch.relu(model.features.hidden2.linear(first))  # type: ignore[union-attr, operator]
    second.retain_grad()
    scores = model.head(second)  # type: ignore[operator]
    loss = nn.functional.cross_entropy(scores, y)
    loss.backward()
    name = "features.hidden1.activation"
    expected = {
        "activation_mean": first.mean(),
        "activation_std": first.std(correction=0),
        "dead": (first == 0).all(0).float().mean(),
        "signal": 256 * first.grad.square().mean().sqrt(),  # type: ignore[union-attr]
        "correlation": (np.abs(np.corrcoef(first.detach().numpy().T)).sum() - 7) / 42,
    }
    for quantity, value in expected.items():
        assert found[5, quantity][name] == pytest.approx(torch.as_tensor(value).item(), rel=1e-3), quantity
    ratio = first.grad.square().mean().sqrt() / second.grad.square().mean().sqrt()  # type: ignore[union-attr]
    assert found[5, "signal_ratio"]["model"] == pytest.approx(ratio.item(), rel=1e-3)
    assert found[5, "loss"]["model"] == pytest.approx(loss.item(), rel=1e-4)
    norm = torch.cat([p.grad.flatten() for p in model.head.parameters()]).norm()  # type: ignore[union-attr]
    assert found[5, "gradient_norm"]["head"] == pytest.approx(norm.item(), rel=1e-3)
    share = torch.bincount(scores.argmax(1)).max() / 256
    assert found[5, "top_class"]["model"] == pytest.approx(float(share))


def test_the_drift_of_batch_norm_is_the_distance_of_running_from_batch_statistics(tmp_path: Path) -> None:
    made = program()
    found = layers_of_training(tmp_path, made, Layers(), epochs=1)
    norm = made.model.features.hidden1.batch_norm  # type: ignore[union-attr]
    given = made.model.features.hidden1.linear(made.probe(0)[0])  # type: ignore[union-attr, operator]
    mean, variance = given.mean(0), given.var(0)
    drift = ((mean - norm.running_mean) / norm.running_var.sqrt()).square().mean().sqrt()  # type: ignore[union-attr, operator]
    spread = (variance.sqrt() / norm.running_var.sqrt()).log().square().mean().sqrt()  # type: ignore[union-attr, operator]
    name = "features.hidden1.batch_norm"
    assert found[5, "mean_drift"][name] == pytest.approx(drift.item(), rel=1e-3)
    assert found[5, "spread_drift"][name] == pytest.approx(spread.item(), rel=1e-3)
    assert found[0, "mean_drift"][name] > 0


def test_within_an_epoch_it_measures_as_often_as_configured(tmp_path: Path) -> None:
    found = layers_of_training(tmp_path, program(), Layers(every_steps=2))
    assert sorted({step for step, _ in found}) == [0, 2, 4, 5, 6, 8, 10]
    assert (2, "update_cosine") in found
    assert (2, "correlation") not in found
    assert set(found[4, "activation_std"]) == set(found[5, "activation_std"])
    alone = layers_of_training(tmp_path / "epochs", program(), Layers())
    for key in ((5, "activation_std"), (5, "update_ratio"), (10, "correlation"), (10, "gradient_norm")):
        assert found[key] == alone[key], "looking more often changes nothing that is seen"
    seldom = layers_of_training(tmp_path / "seldom", program(), Layers(every=2))
    assert sorted({step for step, _ in seldom}) == [0, 10]
    assert layers_of_training(tmp_path / "never", program(), Layers(every=0)) == {}


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_saturation_is_counted(activation: str) -> None:
    values = torch.tensor([[-20.0, 0.0], [20.0, 0.1]])
    module = {"tanh": nn.Tanh(), "sigmoid": nn.Sigmoid()}[activation]
    assert measures.saturated(module(values), *measures.SATURATION[type(module)]) == 0.5


def test_correlation_is_one_for_units_that_do_the_same_and_leaves_constant_ones_out() -> None:
    column = torch.randn(50, 1, generator=torch.Generator().manual_seed(0))
    same = torch.cat([column, -2 * column, torch.full((50, 1), 3.0)], 1)
    assert measures.correlation(same) == pytest.approx(1.0)
    assert measures.correlation(torch.cat([column, torch.ones(50, 1)], 1)).isnan()
    pictures = torch.randn(20, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    plain = pictures.permute(0, 2, 3, 1).reshape(-1, 3).numpy()
    assert measures.correlation(pictures) == pytest.approx((np.abs(np.corrcoef(plain.T)).sum() - 3) / 6, rel=1e-4)


def test_a_channel_is_dead_when_it_is_zero_everywhere() -> None:
    pictures = torch.zeros(5, 4, 3, 3)
    pictures[2, 1, 0, 0] = 1
    assert measures.dead(pictures) == 0.75


def test_equal_units_are_counted_whatever_their_size() -> None:
    rows = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))
    assert measures.twins(rows) == 0
    rows[3] = rows[8] * (1 + 1e-6)
    assert measures.twins(rows) == pytest.approx(0.2)
    rows[0] *= 1e9
    assert measures.twins(rows) == pytest.approx(0.2), "a large unit does not make the small ones equal"
    assert measures.twins(torch.zeros(4, 3)) == 1


@pytest.mark.slow
def test_a_resumed_run_has_the_rows_of_one_that_was_never_stopped(commands: Commands) -> None:
    plain = commands.trained("training.epochs=4", "data.limit=128", "observers.layers.every_steps=3")
    parted = commands.trained("training.epochs=2", "data.limit=128", "observers.layers.every_steps=3")
    extra = LayerRow(3, 999, "later", "than the checkpoint", 1.0)
    with (parted / "layers.csv").open("a") as file:
        file.write(str(extra))
    assert commands.train(f"resume={parted}", "training.epochs=4").code == 0
    whole, resumed = (RunFolder(folder).read_layers() for folder in (plain, parted))
    # The update before the first one after a resume is not known any more.
    assert resumed == [row for row in whole if (row.step, row.quantity) != (9, "update_cosine")]


@pytest.mark.slow
def test_observers_change_no_bit(commands: Commands) -> None:
    on = ["observers.layers.every_steps=1", "observers.pictures.enabled=true", "observers.tensorboard.enabled=true"]
    watched = commands.trained(*SMALL, *on, "model.batch_norm=true", "model.dropout=0.3")
    off = [f"observers.{name}.enabled=false" for name in ("layers", "pictures", "histograms")]
    alone = commands.trained(*SMALL, "model.batch_norm=true", "model.dropout=0.3", *off)
    assert metrics(watched) == metrics(alone)
    one, two = weights(watched), weights(alone)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not (alone / "layers.csv").exists()
    assert not (alone / "pictures").exists()


# Pictures.


@pytest.mark.slow
def test_a_run_leaves_pictures(commands: Commands) -> None:
    folder = commands.trained("training.epochs=2", "data.limit=200")
    assert {path.stem for path in (folder / "pictures").iterdir()} == {"filters", "layers", "confusion", "worst"}
    for path in (folder / "pictures").iterdir():
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"))
        assert min(pixels.shape) > 200
        inner = pixels[len(pixels) // 4 : -len(pixels) // 4, pixels.shape[1] // 4 : -pixels.shape[1] // 4]
        assert len(np.unique(inner)) > 20, f"{path.name} is blank"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("data=moons", "model.hidden=[5]"), {"layers", "confusion", "regions"}),
        (("model=cnn",), {"filters", "layers", "confusion", "worst"}),
        (("data.val_fraction=0",), {"filters", "layers", "confusion", "worst"}),
        (("training.epochs=0",), set()),
        (("optimizer=sgd", "optimizer.lr=1e9", "training.epochs=3"), set()),
        (("observers.tensorboard.enabled=false", "observers.layers.enabled=false"), {"filters", "confusion", "worst"}),
    ],
)
def test_pictures_are_drawn_if_there_is_something_to_see(
    commands: Commands, overrides: tuple[str, ...], expected: set[str]
) -> None:
    outcome = commands.train("training.epochs=1", "data.limit=100", *overrides)
    (folder,) = run_folders(commands.folder)
    assert (outcome.code, summary(folder)["status"]) in ((0, "finished"), (1, "diverged")), outcome.err
    assert {path.stem for path in (folder / "pictures").glob("*.png")} == expected


def test_filters_are_the_first_layers_weights_in_a_grid() -> None:
    model = MLP((1, 2, 3), 4, hidden=[5])
    image, largest = filters(model, (1, 2, 3)) or (np.zeros(0), 0.0)
    weight = model.get_parameter("features.hidden1.linear.weight").detach().numpy()
    assert largest == pytest.approx(np.quantile(np.abs(weight), 0.995))
    assert image.shape == (2 * 3 - 1, 3 * 4 - 1)
    assert np.array_equal(image[:2, 4:7], weight[1].reshape(2, 3))
    assert np.array_equal(image[3:5, 0:3], weight[3].reshape(2, 3))
    assert np.isnan(image[2]).all()
    assert filters(MLP((7,), 4, hidden=[5]), (7,)) is None
    assert grid(np.ones((4, 3, 5, 5), dtype=np.float32)).shape == (11, 11, 3)


def test_long_names_of_classes_leave_room_for_the_matrix() -> None:
    figure = confusion_figure(np.eye(3, dtype=np.int64), ["x" * 130, "y", "z" * 50], "training split")
    assert min(figure.axes[0].get_position().size) > 0.3


def test_the_confusion_matrix_equals_scikit_learns() -> None:
    from sklearn.metrics import confusion_matrix

    draw = torch.Generator().manual_seed(0)
    scores, y = torch.randn(200, 4, generator=draw), torch.randint(4, (200,), generator=draw)
    assert np.array_equal(confusion(scores, y), confusion_matrix(y, scores.argmax(1), labels=range(4)))
