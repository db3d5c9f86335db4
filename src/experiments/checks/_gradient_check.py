"""The gradient check: backward compared with finite differences of forward, in float64 (CS231n, 'Gradient checks')."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from experiments.training.averaging import BatchNorm
from experiments.training.criterion import Criterion, penalized_weights
from experiments.training.streams import undrawn

from ._subject import CheckResult, Subject, without_dropout

EXAMPLES = 8
ELEMENTS = 10
"""Elements of each parameter that are checked; fewer if there are many parameters."""
FEW_ELEMENTS = 4
MANY_PARAMETERS = 40
STEP = 1e-5
WRONG, DOUBTFUL, GOOD = 1e-2, 1e-4, 1e-7
"""Relative errors, as in CS231n. Kinks are left out, so everything above `DOUBTFUL` is an error."""
BURN_IN = 30
"""Updates before the second check: at the start a gradient may be right by accident."""
EPSILON = torch.finfo(torch.float64).eps

Losses = Callable[[], Tensor]
"""Returns the data loss and the penalty, (2,), of the current parameters."""


@dataclass
class CheckedElement:
    """One element of a parameter, with the error of its gradient.

    Args:
        parameter: its name.
        error: the largest relative error of the data loss, the penalty and both.
        kink: whether the loss has a kink here, which explains the error.
    """

    parameter: str
    error: float
    kink: bool


def gradient(subject: Subject) -> CheckResult:
    """Compare the gradient of every parameter with centred differences, before and after a few updates."""
    model = subject.copy(dropout=False)
    try:
        start = compare(subject, model)
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        return CheckResult("not run", f"up to {DOUBTFUL:g}", "skip", f"The model does not run in float64: {reason}.")
    burnt = burnt_in(subject)
    later = compare(subject, burnt) if burnt is not None else []
    compared = [*start, *later]
    wrong = [one for one in compared if not one.kink and one.error > DOUBTFUL]
    smooth = [one.error for one in compared if not one.kink]
    worst = max(smooth, default=0.0)
    kinks = len(compared) - len(smooth)
    word = "wrong" if worst > WRONG else "doubtful" if worst > DOUBTFUL else "good" if worst <= GOOD else "passable"
    numbers: dict[str, Any] = {
        "relative_error": worst, "elements": len(compared), "kinks": kinks,
        "wrong_parameters": list(dict.fromkeys(one.parameter for one in wrong)),
        "after_updates": BURN_IN if later else 0,
    }  # fmt: skip
    measured = f"{worst:.1e}, {word} ({len(compared)} weights, {kinks} at a kink)"
    expected = f"relative error up to {DOUBTFUL:g}"
    if not wrong:
        advice = (
            "" if later else "After a few updates the weights were not finite; only the initial weights were checked."
        )
        return CheckResult(measured, expected, "pass", advice, numbers)
    at_fault = culprit(subject, model if any(one.error > DOUBTFUL for one in start) else burnt or model)
    numbers["layer"] = at_fault
    names = numbers["wrong_parameters"]
    listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    advice = f"The gradients of {listed} are wrong."
    if at_fault:
        advice = f"The backward pass of {at_fault} does not match its forward pass. {advice}"
    return CheckResult(measured, expected, "fail", advice, numbers)


def burnt_in(subject: Subject) -> nn.Module | None:
    """Return a copy after a few updates like the run's; None if its weights are not finite."""
    model = subject.copy()
    program = subject.program(model)
    if program.needs_closure:
        program.step(torch.arange(len(subject.splits["train"]), device=program.index_device)[None], [subject.rate])
    else:
        for _, index in zip(range(BURN_IN), subject.batches("burn-in"), strict=False):
            program.step(index, [subject.rate])
    without_dropout(model)
    return model if all(bool(p.isfinite().all()) for p in model.parameters()) else None


def compare(subject: Subject, model: nn.Module) -> list[CheckedElement]:
    """Compare a sample of the elements of every parameter."""
    model, losses = in_double(subject, model)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with torch.enable_grad():
        parts = losses()
    analytic = [gradients(part, list(trained.values())) for part in parts]
    draw, compared = subject.generator("elements"), []
    count = ELEMENTS if len(trained) <= MANY_PARAMETERS else FEW_ELEMENTS
    for number, (name, parameter) in enumerate(trained.items()):
        both = torch.stack([part[number].flatten() for part in analytic])
        compared += [
            compared_at(name, parameter, element, both[:, element], losses)
            for element in sample(both.sum(0), count, draw)
        ]
    return compared


def in_double(subject: Subject, model: nn.Module) -> tuple[nn.Module, Losses]:
    """Return the model in float64, and a function that computes its losses on a few examples.

    It is in evaluation mode, but BatchNorm uses the batch's statistics and leaves its running ones as they are.
    """
    model = deepcopy(model).double().eval()
    for parameter in model.parameters():
        parameter.data = parameter.data.contiguous()  # its elements are changed one by one
    x, y = subject.splits["train"].first(EXAMPLES)
    x = x.double() if x.is_floating_point() else x
    for module in model.modules():
        if isinstance(module, BatchNorm) and len(x) > 1:
            module.train()
            module.momentum = 0.0
    weights = subject.criterion.class_weights
    criterion = replace(subject.criterion, class_weights=None if weights is None else weights.double())
    return model, partial(both_losses, model, criterion, x, y)


def both_losses(model: nn.Module, criterion: Criterion, x: Tensor, y: Tensor) -> Tensor:
    """Return the data loss and the penalty, (2,); a model that draws gets the same draws each time."""
    with undrawn(x.device):
        data = criterion.mean(model(x), y)
    if not criterion.penalty.adds:
        return torch.stack([data, torch.zeros_like(data)])
    return torch.stack([data, criterion.penalty.term(penalized_weights(model))])


def gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradient of a scalar, 0 for a parameter that it does not depend on.

    Args:
        loss: a scalar.
        parameters: of any shapes, which their gradients have too.
    """
    if not loss.requires_grad:
        return [torch.zeros_like(p) for p in parameters]
    grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads, strict=True)]


def sample(gradient: Tensor, count: int, draw: torch.Generator) -> list[int]:
    """Return indices into a flat gradient: half of them of the largest values, the others drawn at random.

    Args:
        gradient: (elements,).
        count: the largest number of indices.
        draw: draws the other half.
    """
    large = gradient.abs().topk(min(count // 2, len(gradient))).indices.tolist()
    drawn = torch.randint(len(gradient), (count - len(large),), generator=draw).tolist()
    return list(dict.fromkeys([*large, *drawn]))


@torch.no_grad()
def compared_at(name: str, parameter: Tensor, element: int, analytic: Tensor, losses: Losses) -> CheckedElement:
    """Compare one element: of the data loss, of the penalty, and of both together.

    Args:
        name: of the parameter.
        parameter: of any shape; it is changed and restored.
        element: its index in the flat parameter.
        analytic: (2,), the derivatives of the data loss and of the penalty.
        losses: returns both, (2,).
    """
    wanted = torch.cat([analytic, analytic.sum(0, keepdim=True)]).detach()
    flat = parameter.view(-1)
    original = float(flat[element])

    def value(offset: float) -> Tensor:
        flat[element] = original + offset
        parts = losses()
        return torch.cat([parts, parts.sum(0, keepdim=True)])

    try:
        middle = value(0.0)
        error, explained = torch.zeros_like(wanted), torch.zeros_like(wanted, dtype=torch.bool)
        for number, step in enumerate((STEP, STEP / 10, STEP / 100)):
            above, below, floor = value(step), value(-step), rounding(middle, step)
            found = relative_error(wanted, (above - below) / (2 * step), floor)
            if number == 0:
                error = found
            # A kink within the step falls outside a smaller step; a kink at the point itself keeps two slopes.
            slopes = relative_error((above - middle) / step, (middle - below) / step, floor)
            explained = (error <= DOUBTFUL) | (found <= DOUBTFUL) | (slopes > DOUBTFUL)
            if not bool((error > DOUBTFUL).any()) or bool((found <= DOUBTFUL).all()):
                break
    finally:
        flat[element] = original
    largest = float(error.max())
    return CheckedElement(name, largest, kink=largest > DOUBTFUL and bool(explained.all()))


def rounding(loss: Tensor, step: float) -> Tensor:
    """Return the difference quotients that rounding alone can cause, if the scores in the data loss are about 1.

    Args:
        loss: (3,), the data loss, the penalty and their sum.
        step: of the difference.
    """
    least = torch.tensor([1.0, 0.0, 1.0], dtype=loss.dtype, device=loss.device)
    return 20 * EPSILON * torch.maximum(loss.abs(), least) / step


def relative_error(one: Tensor, other: Tensor, floor: Tensor) -> Tensor:
    """Return |a - n| / max(|a|, |n|); 0 if both are 0, or so small that their difference is lost in rounding.

    Infinite if one of them is not a number.

    Args:
        one, other: derivatives, of the same shape.
        floor: the difference that rounding alone can cause, of the same shape.
    """
    gap, size = (one - other).abs(), torch.maximum(one.abs(), other.abs())
    lost = (gap <= floor) & (size * DOUBTFUL <= floor)
    return torch.where(lost, 0.0, gap / size.clamp_min(1e-300)).nan_to_num(torch.inf, torch.inf)


def culprit(subject: Subject, model: nn.Module) -> str | None:
    """Return the innermost module whose backward pass does not match its forward pass; None if there is none."""
    model, losses = in_double(subject, model)
    inputs: dict[str, tuple[Any, ...]] = {}

    def keep(name: str, _module: nn.Module, given: tuple[Any, ...], _output: Any) -> None:
        inputs.setdefault(name, tuple(x.detach().clone() if isinstance(x, Tensor) else x for x in given))

    modules: Mapping[str, nn.Module] = dict(model.named_modules())
    hooks = [module.register_forward_hook(partial(keep, name)) for name, module in modules.items()]
    with torch.no_grad():
        losses()
    for hook in hooks:
        hook.remove()
    depth = sorted(inputs, key=lambda name: -len(name.split(".")) if name else 1)
    for name in depth:
        with suppress(RuntimeError, TypeError):  # a module that cannot be called by itself
            if disagrees(modules[name], inputs[name], subject.generator(f"culprit/{name}")):
                return name or type(model).__name__
    return None


def disagrees(module: nn.Module, inputs: tuple[Any, ...], draw: torch.Generator) -> bool:
    """Whether autograd's derivative of a module in a random direction differs from the difference of its outputs.

    The directions are those of each input, then of each parameter. A step of 1e-7 hardly ever crosses a kink.
    """
    floating = [x.requires_grad_() for x in inputs if isinstance(x, Tensor) and x.is_floating_point()]
    with torch.enable_grad():
        output = module(*inputs)
    if not isinstance(output, Tensor) or not output.is_floating_point():
        return False
    cotangent = torch.randn(output.shape, generator=draw, dtype=torch.float64).to(output.device)
    varied = [*floating, *(p for p in module.parameters() if p.requires_grad)]
    backwards = gradients((output * cotangent).sum(), varied)
    for tensor, backward in zip(varied, backwards, strict=True):
        direction = torch.randn(tensor.shape, generator=draw, dtype=torch.float64).to(tensor.device)
        direction = torch.where(backward == 0, 0.0, direction) if bool(backward.any()) else direction
        with torch.no_grad():
            above, below = (shifted(module, inputs, tensor, s * 1e-7 * direction) for s in (1, -1))
            slope = ((above - below) * cotangent).sum() / 2e-7
            floor = 1e-8 * (above.abs() * cotangent.abs()).sum() + 1e-12
        expected = (backward * direction).sum()
        if (slope - expected).abs() > floor + 1e-3 * torch.maximum(slope.abs(), expected.abs()):
            return True
    return False


def shifted(module: nn.Module, inputs: tuple[Any, ...], tensor: Tensor, offset: Tensor) -> Tensor:
    """Return a module's output after one of its tensors is moved by an offset.

    Args:
        module: any module.
        inputs: its arguments.
        tensor: an input or a parameter; it is changed and restored.
        offset: of its shape.
    """
    before = tensor.detach().clone()
    tensor.data += offset
    try:
        return module(*inputs).clone()  # a view would be moved back with its input
    finally:
        tensor.data.copy_(before)
