"""Functions of one or two numbers, for watching optimizers; each works element by element on tensors of any shape.

The parameters of a function are its coordinates. The start, the minima and the range to draw are in `conf/surface/`.
"""

from torch import Tensor


def ravine(x: Tensor, y: Tensor) -> Tensor:
    """A long valley: x^2 / 20 + y^2, 20 times as steep across it as along it, with its minimum at (0, 0).

    (Saito 2016, 'Deep Learning from Scratch', equation 6.2.)
    """
    return x**2 / 20 + y**2


def quadratic(w: Tensor) -> Tensor:
    """A parabola: w^2 - 10 w + 25, with its minimum at 5 (Ng, 'Deep Learning' specialisation, course 2, week 3)."""
    return w**2 - 10 * w + 25


def saddle(x: Tensor, y: Tensor) -> Tensor:
    """A saddle between two basins: x^2 / 2 + y^4 / 4 - y^2 / 2, with minima at (0, -1) and (0, 1).

    From y = 0 every gradient method ends on the saddle point (0, 0) (Nesterov 2004, 'Introductory Lectures on Convex
    Optimization', example 1.2.2).
    """
    return x**2 / 2 + y**4 / 4 - y**2 / 2


def rosenbrock(x: Tensor, y: Tensor) -> Tensor:
    """A bent valley with a flat floor: (1 - x)^2 + 100 (y - x^2)^2, with its minimum at (1, 1).

    (Rosenbrock 1960, 'An automatic method for finding the greatest or least value of a function'.)
    """
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def beale(x: Tensor, y: Tensor) -> Tensor:
    """A flat floor between walls: (1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2.

    The minimum is at (3, 0.5). (Beale 1958; problem 5 of Moré, Garbow and Hillstrom 1981, 'Testing unconstrained
    optimization software'.)
    """
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2
