"""Hand-written training loops: what the project is compared with."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LR = 1e-3


@dataclass(frozen=True)
class Arrays:
    """Examples in memory as a model takes them: x of shape (examples, features) in float32, y of (examples,)."""

    x: Tensor
    y: Tensor


def perceptron(inputs: int, hidden: Sequence[int], classes: int, parameters: Iterable[Tensor] = ()) -> nn.Sequential:
    """Build fully connected layers with ReLU between them.

    Args:
        inputs: features of an example.
        hidden: the size of each hidden layer.
        classes: scores.
        parameters: where each weight and bias begins; torch's own draw where there are none.
    """
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(inputs, size), nn.ReLU()]
        inputs = size
    model = nn.Sequential(*layers, nn.Linear(inputs, classes))
    given = list(parameters)
    with torch.no_grad():
        for own, other in zip(model.parameters(), given, strict=bool(given)):
            own.copy_(other)
    return model


def fused_epoch(model: nn.Module, train: Arrays, batch_size: int, generator: torch.Generator) -> Callable[[], None]:
    """Return an epoch of updates and nothing else, with the fused Adam: the strict peer."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True)

    def epoch() -> None:
        order = torch.randperm(len(train.y), generator=generator).to(train.y.device)
        for start in range(0, len(order), batch_size):
            index = order[start : start + batch_size]
            x, y = train.x.index_select(0, index), train.y.index_select(0, index)
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        wait(train.y.device)

    return epoch


def usual_epoch(model: nn.Module, train: Arrays, batch_size: int) -> Callable[[], None]:
    """Return an epoch as it is mostly written: Adam as it comes, and the loss read at every step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)

    def epoch() -> None:
        total = 0.0
        order = torch.randperm(len(train.y), device=train.y.device)
        for start in range(0, len(order), batch_size):
            index = order[start : start + batch_size]
            loss = F.cross_entropy(model(train.x[index]), train.y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        wait(train.y.device)

    return epoch


@torch.no_grad()
def evaluate(model: nn.Module, examples: Arrays, batch_size: int = 1000) -> tuple[float, float]:
    """Return the mean loss and the accuracy."""
    loss = torch.zeros((), dtype=torch.float64, device=examples.y.device)
    correct = torch.zeros((), dtype=torch.int64, device=examples.y.device)
    model.eval()
    for x, y in zip(examples.x.split(batch_size), examples.y.split(batch_size), strict=True):
        scores = model(x)
        loss += F.cross_entropy(scores, y, reduction="sum")
        correct += (scores.argmax(1) == y).sum()
    model.train()
    return loss.item() / len(examples.y), correct.item() / len(examples.y)


def loader(root: Path, examples: int, batch_size: int, workers: int) -> Iterable[tuple[Tensor, Tensor]]:
    """Return the usual loader: torchvision's MNIST through ToTensor and Normalize, picture by picture.

    Args:
        root: the folder that holds MNIST.
        examples: how many of the 60,000 to train on.
        batch_size: examples an update.
        workers: processes that prepare batches; 0 prepares them in the loop.
    """
    from torch.utils.data import DataLoader, random_split
    from torchvision import datasets, transforms

    prepare = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    everything = datasets.MNIST(root, train=True, transform=prepare)
    train, _ = random_split(everything, [examples, len(everything) - examples])
    return DataLoader(train, batch_size=batch_size, shuffle=True, num_workers=workers)


def loader_epoch(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
) -> Callable[[], None]:
    """Return an epoch of the usual loop over a loader."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)

    def epoch() -> None:
        total = 0.0
        for x, y in batches:
            x, y = x.to(device), y.to(device)
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        wait(device)

    return epoch


def wait(device: torch.device) -> None:
    """Wait for what was given to a device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
