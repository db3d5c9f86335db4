"""Optimizers on functions of one or two numbers; the functions themselves are named here for `conf/surface/`."""

from .functions import beale, quadratic, ravine, rosenbrock, saddle

__all__ = ["beale", "quadratic", "ravine", "rosenbrock", "saddle"]
