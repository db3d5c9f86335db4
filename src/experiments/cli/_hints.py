"""Types of settings in words, and values as examples of them."""

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import yaml

from experiments.common.signatures import adapter_of, fits

UNKNOWN = "several kinds; see the meaning"
WORDS = {
    bool: ("true or false", "true or false"),
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    Path: ("a path", "paths"),
    type(None): ("null", "null"),
}
"""Each plain type in words, one of it and several."""
LISTS = (list, tuple, set, frozenset, Sequence, Iterable)


def described(hint: Any, default: str | None) -> str:
    """Return a type in words.

    Args:
        hint: the annotation; Any if it is not known.
        default: as written in YAML, which tells the kind of value that an unknown type has.
    """
    return words_of(hint) or words_of(type(value_of(default))).replace("null", "") or UNKNOWN


def words_of(hint: Any, bounds: Sequence[Any] = (), *, several: bool = False) -> str:
    """Return a type in words; empty if it is not one that a configuration can write.

    Args:
        hint: the annotation.
        bounds: of a number.
        several: whether the words are about the items of a list.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return words_of(arguments[0], arguments[1:], several=several)
    if origin in (Union, types.UnionType):
        known = list(dict.fromkeys(filter(None, (words_of(one, bounds, several=several) for one in arguments))))
        known = [words for words in known if words != WORDS[int][several] or WORDS[float][several] not in known]
        known.sort(key=lambda words: words == "null")
        return " or ".join(known)
    if origin is Literal:
        return ", ".join(str(value) for value in arguments)
    if hint in WORDS:
        return WORDS[hint][several] + (range_of(bounds) if hint in (int, float) else "")
    kind = origin or hint
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return "mappings" if several else "a mapping"
    if kind in LISTS:
        inner = next((words_of(one, several=True) for one in arguments if one is not Ellipsis), "")
        inner = f"({inner})" if " or " in inner else inner
        return ("lists" if several else "a list") + (f" of {inner}" if inner else "")
    return ""


def range_of(bounds: Sequence[Any]) -> str:
    """Return the bounds of a number in words."""
    by_kind = {type(bound): bound for bound in bounds}
    least, most = by_kind.get(annotated_types.Ge), by_kind.get(annotated_types.Le)
    if least and most:
        return f" from {least.ge} to {most.le}"
    forms = (
        (annotated_types.Ge, "of at least {}", "ge"),
        (annotated_types.Gt, "greater than {}", "gt"),
        (annotated_types.Le, "of at most {}", "le"),
        (annotated_types.Lt, "less than {}", "lt"),
    )
    found = [text.format(getattr(by_kind[kind], name)) for kind, text, name in forms if kind in by_kind]
    return " " + " and ".join(found) if found else ""


def value_of(default: str | None) -> Any:
    """Return a value as written in YAML; None if it is missing, or computed from others."""
    if not default or default == "???" or "${" in default:
        return None
    try:
        value = yaml.safe_load(default)
    except yaml.YAMLError:
        return None
    if isinstance(value, str):
        try:
            return float(value)  # 1e-8 is a text in YAML
        except ValueError:
            return value
    return value


def example_of(hint: Any, default: str | None) -> str | None:
    """Return a value to try for a setting: another one than the default, if the type tells one; None for no idea.

    Args:
        hint: the annotation.
        default: as written in YAML.
    """
    value = value_of(default)
    allowed = [other for other in (*near(value), *candidates(hint)) if other != value and has(hint, other)]
    if allowed:
        return shown(allowed[0])
    return None if value is None else default


def near(value: Any) -> Iterator[Any]:
    """Yield values like one: the other truth, half a number and twice a number."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int) and value:
        yield 2 * value
    elif isinstance(value, float) and value:
        yield float(f"{value / 2:.3g}")
        yield 2 * value


def candidates(hint: Any) -> Iterator[Any]:
    """Yield values that a type may have."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        yield from candidates(arguments[0])
    elif origin in (Union, types.UnionType):
        for one in arguments:
            yield from candidates(one)
    elif origin is Literal:
        yield from arguments
    elif hint in (int, float):
        yield from (5, 2) if hint is int else (0.1,)
    elif hint is bool:
        yield True


def has(hint: Any, value: Any) -> bool:
    """Whether a type has a value."""
    adapter = adapter_of(hint)
    return adapter is None or fits(adapter, value)


def shown(value: Any) -> str:
    """Return a value as it is typed."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
