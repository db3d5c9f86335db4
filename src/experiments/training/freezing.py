"""Models of which a part is frozen: not trained, throughout or for the first epochs."""

from torch import nn

from .averaging import BatchNorm


def to_training_mode(model: nn.Module) -> None:
    """Put a model in training mode, but for the BatchNorms that are frozen."""
    model.train()
    for norm in frozen_norms(model).values():
        norm.eval()


def frozen_norms(model: nn.Module) -> dict[str, BatchNorm]:
    """Return, by name, the BatchNorms of which nothing is trained: they run in evaluation mode.

    So their running averages stay too, and what comes after them sees what it was trained on (as in Keras, where
    `trainable=False` means both). One without scale and shift is frozen with the module that it is in.
    """
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, BatchNorm) and is_frozen(model, name)
    }


def is_frozen(model: nn.Module, name: str) -> bool:
    """Whether no parameter of a module is trained; of the module around it, where it has none."""
    parameters = list(model.get_submodule(name).parameters())
    if not parameters and name:
        return is_frozen(model, name.rpartition(".")[0])
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
