"""A surface, and what descends it."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from experiments.assembly.parts import optimizer
from experiments.assembly.targets import Config, divided, located, target
from experiments.common.errors import UserError
from experiments.common.signatures import TARGET, checked, parameters_of, shown
from experiments.common.text import one_line

from .descent import Surface

READ_BY_OPTIMIZER = "rates"
"""The one setting of a surface that is not read here, but by `optimizer.lr` in `conf/surface.yaml`."""


def surface(config: Config) -> tuple[Surface, list[str]]:
    """Build the surface; also returns the names of its coordinates."""
    section = config["surface"]
    common, own = divided({k: v for k, v in section.items() if k != READ_BY_OPTIMIZER}, Surface)
    settings = checked(Surface, common, "surface", supplied=("function",))
    coordinates = coordinates_of(located(own, "surface"), own)
    function = target(own, "surface", supplied=tuple(coordinates))
    made = Surface(function, **settings)
    given: dict[str, Sequence[Any]] = {"start": made.start}
    given |= {f"minima[{number}]": place for number, place in enumerate(made.minima)}
    given |= {"view": made.view} if made.view is not None else {}
    for key, place in given.items():
        if len(place) != len(coordinates):
            names = ", ".join(coordinates)
            raise UserError(f"surface.{key}={shown(place)} should have one item for each coordinate: {names}")
    for low, high in made.view or ():
        if low >= high:
            raise UserError(f"surface.view={shown(made.view)} should have a lower and a higher number in each range")
    refuse(made, section[TARGET])
    return made, coordinates


def coordinates_of(function: Callable[..., Any], settings: Config) -> list[str]:
    """Return the parameters of a function that no setting gives: one or two."""
    found = [
        name
        for name, parameter in (parameters_of(function) or {}).items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        and parameter.default is inspect.Parameter.empty
        and name not in settings
    ]
    if len(found) not in (1, 2):
        raise UserError(
            f"surface._target_={settings[TARGET]!r} takes {len(found)} coordinates (parameters that have no default); "
            "expected one or two"
        )
    return found


def refuse(made: Surface, name: str) -> None:
    """Refuse a function that cannot be followed from the start, or not be drawn."""
    places = torch.tensor([made.start, made.start], dtype=torch.float64).T.requires_grad_()
    try:
        values = made.function(*places)
    except Exception as error:  # whatever a user's own code raises
        raise UserError(f"surface: {name} cannot be called with the start: {one_line(error)}") from error
    if not isinstance(values, Tensor) or values.shape != (2,):
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise UserError(f"surface: {name} returns {got} for coordinates of shape (2,), expected values of that shape")
    if not values.requires_grad:
        raise UserError(f"surface: {name} has no gradient; compute it from its coordinates, by functions of torch")
    if not values.isfinite().all():
        raise UserError(f"surface.start={shown(made.start)} is where {name} is {values[0].item()}; start elsewhere")


def descender(config: Config) -> Callable[[list[nn.Parameter]], torch.optim.Optimizer]:
    """Return what makes the optimizer of a point."""
    name = config["optimizer"].get(TARGET)
    if "hidden" in (parameters_of(located(config["optimizer"], "optimizer")) or {}):
        raise UserError(f"optimizer._target_={name!r} updates weight matrices, and a surface has none; take another")
    return lambda parameters: optimizer(config, nn.ParameterList(parameters))[0]
