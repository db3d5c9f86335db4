"""Models with frozen parts, which are not trained at all or not in the first epochs."""

from torch import nn

from .averaging import BatchNorm


def to_training_mode(model: nn.Module) -> None:
    """Put a model in training mode, except for its frozen BatchNorms."""
    model.train()
    for norm in frozen_norms(model).values():
        norm.eval()


def frozen_norms(model: nn.Module) -> dict[str, BatchNorm]:
    """Return the frozen BatchNorms by name: they run in evaluation mode.

    So their running averages do not change either, and the layers after them see the inputs that they were trained on
    (as in Keras, where `trainable=False` means both). A BatchNorm without scale and shift is frozen with the module
    around it.
    """
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, BatchNorm) and is_frozen(model, name)
    }


def is_frozen(model: nn.Module, name: str) -> bool:
    """Whether no parameter of a module is trained; if it has none, of the module around it."""
    parameters = list(model.get_submodule(name).parameters())
    if not parameters and name:
        return is_frozen(model, name.rpartition(".")[0])
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
