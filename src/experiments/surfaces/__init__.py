"""Optimizers on functions of one or two numbers; `conf/surface/` names the functions by this package."""

from .functions import beale, quadratic, ravine, rosenbrock, saddle

__all__ = ["beale", "quadratic", "ravine", "rosenbrock", "saddle"]
