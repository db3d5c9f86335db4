"""The classification models of torchvision."""

from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from .blocks import Dropout
from .cnn import picture_shape

ALONE = {"aux_logits": False, "init_weights": False}
"""For models that return several scores in training, of which the loss knows nothing, and warn of how they begin."""
SEVERAL = ("googlenet", "inception_v3")


def torchvision_model(input_shape: tuple[int, ...], classes: int, *, name: str, **settings: Any) -> nn.Module:
    """Build a model with as many scores as there are classes, and without trained weights.

    Grey pictures are repeated for the three channels of the first convolution, so that it has the same weights, and
    trained ones fit. Dropout draws from the run's stream.

    Args:
        input_shape: (channels, height, width) of one example; 1 or 3 channels.
        classes: how many scores.
        name: of the model's builder, such as resnet18.
        settings: what the builder takes besides.

    Raises:
        ValueError: there is no such model, it refuses a setting, or the inputs are no pictures in grey or colour.
    """
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        close = get_close_matches(str(name), names, n=1, cutoff=0.5)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        families = sorted({own.partition("_")[0].rstrip("0123456789") for own in names})
        raise ValueError(f"name={name!r} is no classification model of torchvision: {', '.join(families)}{meant}")
    channels, _, _ = picture_shape(input_shape)
    if channels not in (1, 3):
        raise ValueError(f"{name} takes pictures of 1 or 3 channels, but these have {channels}; use model=cnn")
    for given in ("weights", "weights_backbone", "num_classes", "progress"):
        if given in settings:
            raise ValueError(
                f"{given} is no setting here: classes are the data's, and trained weights come by init_from"
            )
    try:
        model = models.get_model(
            name, weights=None, num_classes=classes, **(ALONE if name in SEVERAL else {}) | settings
        )
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
    """A convolution of colour pictures that is given grey ones."""

    def forward(self, x: Tensor) -> Tensor:
        """Return what three equal channels of x, (batch, 1, height, width), give."""
        return super().forward(x.expand(-1, 3, -1, -1))
