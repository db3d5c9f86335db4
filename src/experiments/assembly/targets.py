"""What a `_target_` names, called with its section's settings."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from hydra.utils import get_object, instantiate

from experiments.common.errors import UserError
from experiments.common.signatures import TARGET, checked, dotted, parameters_of
from experiments.common.text import one_line

Config = Mapping[str, Any]
"""A composed configuration as plain dictionaries and lists."""


def divided(section: Config, common: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a section's settings into those of the dataclass `common` and the rest."""
    names = {field.name for field in fields(common)}
    return (
        {k: v for k, v in section.items() if k in names},
        {k: v for k, v in section.items() if k not in names},
    )


def located(section: Config, key: str) -> Callable[..., Any]:
    """Import what a section's `_target_` names."""
    path = section.get(TARGET)
    if not isinstance(path, str):
        raise UserError(f"{dotted(key, TARGET)} is missing; it names the function or class to use")
    try:
        found = get_object(path)
    except Exception as error:  # whatever importing a user's module raises
        raise UserError(f"{dotted(key, TARGET)}={path!r} cannot be imported: {one_line(error)}") from error
    if not callable(found):
        raise UserError(f"{dotted(key, TARGET)}={path!r} is no function or class")
    return found


def target(
    section: Config, key: str, *, supplied: tuple[str, ...] = (), ranges: Mapping[str, Any] | None = None
) -> Callable[..., Any]:
    """Return what `_target_` names with the section's settings filled in, and the rest still to be given."""
    function = located(section, key)
    given = {k: v for k, v in section.items() if k not in (TARGET, "_partial_")}
    values = checked(function, given, key, supplied=supplied, ranges=ranges)
    return partial(function, **{k: nested(v, dotted(key, k)) for k, v in values.items()})


def nested(value: Any, key: str) -> Any:
    """Build a nested value that has a `_target_` of its own; return any other as it is."""
    if isinstance(value, Mapping) and TARGET in value:
        try:
            return instantiate(dict(value))
        except Exception as error:  # whatever a user's own code raises
            raise UserError(f"{key} cannot be built: {one_line(error)}") from error
    return value


def call(section: Config, key: str, available: Mapping[str, Any] | None = None) -> Any:
    """Call what `_target_` names with the section's settings and what it asks for of `available`.

    Raises:
        UserError: it refuses with a ValueError or TypeError.
    """
    parameters = parameters_of(located(section, key)) or {}
    wanted = {name: value for name, value in (available or {}).items() if name in parameters}
    function = target(section, key, supplied=tuple(wanted))
    try:
        return function(**wanted)
    except (ValueError, TypeError) as error:
        message = one_line(error)
        name = message.partition("=")[0].partition(" ")[0]
        raise UserError(dotted(key, message) if name in section else f"{key}: {message}") from error
