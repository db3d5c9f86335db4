"""The classification models of torchvision."""

from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from .blocks import Dropout
from .cnn import picture_shape

ONE_OUTPUT = {"aux_logits": False, "init_weights": False}
"""Settings for the models of `SEVERAL_OUTPUTS`: only one output, and no warning about their initialization."""
SEVERAL_OUTPUTS = ("googlenet", "inception_v3")
"""Models that return several outputs in training, but the loss takes one."""


def torchvision_model(input_shape: tuple[int, ...], classes: int, *, name: str, **settings: Any) -> nn.Module:
    """Build a model with one score per class and without trained weights.

    A grey picture is repeated for the three channels of the first convolution. So the convolution has weights of the
    usual shape, and trained weights fit. Dropout draws from the run's stream.

    Args:
        input_shape: (channels, height, width) of one example; 1 or 3 channels.
        classes: the number of classes, and of scores.
        name: the name of the model's builder in torchvision, such as resnet18.
        settings: further settings of the builder.

    Raises:
        ValueError: there is no such model, it refuses a setting, or the inputs are not pictures in grey or colour.
    """
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        close = get_close_matches(str(name), names, n=1, cutoff=0.5)
        meant = f"; did you mean 'name={close[0]}'?" if close else ""
        families = sorted({own.partition("_")[0].rstrip("0123456789") for own in names})
        raise ValueError(
            f"name={name!r} is not a classification model of torchvision; choose from the families "
            f"{', '.join(families)}{meant}"
        )
    channels, _, _ = picture_shape(input_shape)
    if channels not in (1, 3):
        raise ValueError(f"{name} takes pictures with 1 or 3 channels, but these have {channels}; use model=cnn")
    for given in ("weights", "weights_backbone", "num_classes", "progress"):
        if given in settings:
            raise ValueError(
                f"{given} cannot be set here: the data set defines the classes, and init_from loads trained weights"
            )
    try:
        outputs = ONE_OUTPUT if name in SEVERAL_OUTPUTS else {}
        model = models.get_model(name, weights=None, num_classes=classes, **outputs | settings)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ValueError(f"{name} cannot be built with {settings}: {error}") from error
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = Dropout
    if channels == 1:
        first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
        first.__class__ = GreyConv2d
    return model


class GreyConv2d(nn.Conv2d):
    """A convolution for colour pictures whose inputs are grey pictures."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of x, (batch, 1, height, width), repeated for three channels."""
        return super().forward(x.expand(-1, 3, -1, -1))
