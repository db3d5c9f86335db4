"""The update rules of torch's optimizers, for many runs at once.

A rule sees the parameters of several runs as one matrix with a row per run, and their hyperparameters as columns, so
that every run has its own. Each rule agrees with its class of `torch.optim` and uses the same names of states and
hyperparameters: that class can continue from the checkpoint of a stack, and a stack from the checkpoint of that class.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from experiments.optimizers import Muon


class Slice(NamedTuple):
    """The runs that a rule updates, and the numbers that it needs.

    Args:
        p: (runs, parameters), the weights, changed in place.
        g: (runs, parameters), their gradients, which observers read afterwards.
        state: (runs, parameters) each, changed in place.
        hyper: the hyperparameters, (runs, 1), or (runs, parameters) if groups of parameters differ.
        lr: the scheduled rates, in the same shapes.
        t: the number of the update, counted from 1; (runs, 1) if it differs between the runs.
    """

    p: Tensor
    g: Tensor
    state: Mapping[str, Tensor]
    hyper: Mapping[str, Tensor]
    lr: Tensor
    t: int | Tensor


UpdateRule = Callable[[Slice], None]


@dataclass(frozen=True)
class Rule:
    """How a class of optimizers updates.

    Args:
        update: one update of all runs.
        hyper: the hyperparameters that it uses.
        slots: its states of a parameter's shape, by torch's names, each with the hyperparameter of its first value.
        counted: whether torch counts the updates in a state of each parameter.
        eager: whether torch creates the states before the first update.
        scalars: states of one number per parameter, with their first values; they differ within a run only if the
            rates of its parameters do.
    """

    update: UpdateRule
    hyper: tuple[str, ...]
    slots: Mapping[str, str | None] = field(default_factory=dict)
    counted: bool = True
    eager: bool = False
    scalars: Mapping[str, float] = field(default_factory=dict)


def decayed(s: Slice) -> Tensor:
    """Return the gradient with the coupled weight decay, `g + wd p`, as a new tensor."""
    return torch.addcmul(s.g, s.p, s.hyper["weight_decay"])


def decay_apart(s: Slice) -> None:
    """Shrink the weights by the decoupled decay, `p (1 - lr wd)` (Loshchilov and Hutter 2019)."""
    s.p.mul_(1 - s.lr * s.hyper["weight_decay"])


def left(beta: Tensor, t: int | Tensor) -> Tensor:
    """Return `1 - beta^t`, the total weight of the values in a running average that started at zero."""
    return (1 - beta.double() ** t).to(beta.dtype)


def moments(s: Slice, g: Tensor) -> tuple[Tensor, Tensor]:
    """Update the running averages of the gradient and of its square, and return them."""
    m, v = s.state["exp_avg"], s.state["exp_avg_sq"]
    m.lerp_(g, 1 - s.hyper["beta1"])
    v.lerp_(g * g, 1 - s.hyper["beta2"])
    return m, v


def sgd(s: Slice) -> None:
    """`p - lr g`."""
    s.p.addcmul_(decayed(s), s.lr, value=-1)


def moved(s: Slice, g: Tensor) -> Tensor:
    """Update SGD's momentum buffer, which starts as the first gradient, and return it."""
    buffer = s.state["momentum_buffer"]
    if s.t == 1:
        return buffer.copy_(g)
    return buffer.mul_(s.hyper["momentum"]).addcmul_(g, 1 - s.hyper["dampening"])


def momentum(s: Slice) -> None:
    """`b = m b + (1 - dampening) g; p - lr b` (Polyak 1964)."""
    s.p.addcmul_(moved(s, decayed(s)), s.lr, value=-1)


def nesterov(s: Slice) -> None:
    """`b = m b + g; p - lr (g + m b)` (Sutskever et al. 2013)."""
    g = decayed(s)
    s.p.addcmul_(g.addcmul_(moved(s, g), s.hyper["momentum"]), s.lr, value=-1)


def adagrad(s: Slice) -> None:
    """`sum += g^2; p - lr g / (sqrt(sum) + eps)`, with `lr / (1 + (t - 1) lr_decay)` (Duchi et al. 2011)."""
    g = decayed(s)
    rate = s.lr / (1 + (s.t - 1) * s.hyper["lr_decay"])
    total = s.state["sum"].addcmul_(g, g)
    s.p.addcdiv_(g.mul_(rate), total.sqrt().add_(s.hyper["eps"]), value=-1)


def adadelta(s: Slice) -> None:
    """Rates from running averages of squared gradients and squared updates (Zeiler 2012)."""
    g, rho, eps = decayed(s), s.hyper["rho"], s.hyper["eps"]
    squares, changes = s.state["square_avg"], s.state["acc_delta"]
    squares.lerp_(g * g, 1 - rho)
    delta = (changes + eps).sqrt_().div_((squares + eps).sqrt_()).mul_(g)
    changes.lerp_(delta * delta, 1 - rho)
    s.p.addcmul_(delta, s.lr, value=-1)


def by_mean_square(s: Slice) -> Tensor:
    """Return the gradient divided by the root of the running average of its square."""
    g = decayed(s)
    squares = s.state["square_avg"].lerp_(g * g, 1 - s.hyper["alpha"])
    return g.div_(squares.sqrt().add_(s.hyper["eps"]))


def rmsprop(s: Slice) -> None:
    """`v = alpha v + (1 - alpha) g^2; p - lr g / (sqrt(v) + eps)` (Tieleman and Hinton 2012)."""
    s.p.addcmul_(by_mean_square(s), s.lr, value=-1)


def rmsprop_momentum(s: Slice) -> None:
    """RMSprop with momentum of the divided gradient."""
    buffer = s.state["momentum_buffer"].mul_(s.hyper["momentum"]).add_(by_mean_square(s))
    s.p.addcmul_(buffer, s.lr, value=-1)


def adam_step(s: Slice, g: Tensor) -> None:
    """`p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)`."""
    m, v = moments(s, g)
    divisor = v.sqrt().div_(left(s.hyper["beta2"], s.t).sqrt()).add_(s.hyper["eps"])
    s.p.addcmul_(divisor.reciprocal_().mul_(m), s.lr / left(s.hyper["beta1"], s.t), value=-1)


def adam(s: Slice) -> None:
    """Momentum and RMSprop with bias correction (Kingma and Ba 2015, algorithm 1)."""
    adam_step(s, decayed(s))


def adamw(s: Slice) -> None:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2)."""
    decay_apart(s)
    adam_step(s, s.g)


def adamax(s: Slice) -> None:
    """`u = max(beta2 u, |g| + eps); p - lr / (1 - beta1^t) m / u` (Kingma and Ba 2015, algorithm 2)."""
    g = decayed(s)
    m = s.state["exp_avg"].lerp_(g, 1 - s.hyper["beta1"])
    largest = s.state["exp_inf"].mul_(s.hyper["beta2"])
    torch.maximum(largest, g.abs().add_(s.hyper["eps"]), out=largest)
    s.p.addcmul_(m / largest, s.lr / left(s.hyper["beta1"], s.t), value=-1)


def nadam_step(s: Slice, g: Tensor) -> None:
    """Adam with Nesterov's momentum, whose coefficient warms up by `momentum_decay` (Dozat 2016)."""
    m, v = moments(s, g)
    beta, speed = s.hyper["beta1"].double(), s.hyper["momentum_decay"].double()
    now = beta * (1 - 0.5 * 0.96 ** (s.t * speed))
    then = beta * (1 - 0.5 * 0.96 ** ((s.t + 1) * speed))
    product = s.state["mu_product"].mul_(now.to(s.p.dtype)).double()
    divisor = v.div(left(s.hyper["beta2"], s.t)).sqrt_().add_(s.hyper["eps"])
    of_gradient = (s.lr * (1 - now) / (1 - product)).to(s.p.dtype)
    of_average = (s.lr * then / (1 - product * then)).to(s.p.dtype)
    s.p.sub_((g * of_gradient).addcmul_(m, of_average).div_(divisor))


def nadam(s: Slice) -> None:
    """NAdam with the decay in the gradient."""
    nadam_step(s, decayed(s))


def nadam_decoupled(s: Slice) -> None:
    """NAdam with decoupled weight decay."""
    decay_apart(s)
    nadam_step(s, s.g)


def radam_step(s: Slice, g: Tensor) -> None:
    """Adam whose adaptive rate starts when its variance is tractable, `rho_t > 5` (Liu et al. 2020)."""
    m, v = moments(s, g)
    beta = s.hyper["beta2"].double()
    seen = 1 - beta**s.t
    longest = 2 / (1 - beta) - 1
    length = longest - 2 * s.t * beta**s.t / seen
    ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    rectified = length > 5
    factor = (ratio.clamp_min(0) * seen).sqrt().to(s.p.dtype)
    adaptive = torch.where(rectified, factor / v.sqrt().add_(s.hyper["eps"]), 1.0)
    s.p.addcmul_(adaptive.to(s.p.dtype).mul_(m), s.lr / left(s.hyper["beta1"], s.t), value=-1)


def radam(s: Slice) -> None:
    """RAdam with the decay in the gradient."""
    radam_step(s, decayed(s))


def radam_decoupled(s: Slice) -> None:
    """RAdam with decoupled weight decay."""
    decay_apart(s)
    radam_step(s, s.g)


def begin(s: Slice, name: str, value: Tensor) -> None:
    """Set a state before the first update of a run."""
    state = s.state[name]
    if isinstance(s.t, Tensor):
        state.copy_(torch.where(s.t == 1, value.to(state), state))
    elif s.t == 1:
        state.copy_(value)


def asgd(s: Slice) -> None:
    """SGD with a falling rate and weights that decay by it, whose average is kept (Polyak and Juditsky 1992).

    `eta` and `mu`, of the next update, are in single precision, as torch's are.
    """
    begin(s, "eta", s.lr.float())
    ax, eta, mu = s.state["ax"], s.state["eta"], s.state["mu"]
    g = decayed(s)
    s.p.mul_(1 - s.hyper["lambd"] * eta).addcmul_(g, eta, value=-1)
    ax.copy_(torch.where(mu == 1, s.p, ax + (s.p - ax) * mu))
    lr, lambd = s.lr.double(), s.hyper["lambd"].double()
    eta.copy_((lr / (1 + lambd * lr * s.t) ** s.hyper["alpha"].double()).float())
    mu.copy_((1 / (s.t - s.hyper["t0"].double()).clamp_min(1)).float())


def rprop(s: Slice) -> None:
    """A step size for each weight, which grows while the sign of its gradient stays (Riedmiller and Braun 1993).

    After a change of the sign the weight stays for one update.
    """
    begin(s, "step_size", s.lr)
    previous, size = s.state["prev"], s.state["step_size"]
    sign = (s.g * previous).sign_()
    factor = torch.where(sign > 0, s.hyper["etaplus"], torch.where(sign < 0, s.hyper["etaminus"], 1.0))
    size.mul_(factor)
    torch.minimum(torch.maximum(size, s.hyper["smallest"], out=size), s.hyper["largest"], out=size)
    previous.copy_(torch.where(sign < 0, 0.0, s.g))
    s.p.addcmul_(previous.sign(), size, value=-1)


ADAM = ("beta1", "beta2", "eps", "weight_decay")
MOMENTS: Mapping[str, str | None] = {"exp_avg": None, "exp_avg_sq": None}
DECAY = ("weight_decay",)

SGD = Rule(sgd, DECAY, counted=False)
MOMENTUM = Rule(momentum, (*DECAY, "momentum", "dampening"), {"momentum_buffer": None}, counted=False)
NESTEROV = Rule(nesterov, (*DECAY, "momentum", "dampening"), {"momentum_buffer": None}, counted=False)
ADAGRAD = Rule(adagrad, (*DECAY, "lr_decay", "eps"), {"sum": "initial_accumulator_value"}, eager=True)
ADADELTA = Rule(adadelta, (*DECAY, "rho", "eps"), {"square_avg": None, "acc_delta": None})
RMSPROP = Rule(rmsprop, (*DECAY, "alpha", "eps"), {"square_avg": None})
RMSPROP_MOMENTUM = Rule(
    rmsprop_momentum, (*DECAY, "alpha", "eps", "momentum"), {"square_avg": None, "momentum_buffer": None}
)
ADAM_RULE = Rule(adam, ADAM, MOMENTS)
ADAMW = Rule(adamw, ADAM, MOMENTS)
ADAMAX = Rule(adamax, ADAM, {"exp_avg": None, "exp_inf": None})
NADAM = Rule(nadam, (*ADAM, "momentum_decay"), MOMENTS, scalars={"mu_product": 1.0})
NADAM_DECOUPLED = Rule(nadam_decoupled, (*ADAM, "momentum_decay"), MOMENTS, scalars={"mu_product": 1.0})
RADAM = Rule(radam, ADAM, MOMENTS)
RADAM_DECOUPLED = Rule(radam_decoupled, ADAM, MOMENTS)
ASGD = Rule(asgd, (*DECAY, "lambd", "alpha", "t0"), {"ax": None}, scalars={"eta": 0.0, "mu": 1.0})
RPROP = Rule(rprop, ("etaminus", "etaplus", "smallest", "largest"), {"prev": None, "step_size": None})
MUON = Rule(adamw, (*ADAM, "momentum"), {**MOMENTS, "momentum_buffer": None})
"""Of our `Muon`: this is its AdamW; `_muon` updates the matrices."""

RULES = (
    SGD,
    MOMENTUM,
    NESTEROV,
    ADAGRAD,
    ADADELTA,
    RMSPROP,
    RMSPROP_MOMENTUM,
    ADAM_RULE,
    ADAMW,
    ADAMAX,
    NADAM,
    NADAM_DECOUPLED,
    RADAM,
    RADAM_DECOUPLED,
    ASGD,
    RPROP,
    MUON,
)
"""All rules, in the order of their members in a stack."""

UNSUPPORTED = ("amsgrad", "centered", "maximize", "differentiable", "capturable")
"""Settings of torch's optimizers that no rule here supports."""


def rule_of(kind: type, settings: Mapping[str, Any]) -> Rule | None:
    """Return the rule of an optimizer's class, or None if there is none.

    Args:
        kind: the class itself; a class derived from torch's may do anything.
        settings: its hyperparameters, as in a parameter group.
    """
    if any(settings.get(name) for name in UNSUPPORTED):
        return None
    moving = bool(settings.get("momentum"))
    apart = bool(settings.get("decoupled_weight_decay"))
    rules: dict[type, Rule] = {
        torch.optim.SGD: NESTEROV if settings.get("nesterov") else MOMENTUM if moving else SGD,
        torch.optim.Adagrad: ADAGRAD,
        torch.optim.Adadelta: ADADELTA,
        torch.optim.RMSprop: RMSPROP_MOMENTUM if moving else RMSPROP,
        torch.optim.Adam: ADAMW if apart else ADAM_RULE,
        torch.optim.AdamW: ADAMW,
        torch.optim.Adamax: ADAMAX,
        torch.optim.NAdam: NADAM_DECOUPLED if apart else NADAM,
        torch.optim.RAdam: RADAM_DECOUPLED if apart else RADAM,
        torch.optim.ASGD: ASGD,
        torch.optim.Rprop: RPROP,
        Muon: MUON,
    }
    return rules.get(kind)


PAIRS: Mapping[str, tuple[str, int]] = {
    "beta1": ("betas", 0),
    "beta2": ("betas", 1),
    "etaminus": ("etas", 0),
    "etaplus": ("etas", 1),
    "smallest": ("step_sizes", 0),
    "largest": ("step_sizes", 1),
}
"""Hyperparameters that torch has in pairs."""


def hyperparameter(group: Mapping[str, Any], name: str) -> float:
    """Return a hyperparameter of a parameter group by the rules' name for it."""
    option, number = PAIRS.get(name, (name, None))
    return float(group[option] if number is None else group[option][number])
