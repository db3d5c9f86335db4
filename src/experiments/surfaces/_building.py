"""Builds a surface and its optimizer from the configuration."""

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
"""The one setting of a surface that is not read here: `optimizer.lr` in `conf/surface.yaml` reads it."""


def surface_of(config: Config) -> tuple[Surface, list[str]]:
    """Build the surface; return it with the names of its coordinates."""
    section = config["surface"]
    common, own = divided({k: v for k, v in section.items() if k != READ_BY_OPTIMIZER}, Surface)
    settings = checked(Surface, common, "surface", supplied=("function",))
    coordinates = coordinates_of(located(own, "surface"), own)
    function = target(own, "surface", supplied=tuple(coordinates))
    surface = Surface(function, **settings)
    sequences: dict[str, Sequence[Any]] = {"start": surface.start}
    sequences |= {f"minima[{index}]": minimum for index, minimum in enumerate(surface.minima)}
    sequences |= {"view": surface.view} if surface.view is not None else {}
    for key, items in sequences.items():
        if len(items) != len(coordinates):
            names = ", ".join(coordinates)
            raise UserError(f"surface.{key}={shown(items)} should have one item for each coordinate: {names}")
    for low, high in surface.view or ():
        if low >= high:
            raise UserError(f"surface.view={shown(surface.view)} should have a lower and a higher number in each range")
    check_start(surface, section[TARGET])
    return surface, coordinates


def coordinates_of(function: Callable[..., Any], settings: Config) -> list[str]:
    """Return the parameters of a function that are not settings: one or two."""
    names = [
        name
        for name, parameter in (parameters_of(function) or {}).items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        and parameter.default is inspect.Parameter.empty
        and name not in settings
    ]
    if len(names) not in (1, 2):
        raise UserError(
            f"surface._target_={settings[TARGET]!r} takes {len(names)} coordinates (parameters without a default); "
            "expected one or two"
        )
    return names


def check_start(surface: Surface, name: str) -> None:
    """Check that a function can be called, differentiated and drawn, with two points at the start.

    Raises:
        UserError: it cannot.
    """
    points = torch.tensor([surface.start, surface.start], dtype=torch.float64).T.requires_grad_()
    try:
        values = surface.function(*points)
    except Exception as error:  # a user's own code may raise anything
        raise UserError(f"surface: {name} cannot be called with the start: {one_line(error)}") from error
    if not isinstance(values, Tensor) or values.shape != (2,):
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise UserError(f"surface: {name} returns {got} for coordinates of shape (2,); expected values of that shape")
    if not values.requires_grad:
        raise UserError(f"surface: {name} has no gradient; compute it from its coordinates with functions of torch")
    if not values.isfinite().all():
        value = values[0].item()
        raise UserError(f"surface.start={shown(surface.start)} should have a finite value; {name} is {value} there")


def descender(config: Config) -> Callable[[list[nn.Parameter]], torch.optim.Optimizer]:
    """Return a function that builds the optimizer for a point."""
    name = config["optimizer"].get(TARGET)
    if "hidden" in (parameters_of(located(config["optimizer"], "optimizer")) or {}):
        raise UserError(f"optimizer._target_={name!r} updates weight matrices, and a surface has none; choose another")
    return lambda parameters: optimizer(config, nn.ParameterList(parameters))[0]
