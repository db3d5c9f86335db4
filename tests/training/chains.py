"""Programs of chains of layers, with the same examples, weights and draws in every call."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from experiments import initializers, losses
from experiments.data.batches import Split
from experiments.models.blocks import use_noise
from experiments.models.cnn import CNN
from experiments.models.mlp import MLP
from experiments.optimizers import build, parameter_groups
from experiments.penalties import MaxNorm
from experiments.training.criterion import Criterion
from experiments.training.explicit import Explicit, suits
from experiments.training.single import Single, Updating
from experiments.training.streams import Streams

CPU = torch.device("cpu")
Optimizer = Callable[..., torch.optim.Optimizer]

OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": partial(torch.optim.SGD, lr=0.05),
    "decay": partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "momentum": partial(torch.optim.SGD, lr=0.05, momentum=0.9),
    "adam": partial(torch.optim.Adam, lr=0.01),
    "amsgrad": partial(torch.optim.Adam, lr=0.01, amsgrad=True, weight_decay=0.01),
    "adamw": partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
    "adagrad": partial(torch.optim.Adagrad, lr=0.05, lr_decay=0.01),
    "rmsprop": partial(torch.optim.RMSprop, lr=0.005),
    "lbfgs": partial(torch.optim.LBFGS, max_iter=2),
}
MODELS: dict[str, Callable[[str], nn.Module]] = {
    "linear": lambda _: MLP((2, 6, 6), 3, hidden=[]),
    "mlp": lambda name: MLP((2, 6, 6), 3, hidden=[9, 7], activation=name),
    "batch": lambda name: MLP((2, 6, 6), 3, hidden=[9, 7], activation=name, norm="batch", dropout=0.3),
    "layer": lambda name: MLP((2, 6, 6), 3, hidden=[9, 7], activation=name, norm="layer", input_dropout=0.2),
    "cnn": lambda name: CNN((2, 6, 6), 3, stages=[[3], [4, 4]], hidden=[5], activation=name, dropout=0.2),
    "cnn batch": lambda name: CNN(
        (2, 6, 6), 3, stages=[[4], [4]], hidden=[], activation=name, norm="batch", pool="average", depthwise=True
    ),
}
ACTIVATIONS = ("relu", "sigmoid", "tanh", "leaky_relu", "elu", "silu", "gelu", "softplus", "identity")
CRITERIA: dict[str, Callable[[], Criterion]] = {
    "cross-entropy": Criterion,
    "smoothed": lambda: Criterion(partial(losses.cross_entropy, label_smoothing=0.1)),
    "weighted": lambda: Criterion(class_weights=torch.tensor([0.5, 1.0, 1.5])),
    "hinge, bounded": lambda: Criterion(losses.hinge, MaxNorm(1.0)),
    "mse": lambda: Criterion(losses.mse),
}


def program_of(
    kind: type[Single],
    model: nn.Module,
    optimizer: Optimizer = OPTIMIZERS["adam"],
    criterion: Criterion | None = None,
    dtype: torch.dtype = torch.float32,
    augments: Any = (),
    **updating: Any,
) -> Single:
    """A program with the same examples, weights and draws in every call."""
    streams, draw = Streams(0), torch.Generator().manual_seed(5)
    initializers.initialize(model, initializers.he, streams.init)
    use_noise(model, streams.noise)
    model.to(dtype)
    y = torch.arange(45) % 3
    x = torch.randn(45, 2, 6, 6, generator=draw).to(dtype) + y.view(-1, 1, 1, 1)
    split = Split(x, y, lambda batch: batch, CPU)
    criterion = criterion or Criterion()
    if criterion.class_weights is not None:
        criterion.class_weights = criterion.class_weights.to(dtype)
    settings = Updating(**updating)
    if kind is Explicit:
        assert suits(model, criterion, settings, CPU, thaws=False)
    decays = "weight_decay" in getattr(optimizer, "keywords", {})
    built = build(optimizer, parameter_groups(model, decays=decays and optimizer is not OPTIMIZERS["lbfgs"]))
    return kind(
        model,
        built,
        {"train": split, "val": split},
        eval_batch_size=20,
        criterion=criterion,
        updating=settings,
        augments=augments,
        noise=streams.noise,
    )
