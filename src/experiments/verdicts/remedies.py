"""Remedies: each verdict's advice as overrides that can be tried, in one table.

`REMEDIES` turns the facts of a run into overrides, or None if it does not apply. `TABLE` lists, for each verdict, the
names of its remedies, the most likely one first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from experiments.common.conf import conf_folder
from experiments.common.keys import key_of

from ._thresholds import at
from .story import Reading

LIMITED = "limited by the data or by the model"
VANISHING = "vanishing gradients"
CONSTANT = "not better than a constant"
NOT_ADVISED = (LIMITED, "data suspect", "healthy")
"""Verdicts whose remedies are tried, but not advised: the settings are not the cause."""
RANGE_TEST, HE, XAVIER = "the rate of the range test", "He's weights", "Xavier's weights"
LONGER = "twice as long"
TOO_SMALL = ("learning rate too low", "still improving", "stuck")
"""Verdicts on a run whose rate should not be lowered."""
TOO_LARGE = "learning rate too high"
WIDEST = 2_000
"""Units of a hidden layer beyond which no larger network is tried."""


@dataclass(frozen=True)
class Facts:
    """The facts of a run that remedies are based on.

    Args:
        config: its configuration, with dotted keys; a mapping, such as `optimizer.lr_scale`, has only those below it.
        steps: the updates that it planned.
        suggested: the rate of the range test; None if there is none.
        reading: how its examples were read in training; None if they were in memory.
    """

    config: Mapping[str, Any]
    steps: int
    suggested: float | None = None
    reading: Reading | None = None

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value of the configuration."""
        return self.config.get(key, default)

    def name(self, section: str) -> str:
        """Return the last part of a section's target: `Adam`, `he`, `MLP`."""
        return str(self.get(f"{section}._target_", "")).rpartition(".")[2]

    @property
    def rate(self) -> float:
        """The learning rate."""
        rate = self.get("optimizer.lr")
        return float(rate) if isinstance(rate, int | float) else 0.0

    @property
    def hidden(self) -> list[int] | None:
        """The hidden layers of a multi-layer perceptron; None for another model."""
        hidden = self.get("model.hidden")
        fits = self.name("model") == "MLP" and isinstance(hidden, list | tuple)
        return [int(units) for units in hidden] if fits else None


Overrides = Sequence[str] | None
"""None if a remedy does not apply."""


def rate(factor: float) -> Callable[[Facts], Overrides]:
    """Return the remedy of another learning rate."""
    return lambda facts: [f"optimizer.lr={facts.rate * factor:.3g}"] if facts.rate else None


def suggested(facts: Facts) -> Overrides:
    """Return the rate of the range test."""
    return [f"optimizer.lr={facts.suggested:.2g}"] if facts.suggested and facts.rate else None


def weights(name: str) -> Callable[[Facts], Overrides]:
    """Return the remedy of other initial weights."""

    def remedy(facts: Facts) -> Overrides:
        gain = facts.get("init.gain", 1)
        if facts.name("init") in (name, f"{name}_default", f"{name}_or_torch") and gain == 1:
            return None
        return [f"init={name}"] if gain == 1 or name == "torch" else [f"init={name}", "init.gain=1"]

    return remedy


def setting(key: str, value: str) -> Callable[[Facts], Overrides]:
    """Return the remedy of another value for a key that the configuration has."""
    return lambda facts: [f"{key}={value}"] if key in facts.config and str(facts.get(key)).lower() != value else None


def dropout(strength: float) -> Callable[[Facts], Overrides]:
    """Return the remedy of stronger Dropout, after hidden layers."""

    def remedy(facts: Facts) -> Overrides:
        own = facts.get("model.dropout")
        return [f"model.dropout={strength:g}"] if own is not None and own < strength and facts.hidden != [] else None

    return remedy


def less_dropout(factor: float) -> Callable[[Facts], Overrides]:
    """Return the remedy of weaker Dropout, if it is strong."""

    def remedy(facts: Facts) -> Overrides:
        own = facts.get("model.dropout") or 0
        return [f"model.dropout={own * factor:g}"] if own >= at("strong_dropout") else None

    return remedy


def decay(strength: float) -> Callable[[Facts], Overrides]:
    """Return the remedy of a weight decay that shrinks a weight to exp(-strength) of its size over the run."""

    def remedy(facts: Facts) -> Overrides:
        name = facts.name("optimizer")
        if name not in ("Adam", "AdamW", "SGD") or not facts.rate or not facts.steps:
            return None
        value = f"optimizer.weight_decay={strength / (facts.rate * facts.steps):.2g}"
        return ["optimizer=adamw", f"optimizer.lr={facts.rate:g}", value] if name == "Adam" else [value]

    return remedy


def epochs(factor: int) -> Callable[[Facts], Overrides]:
    """Return the remedy of longer training."""

    def remedy(facts: Facts) -> Overrides:
        unlimited = ["training.max_time=null"] if facts.get("training.max_time") else []
        steps = facts.get("training.steps")
        length = f"training.steps={factor * int(steps)}" if steps else None
        return [length or f"training.epochs={factor * int(facts.get('training.epochs') or 0)}", *unlimited]

    return remedy


def width(factor: float) -> Callable[[Facts], Overrides]:
    """Return the remedy of a larger or smaller network."""

    def remedy(facts: Facts) -> Overrides:
        hidden = facts.hidden
        if hidden is None or (not hidden and factor < 1):
            return None
        sizes = [max(2, int(units * factor)) for units in hidden] or [100, 100]
        return [f"model.hidden=[{','.join(map(str, sizes))}]"] if max(sizes) <= WIDEST else None

    return remedy


def batch(facts: Facts) -> Overrides:
    """Return the remedy of smaller batches."""
    size = facts.get("training.batch_size", 1) * (facts.get("training.accumulate") or 1)
    return ["training.batch_size=16", "training.accumulate=1"] if size > 16 else None


def adam(facts: Facts) -> Overrides:
    """Return the remedy of Adam with its usual rate."""
    return ["optimizer=adam", "optimizer.lr=0.001"] if facts.name("optimizer") not in ("Adam", "AdamW") else None


def zero_biases(facts: Facts) -> Overrides:
    """Return the remedy of zero biases, unless they are zero, or as small as torch's."""
    return ["init.bias=0"] if facts.get("init.bias") not in (None, 0, 0.0, "torch") else None


def equal_rates(facts: Facts) -> Overrides:
    """Return the remedy of the same rate for all parameters."""
    return ["optimizer.lr_scale=null"] if any(key.startswith("optimizer.lr_scale.") for key in facts.config) else None


def more_workers(facts: Facts) -> Overrides:
    """Return the remedy of more processes that read examples, at most one for each core."""
    if facts.reading is None or facts.reading.workers >= facts.reading.cores:
        return None
    return [f"data.workers={min(max(2, 2 * facts.reading.workers), facts.reading.cores)}"]


def read_once(facts: Facts) -> Overrides:
    """Return the remedy of examples in memory, if they fit."""
    return ["data.gather=true"] if facts.reading is not None and facts.reading.fits else None


REMEDIES: Mapping[str, Callable[[Facts], Overrides]] = {
    "a tenth of the rate": rate(0.1),
    "a third of the rate": rate(1 / 3),
    "three times the rate": rate(3),
    "ten times the rate": rate(10),
    RANGE_TEST: suggested,
    "He's weights": weights("he"),
    "Xavier's weights": weights("xavier"),
    "torch's weights": weights("torch"),
    "zero biases": zero_biases,
    "BatchNorm": setting("model.batch_norm", "true"),
    "ReLU": setting("model.activation", "relu"),
    "leaky ReLU": setting("model.activation", "leaky_relu"),
    "Dropout 0.2": dropout(0.2),
    "Dropout 0.5": dropout(0.5),
    "half the Dropout": less_dropout(0.5),
    "no Dropout": less_dropout(0.0),
    "weight decay": decay(1.0),
    "strong weight decay": decay(10.0),
    "no weight decay": lambda facts: ["optimizer.weight_decay=0"] if facts.get("optimizer.weight_decay") else None,
    "no penalty": lambda facts: ["penalty=none"] if facts.name("penalty") not in ("", "Penalty") else None,
    "no label smoothing": lambda facts: ["loss.label_smoothing=0"] if facts.get("loss.label_smoothing") else None,
    LONGER: epochs(2),
    "four times as long": epochs(4),
    "a larger network": width(4),
    "a smaller network": width(0.25),
    "standardized inputs": setting("data.preprocess", "standardize"),
    "class weights": setting("data.balance", "class_weights"),
    "clipping": lambda facts: ["training.clip_norm=1"] if facts.get("training.clip_norm") is None else None,
    "warm-up": lambda facts: ["scheduler.warmup=0.1"] if not facts.get("scheduler.warmup") else None,
    "cosine schedule": lambda facts: ["scheduler=cosine"] if facts.name("scheduler") != "cosine" else None,
    "Adam": adam,
    "batches of 16": batch,
    "early stopping": setting("training.early_stopping.patience", "5"),
    "equal rates": equal_rates,
    "more workers": more_workers,
    "examples read once, also random ones": read_once,
    "Huber's loss": lambda facts: ["loss=huber"] if facts.name("loss") == "mse" else None,
    "absolute errors": lambda facts: ["loss=mae"] if facts.name("loss") == "mse" else None,
    "a learnt variance": lambda facts: ["loss=gaussian"] if facts.name("loss") == "mse" else None,
}  # fmt: skip
"""Remedy -> its overrides for a run."""

TABLE: Mapping[str, Sequence[str]] = {
    "symmetry": ("He's weights", "Xavier's weights", "torch's weights"),
    "initial loss off": ("torch's weights", "standardized inputs", "He's weights", "Xavier's weights", "BatchNorm"),
    "not finite": ("standardized inputs", "torch's weights"),
    "learning rate too high": (
        "the rate of the range test", "Adam", "a tenth of the rate", "clipping", "warm-up", "cosine schedule",
    ),
    "learning rate too low": ("the rate of the range test", "Adam", "ten times the rate", "four times as long"),
    "stuck": (
        "zero biases", "no weight decay", "no penalty", "Adam", "He's weights", "BatchNorm",
        "the rate of the range test",
    ),
    "one class": ("the rate of the range test", "Adam", "torch's weights", "class weights", "twice as long"),
    "class imbalance": ("class weights",),
    "dead units": ("zero biases", "a tenth of the rate", "no weight decay", "leaky ReLU", "BatchNorm", "Adam"),
    "saturation": ("Xavier's weights", "BatchNorm", "ReLU", "a tenth of the rate"),
    VANISHING: ("zero biases", "He's weights", "BatchNorm", "ReLU", "Xavier's weights"),
    "exploding gradients": ("He's weights", "BatchNorm", "clipping", "Xavier's weights"),
    "updates too large": ("no weight decay", "a tenth of the rate", "cosine schedule"),
    "updates too small": ("equal rates", "ten times the rate", "Adam"),
    "overfitting": (
        "weight decay", "Dropout 0.2", "torch's weights", "Dropout 0.5", "strong weight decay", "a smaller network",
        "early stopping",
    ),
    "underfitting": (
        "no Dropout", "no penalty", "no weight decay", "no label smoothing", "a larger network", "half the Dropout",
        "twice as long", "torch's weights", "the rate of the range test",
    ),
    LIMITED: ("a larger network", "weight decay", "a smaller network"),
    "data suspect": ("a smaller network", "strong weight decay"),
    CONSTANT: ("twice as long", "weight decay", "the rate of the range test", "four times as long"),
    "outliers": ("Huber's loss", "absolute errors"),
    "uneven errors": ("a learnt variance", "absolute errors"),
    "best epoch long past": ("weight decay", "Dropout 0.2", "a third of the rate", "early stopping"),
    "still improving": ("twice as long", "three times the rate", "four times as long"),
    "not better than the bigram table": ("four times as long", "three times the rate"),
    "large batch": ("batches of 16", "three times the rate", "four times as long"),
    "waiting for data": ("more workers", "examples read once, also random ones"),
    "questionable data": ("standardized inputs",),
    "questionable model": (),
    "healthy": ("the rate of the range test", "cosine schedule", "torch's weights"),
}  # fmt: skip
"""Verdict -> its remedies; those of a healthy run are three settings that often have something to gain."""


@dataclass(frozen=True)
class Remedy:
    """A remedy of a run.

    Args:
        name: in `REMEDIES`.
        overrides: that it adds to those of the run.
        verdicts: the names of those that it is for.
    """

    name: str
    overrides: tuple[str, ...]
    verdicts: tuple[str, ...]


def remedies(verdicts: Sequence[str], facts: Facts, most: int | None = None) -> list[Remedy]:
    """Return the remedies of some verdicts that apply to a run, each with other overrides.

    The first remedies of all verdicts come before the second ones.

    Args:
        verdicts: their names.
        facts: of the run.
        most: the largest number of remedies; None for all.
    """
    lists = [fitting(verdict, facts) for verdict in verdicts]
    ordered = [names[n] for n in range(max(map(len, lists), default=0)) for names in lists if n < len(names)]
    found: dict[tuple[str, ...], Remedy] = {}
    for name in dict.fromkeys(ordered):
        overrides = REMEDIES[name](facts)
        if overrides is not None and tuple(overrides) not in found:
            own = tuple(verdict for verdict, names in zip(verdicts, lists, strict=True) if name in names)
            found[tuple(overrides)] = Remedy(name, tuple(overrides), own)
    return list(found.values())[:most]


def fitting(verdict: str, facts: Facts) -> list[str]:
    """Return the remedies of a verdict, without a rate from the range test that goes the wrong way.

    Of He's and Xavier's weights, those that are meant for the activation come first.
    """
    both = [XAVIER, HE] if facts.get("model.activation") in ("tanh", "sigmoid") else [HE, XAVIER]
    names = list(TABLE.get(verdict, ()))
    if verdict == VANISHING and facts.get("model.activation") not in ("tanh", "sigmoid"):
        names.remove(XAVIER)  # smaller than He's weights, whose signal ReLU keeps (He et al. 2015)
    if all(name in names for name in both):
        names = [both.pop(0) if name in (HE, XAVIER) else name for name in names]
    if facts.suggested is None:
        return names
    wrong = facts.suggested <= facts.rate if verdict in TOO_SMALL else facts.suggested >= facts.rate
    against = verdict in (*TOO_SMALL, TOO_LARGE) and wrong
    return [name for name in names if not (against and name == RANGE_TEST)]


def merged(overrides: Sequence[str], more: Sequence[str]) -> list[str]:
    """Return overrides with those of a remedy, which replace others of the same key.

    A remedy that chooses from a group, such as `init=he`, replaces the settings of the choice before it too, but not
    those that every choice of the group has, such as `init.bias`.
    """
    added = {key_of(word) for word in more}
    groups = {key for key in added if "." not in key}
    kept = [
        word
        for word in overrides
        if key_of(word) not in added
        and (key_of(word).partition(".")[0] not in groups or ".".join(key_of(word).split(".")[:2]) in of_every_choice())
    ]
    return [*kept, *more]


def replaced(overrides: Sequence[str], more: Sequence[str]) -> list[str]:
    """Return the settings of a choice that a remedy replaces, which do not fit the remedy's choice.

    Who types the remedy after the overrides of the run has to take these away.
    """
    kept, added = set(merged(overrides, more)), {key_of(word) for word in more}
    return [word for word in overrides if word not in kept and key_of(word) not in added]


@cache
def of_every_choice() -> frozenset[str]:
    """Return the keys below a config group that do not belong to one of its choices, such as `init.bias`."""
    config = yaml.safe_load((conf_folder() / "train.yaml").read_text(encoding="utf-8"))
    sections = {section: values for section, values in config.items() if isinstance(values, Mapping)}
    return frozenset(f"{section}.{key}" for section, values in sections.items() for key in values)


def conflicts(one: Sequence[str], other: Sequence[str]) -> list[str]:
    """Return the keys that two lists of overrides both set, to different values."""
    ours = {key_of(word): word for word in one}
    own = {key_of(word): word for word in other}
    both = [key for key in own if key in ours and ours[key] != own[key]]
    groups = [key for key in own if "." not in key and any(k.startswith(f"{key}.") for k in ours) and key not in ours]
    below = [key for key in ours if "." not in key and any(k.startswith(f"{key}.") for k in own) and key not in own]
    return [*both, *groups, *below]
