"""Checks of the layers before training: symmetry, signal, and leaks between examples."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from experiments.initializers import evaluating, running_order, weighted_layers
from experiments.models import measures
from experiments.training.averaging import batch_norms
from experiments.training.program import Capture
from experiments.training.streams import undrawn

from ._subject import CheckResult, CheckVerdict, Subject, worst

EXAMPLES = 8
ROUNDING = 1e-4
"""The share of the scores by which another order of additions may change them."""
BAND, LIMIT = 10.0, 1000.0
"""Factors between the first hidden layer and the last: beyond `BAND` training is slow, beyond `LIMIT` it hardly works.
A signal that neither grows nor shrinks (Glorot and Bengio 2010, section 4.2) stays far within `BAND`."""


def symmetry(subject: Subject) -> CheckResult:
    """Look for units of a hidden layer with equal weights and equal gradients: they stay equal forever.

    The last layer is left out, as the classes make its units differ.
    """
    capture = subject.program(subject.copy(dropout=False)).capture(0)
    equal: dict[str, float] = {}
    names = running_names(subject)[:-1]
    for name, layer in [(name, layer) for name, layer in weighted_layers(subject.model).items() if name in names]:
        rows = [measures.incoming(layer)]
        gradient = capture.gradients.get(f"{name}.weight")
        if gradient is not None:
            rows.append(measures.by_row(layer, gradient))
        if f"{name}.bias" in capture.gradients:
            rows.append(capture.gradients[f"{name}.bias"][:, None])
        fraction = measures.twins(torch.cat([row / row.norm().clamp_min(1e-30) for row in rows], 1)).item()
        if fraction > 0:  # False for a layer of one unit, whose fraction is nan
            equal[name] = fraction
    expected = "no equal units in a layer"
    if not equal:
        return CheckResult("none", expected, "pass", numbers={"equal_units": {}})
    listed = ", ".join(f"{fraction:.0%} of {name}" for name, fraction in equal.items())
    advice = f"Equal units ({listed}) learn the same; use random weights: init=he for ReLU, init=xavier for tanh."
    return CheckResult(f"up to {max(equal.values()):.0%} of a layer", expected, "fail", advice, {"equal_units": equal})


def other_start(subject: Subject) -> str:
    """Return the initialization to try: zero biases if the biases are large, else weights for the activation."""
    large = any(p.abs().mean() > 1 for name, p in subject.model.named_parameters() if name.endswith("bias"))
    return "init.bias=0" if large else "init=he for ReLU, init=xavier for tanh"


def signal(subject: Subject) -> CheckResult:
    """Follow the spread of activations forward and of gradients backward through the hidden layers."""
    capture = subject.program(subject.copy(dropout=False)).capture(0)
    spreads = {name: capture.activations[name].std(correction=0).item() for name in hidden(subject, capture)}
    sizes = {name: s.square().mean().sqrt().item() for name, s in capture.signals.items() if name in spreads}
    values = singular_values(subject)
    numbers = {"activation_std": spreads, "signal": sizes, "mean_singular_value": values}
    listed = ", ".join(f"{value:.2f}" for value in list(values.values())[:4])
    singular = f"; mean singular values {listed}{' ...' if len(values) > 4 else ''}" if values else ""
    expected = f"within {1 / BAND:g} to {BAND:g}, first to last"
    if not spreads:
        return CheckResult(f"no hidden layer{singular}", expected, "pass", "", numbers)
    if not all(0 < spread < float("inf") for spread in spreads.values()):
        advice = f"An activation is the same for all examples, or not finite: try {other_start(subject)}."
        return CheckResult("no spread left" + singular, expected, "fail", advice, numbers)
    if sizes and list(sizes.values())[-1] == 0:
        advice = "No gradient comes back from the scores: the weights of the last layer are zero."
        return CheckResult("no gradient" + singular, expected, "warn", advice, numbers)
    forward = list(spreads.values())[-1] / next(iter(spreads.values()))
    backward = ratio(list(sizes.values()))
    verdict = worst(judged(forward), judged(backward))
    advice = ""
    if verdict != "pass":
        advice = f"{fault(forward, backward)}: try {other_start(subject)}, or BatchNorm."
    measured = f"activations x {forward:.2g}, gradients x {backward:.2g}{singular}"
    return CheckResult(measured, expected, verdict, advice, numbers)


def hidden(subject: Subject, capture: Capture) -> list[str]:
    """Return the names of the activations before the last weighted layer, which gives the scores."""
    names, last = list(capture.activations), running_names(subject)[-1:]
    return names[: names.index(last[0])] if last and last[0] in names else names[:-1]


def running_names(subject: Subject) -> list[str]:
    """Return the names of the linear and convolutional layers in the order in which they run."""
    model = subject.copy(dropout=False).eval()
    with torch.no_grad(), undrawn(subject.device):
        order = running_order(model, subject.splits["train"].first(1)[0])
    names = {layer: name for name, layer in weighted_layers(model).items()}
    return [names[layer] for layer in order]


def ratio(sizes: list[float]) -> float:
    """Return the first layer's size over the last one's; 1 if there are fewer than two, as with frozen layers."""
    return sizes[0] / sizes[-1] if len(sizes) > 1 else 1.0


def judged(factor: float) -> CheckVerdict:
    """Judge a factor between the first hidden layer and the last."""
    size = max(factor, 1 / factor) if factor > 0 else float("inf")
    return "pass" if size <= BAND else "warn" if size <= LIMIT else "fail"


def fault(forward: float, backward: float) -> str:
    """Return what is wrong with the signal."""
    faults = []
    for name, factor, way in (
        ("activations", forward, "from the first layer to the last"),
        ("gradients", backward, "from the last layer to the first"),
    ):
        if judged(factor) != "pass":
            faults.append(f"{name} {'grow' if factor > 1 else 'shrink'} {way}")
    sentence = " and ".join(faults)
    return sentence[0].upper() + sentence[1:]


def singular_values(subject: Subject) -> dict[str, float]:
    """Return the mean singular value of each linear and convolutional layer's Jacobian."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        shapes[name] = tuple(inputs[0].shape[1:])

    model = subject.copy(dropout=False).eval()
    layers = weighted_layers(model)
    hooks = [layer.register_forward_pre_hook(partial(note, name)) for name, layer in layers.items()]
    with torch.no_grad(), undrawn(subject.device):
        model(subject.splits["train"].first(1)[0])
    for hook in hooks:
        hook.remove()
    means = {name: measures.mean_singular_value(layers[name], shape) for name, shape in shapes.items()}
    return {name: value for name, value in means.items() if value is not None}


def leak(subject: Subject) -> CheckResult:
    """Look for a gradient of one example's scores with respect to another example's input."""
    model = subject.copy(dropout=False)
    x = subject.splits["train"].first(EXAMPLES)[0]
    expected = "0: examples do not mix"
    if len(x) < 2:
        return CheckResult("a single example", expected, "skip")
    with evaluating(model), undrawn(subject.device):
        evaluation = max(mixing(model, x), moved(model, x))
    training = 0.0
    if not batch_norms(model):
        with undrawn(subject.device):
            training = mixing(model.train(), x)
    numbers = {"evaluation": evaluation, "training": training}
    measured = f"{evaluation:.2g} in evaluation" + ("" if batch_norms(model) else f", {training:.2g} in training")
    if subject.criterion.task.form == "tokens":
        with evaluating(model), undrawn(subject.device):
            numbers["future"] = from_later(model, x)
        measured += f", {numbers['future']:.2g} from later positions"
        expected = "0: neither examples nor later positions"
        if numbers["future"] > 0:
            advice = "A score depends on later positions, so the model sees what it should predict: mask its attention."
            return CheckResult(measured, expected, "fail", advice, numbers)
    if evaluation > 0:
        advice = "A score depends on the other examples of the batch: look for a reshape, mean or softmax over axis 0."
        return CheckResult(measured, expected, "fail", advice, numbers)
    if training > 0:
        advice = (
            "In training mode a score depends on the other examples: this is right only if the model is meant to do so."
        )
        return CheckResult(measured, expected, "warn", advice, numbers)
    return CheckResult(measured, expected, "pass", "", numbers)


def mixing(model: nn.Module, x: Tensor) -> float:
    """Return the largest gradient of an example's scores with respect to another example's input.

    Args:
        model: in the mode to check.
        x: (batch, *input_shape); tokens have no gradient, which counts as 0.
    """
    if not x.is_floating_point():  # tokens have no gradient
        return 0.0
    x = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        scores = model(x)
        largest = 0.0
        for number in range(len(x)):
            # Of a weighted sum: the scores' plain sum is a constant after a softmax.
            weights = torch.linspace(1, 2, scores.shape[1], device=x.device, dtype=scores.dtype)
            (gradient,) = torch.autograd.grad((scores[number] * weights).sum(), x, retain_graph=True, allow_unused=True)
            if gradient is not None:
                others = gradient.abs().nan_to_num(torch.inf).flatten(1).amax(1)
                others[number] = 0
                largest = max(largest, float(others.max()))
    return largest


@torch.no_grad()
def from_later(model: nn.Module, x: Tensor) -> float:
    """Return how much the scores of the first half of a sequence change with the tokens of the second half.

    Args:
        model: of sequences.
        x: (batch, positions), tokens.
    """
    half = x.shape[1] // 2
    changed = torch.cat([x[:, :half], x.roll(1, 0)[:, half:].flip(1)], 1)
    before = model(x)[:, :half]
    gap = (model(changed)[:, :half] - before).abs().max().nan_to_num(torch.inf).item()
    return gap if gap > ROUNDING * (1 + before.abs().max().item()) else 0.0


@torch.no_grad()
def moved(model: nn.Module, x: Tensor) -> float:
    """Return how much an example's scores change with the other examples, for dependences without a gradient.

    Args:
        model: in evaluation mode.
        x: (batch, *input_shape).
    """
    others = x[1:].flip(0)
    changed = torch.cat([x[:1], -others if x.is_floating_point() else others])
    with undrawn(x.device):
        before = model(x)[0]
    with undrawn(x.device):
        gap = (model(changed)[0] - before).abs().max().nan_to_num(torch.inf).item()
    return gap if gap > ROUNDING * (1 + before.abs().max().item()) else 0.0
