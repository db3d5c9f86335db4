"""Checking a configuration against the signature of the function or class that it configures.

The signature is the only place where the name, the type and the range of a setting are written: a parameter of type
`Annotated[float, Gt(0)]` rejects 0 and 'fast' from the command line in one sentence, for functions of this package
and of a user. A parameter without annotation accepts any value.
"""

import inspect
import json
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError
from pydantic_core import ErrorDetails

from .errors import UserError, nearest
from .meant import pasted, value_meant
from .text import LONGEST, cut

TARGET = "_target_"
LARGEST_INTEGER = 2**63 - 1
LONGEST_NUMBER = 40
"""Digits of a number that an error shows whole."""
MISSING = "???"
"""Hydra's mark of a value that the user must give."""


def checked(
    target: Callable[..., Any],
    given: Mapping[str, Any],
    key: str,
    *,
    supplied: tuple[str, ...] = (),
    ranges: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return `given` with its values converted to the types that `target` takes.

    Args:
        target: a function or class.
        given: settings by name; values that are built later (`_target_`) are returned unchanged.
        key: of the settings in the configuration, such as 'optimizer'.
        supplied: parameters that the program sets itself.
        ranges: types that replace those of the signature.

    Raises:
        UserError: a name is unknown or missing, or a value has the wrong type or is out of range.
    """
    parameters = parameters_of(target)
    if parameters is None:
        return dict(given)
    kinds = {p.kind for p in parameters.values()}
    settable = [
        name
        for name, p in parameters.items()
        if name not in supplied and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    for name in given:
        if name not in settable and inspect.Parameter.VAR_KEYWORD not in kinds:
            choices = f"choose from {', '.join(settable)}" if settable else "it has no settings"
            of = f" of {title(target)}" if key else ""
            meant = nearest(name, settable) if key else ""  # at the top level, the command line knows better
            raise UserError(f"unknown setting {dotted(key, name)!r}{of}; {choices}{meant}")
        if given[name] == MISSING:
            raise UserError(f"{dotted(key, name)} is missing; set {dotted(key, name)}=...")
    for name in settable:
        if parameters[name].default is inspect.Parameter.empty and name not in given:
            raise UserError(f"{dotted(key, name)} is missing, and {title(target)} has no default for it")
    hints = {**type_hints(target), **(ranges or {})}
    return {name: value_of(value, hints.get(name, Any), dotted(key, name)) for name, value in given.items()}


def value_of(value: Any, hint: Any, key: str) -> Any:
    """Return a configuration value converted to the hinted type, by pydantic's strict rules for JSON.

    Raises:
        UserError: the value has another type, or is out of range.
    """
    if isinstance(value, Mapping) and TARGET in value:
        return value
    try:
        adapter = adapter_of(hint)
    except TypeError:  # a hint that cannot be a key
        adapter = adapter_of.__wrapped__(hint)
    if adapter is None:
        return value  # a type unknown to pydantic: the function checks it itself
    check_sizes(value, key)
    try:
        return adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        with suppress(ValidationError):  # a type without a form in JSON, such as numbers.Number
            return adapter.validate_python(value, strict=True)
        raise UserError(sentence(error, value, key, adapter)) from None


def check_sizes(value: Any, key: str) -> None:
    """Refuse integers that do not fit into 64 bits.

    Raises:
        UserError: with the integer.
    """
    if isinstance(value, int) and not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
        limit = f"at most {LARGEST_INTEGER}" if value > 0 else f"at least -{LARGEST_INTEGER}"
        raise UserError(f"{key}={shown(value)} should be {limit}")
    if isinstance(value, list):
        for index, item in enumerate(value):
            check_sizes(item, f"{key}[{index}]")


@lru_cache(maxsize=1000)
def adapter_of(hint: Any) -> TypeAdapter[Any] | None:
    """Return the adapter that checks values of a type, or None if pydantic has none."""
    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False))
    except (PydanticSchemaGenerationError, PydanticUserError):
        return None


def sentence(error: ValidationError, value: Any, key: str, adapter: TypeAdapter[Any]) -> str:
    """Return one sentence about what is wrong with a value, what is allowed, and what was probably meant."""
    problems = [p for p in error.errors() if p["type"] not in OF_PYTHON]
    if not problems:
        return f"{key}={shown(value)} should be a section with _target_, which builds the object"
    missing = problems[0]["type"] == "missing"
    steps = () if missing else problems[0]["loc"]
    index = "".join(f"[{step}]" for step in steps if isinstance(step, int))
    wishes = " or ".join(dict.fromkeys(wish(problem) for problem in problems)).replace(" or be ", " or ")
    expected = [
        word for p in problems if p["type"] == "literal_error" for word in re.findall("'(.*?)'", p["ctx"]["expected"])
    ]
    meant = nearest(value, expected, key) if isinstance(value, str) and not index else ""
    meant = meant or pasted(value_meant(key, value, lambda other: fits(adapter, other)))
    if not meant and not index and not isinstance(value, str | list | Mapping):
        text = str(value) if isinstance(value, float) else json.dumps(value)
        if fits(adapter, text):
            meant = f"; to give it as a text, quote it: \"{key}='{text}'\""
    return f"{key}{index}={shown(problems[0]['input'])} should {wishes}{meant}"


def fits(adapter: TypeAdapter[Any], value: Any) -> bool:
    """Whether a type has a value."""
    try:
        adapter.validate_json(json.dumps(value), strict=True)
    except (ValidationError, ValueError):
        return False
    return True


OF_PYTHON = ("is_instance_of", "needs_python_object")
"""Pydantic's problems with types whose values a configuration cannot write."""


def wish(problem: ErrorDetails) -> str:
    """Return the words of pydantic's message that follow 'should'; of many allowed values, their number."""
    message = problem["msg"]
    if message == "Field required":
        return "have one more item"
    _, should, rest = message.partition(" should ")
    words = rest.partition(" after validation")[0] if should else f"be different: {message}"
    if len(words) <= LONGEST:
        return words
    if problem["type"] == "literal_error":
        names = re.findall("'(.*?)'", problem["ctx"]["expected"])
        return f"be one of {len(names)} names"
    return "be one of the values of its type, which have no names" if problem["type"] == "enum" else cut(words)


def shown(value: Any) -> str:
    """Return a value as a user types it; a long number or text is shortened."""
    if isinstance(value, int) and abs(value) > 10**LONGEST_NUMBER:
        # Python refuses to write very long integers.
        return f"{str(value)[:20]}... ({len(str(value))} digits)" if abs(value) < 10**4000 else "a very long integer"
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    return "null" if value is None else cut(json.dumps(value) if not isinstance(value, str) else repr(value))


def parameters_of(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    """Return the parameters of a target, or None if it has no signature, such as `torch.relu`."""
    return (known_parameters if is_lasting(target) else known_parameters.__wrapped__)(target)


@lru_cache(maxsize=1000)
def known_parameters(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    """See `parameters_of`, which the runs of a sweep ask the same many times."""
    try:
        return inspect.signature(target).parameters
    except ValueError:
        return None


def is_lasting(target: Callable[..., Any]) -> bool:
    """Whether a target lasts as long as its module, unlike an object that was built for one run."""
    return inspect.isfunction(target) or inspect.isclass(target)


def type_hints(target: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the annotations of the parameters of a function or a class, without those that cannot be resolved."""
    return (known_hints if is_lasting(target) else known_hints.__wrapped__)(target)


@lru_cache(maxsize=1000)
def known_hints(target: Callable[..., Any]) -> Mapping[str, Any]:
    """See `type_hints`."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        pass
    hints: dict[str, Any] = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        with suppress(Exception):  # one that is imported only for the type checker; the others count
            scope = getattr(function, "__globals__", {})
            hints[name] = eval(annotation, scope) if isinstance(annotation, str) else annotation
    return hints


def dotted(key: str, name: str) -> str:
    """Join a section and a setting's name."""
    return f"{key}.{name}" if key else name


def title(target: Callable[..., Any]) -> str:
    """Return the name of a target."""
    return getattr(target, "__name__", str(target))
