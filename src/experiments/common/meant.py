"""What a name or a value that is refused probably means: other spellings, other libraries' names, other units."""

import math
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any

SYNONYMS = {
    "swish": "silu",
    "gpu": "auto",
    "mps": "auto",
    "16": "fp16",
    "32": "fp32",
    "64": "fp64",
    "monitor": "metric",
    "clip": "clip_norm",
    "clip_grad": "clip_norm",
    "grad_clip": "clip_norm",
    "gradient_clip_val": "clip_norm",
    "nll": "cross_entropy",
    "log_loss": "cross_entropy",
    "kaiming": "he",
    "glorot": "xavier",
    "half": "fp16",
    "mixed": "fp16",
    "16-mixed": "fp16",
    "16-true": "fp16",
    "bf16-mixed": "bf16",
    "bf16-true": "bf16",
    "32-true": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "float32": "fp32",
    "float64": "fp64",
    "double": "fp64",
    "learning_rate": "lr",
    "wd": "weight_decay",
    "bs": "batch_size",
    "ce": "cross_entropy",
    "bce": "binary_cross_entropy",
    "split": "val_fraction",
    "dataset": "data",
    "network": "model",
    "criterion": "loss",
    "optim": "optimizer",
    "lr_scheduler": "scheduler",
    "initializer": "init",
    "regularizer": "penalty",
}
"""Names that other libraries have, and ours."""
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
RANGE = re.compile(r"(\d{1,9})\s*(?:-|\.\.+|:)\s*(\d{1,9})")
"""A range of whole numbers: 1-5, 1..5, 1:5."""
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
SHORTEST = 3
"""The fewest letters of a name that is looked for inside a longer word."""


def pasted(words: Sequence[str]) -> str:
    """Return the question whether words were meant, which can be copied to a command line; empty without words."""
    if not words:
        return ""
    if len(words) > 1:
        return f"; did you mean {shlex.join(words)}?"
    (word,) = words
    return f"; did you mean {shlex.quote(word) if chr(39) in word else repr(word)}?"


def spelled(name: str) -> str:
    """Return a name as it is compared: without case, underscores, hyphens, dots and spaces."""
    return re.sub(r"[_\-.\s]", "", name).casefold()


def name_meant(word: str, allowed: Iterable[str], *, inside: bool = True, likeness: float = 0.5) -> str | None:
    """Return the allowed name that a word probably means; None if there is none.

    A name counts in another spelling (`SGD`), as another library calls it (`swish`, `kaiming_normal`), as a part of a
    longer word (`CosineAnnealingLR`), and if it is nearly the same.

    Args:
        word: as typed.
        allowed: the names.
        inside: whether names that are parts of the word count.
        likeness: from 0 to 1, which a name that is only nearly the same needs.
    """
    names = list(allowed)
    by_spelling = {spelled(name): name for name in reversed(names)}
    renamed = word.casefold()
    for other, ours in SYNONYMS.items():
        renamed = ours if renamed == other else re.sub(rf"(?<![a-z]){other}(?=_)", ours, renamed)
    for one in (word, renamed):
        if spelled(one) in by_spelling:
            return by_spelling[spelled(one)]
    if "." in word and (keys := get_close_matches(word, [name for name in names if "." in name], 1, 0.8)):
        return keys[0]
    parts = [name for name in names if is_part(name, renamed)] if inside else []
    first = [name.casefold().split("_")[0] for name in parts]
    order = sorted(zip(parts, first, strict=True), key=lambda one: (spelled(renamed).index(one[1]), -len(one[0])))
    if order:
        return order[0][0]
    close = get_close_matches(word, names, 1, likeness)
    spellings = [] if close else get_close_matches(spelled(word), list(by_spelling), 1, likeness + 0.02)
    return close[0] if close else by_spelling[spellings[0]] if spellings else None


def is_part(name: str, word: str) -> bool:
    """Whether a longer word contains all parts of a name: `cosine_restarts` in `CosineAnnealingWarmRestarts`."""
    if len(name) < SHORTEST:
        return name.casefold() in word.split("_")
    return "." not in name and all(part and part in spelled(word) for part in name.casefold().split("_"))


def value_meant(key: str, value: Any, accepts: Callable[[Any], bool]) -> list[str]:
    """Return the words of a command line that a refused value probably means; empty if nothing is likely.

    Args:
        key: of the setting.
        value: what was given.
        accepts: whether the setting takes a value.
    """
    interval = RANGE.fullmatch(value.strip()) if isinstance(value, str) else None
    if interval and accepts(int(interval[1])):
        return ["-m", f"{key}={as_range(interval)}"]
    several = [value] if isinstance(value, list) else []
    for reading in readings(value):
        if accepts(reading):
            return [f"{key}={as_typed(reading)}"]
        several += [reading] if isinstance(reading, list) else []
    for items in several:
        if len(items) > 1 and all(isinstance(item, int | float) and accepts(item) for item in items):
            return ["-m", f"{key}={','.join(map(as_typed, items))}"]
    return []


def as_range(interval: re.Match[str]) -> str:
    """Return a range of whole numbers, both ends included, in Hydra's grammar."""
    return f"range({int(interval[1])},{int(interval[2]) + 1})"


def readings(value: Any) -> Iterator[Any]:
    """Yield what a value may mean, the likeliest first."""
    if isinstance(value, str):
        yield from readings_of_text(value.strip())
    elif value is False:
        yield None
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        if str(value) in SYNONYMS:
            yield SYNONYMS[str(value)]
        if isinstance(value, float):
            yield math.ceil(value)
        if 1 < value <= 100 and value == int(value):  # a percentage
            yield value / 100
    if not isinstance(value, list | dict | None):
        yield [value]


def readings_of_text(text: str) -> Iterator[Any]:
    """Yield what a text may mean: a number, a list of numbers, a yes or no, a word in lower case."""
    lower = text.casefold()
    if lower in NUMBERS:
        yield NUMBERS.index(lower)
    if lower in SYNONYMS:
        yield SYNONYMS[lower]
    if DECIMAL_COMMA.fullmatch(text):
        yield float(text.replace(",", "."))
    quotient = re.fullmatch(r"(\d{1,9})\s*/\s*([1-9]\d{0,8})", text)
    if quotient:
        yield int(quotient[1]) / int(quotient[2])
    if re.fullmatch(r"\d+(\.\d+)?\s*%", text):
        yield float(text.rstrip("% ")) / 100
    for read in (int, float):
        with suppress(ValueError):
            yield read(text)
    if lower in ("yes", "y", "on", "no", "n", "off"):
        yield lower in ("yes", "y", "on")
    if lower in ("none", "nil", "no", "off", "false"):
        yield from (None, 0, False)
    items = re.split(r"\s*[,;x\s]\s*", text.strip("()[]{} "))
    if len(items) > 1:
        with suppress(ValueError):
            yield [int(item) if item.isdigit() else float(item) for item in items]
    if lower != text:
        yield lower


def as_typed(value: Any) -> str:
    """Return a value as it is typed."""
    if isinstance(value, list):
        return f"[{','.join(map(as_typed, value))}]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else str(value)
