"""Calls the function or class that a `_target_` names, with the settings of its section."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from hydra.utils import instantiate

from experiments.common.errors import OwnCodeError, UserError, location, raised, raised_by_user, reason_of
from experiments.common.importing import object_at, why_missing
from experiments.common.signatures import TARGET, checked, dotted, parameters_of, shown, title
from experiments.common.text import one_line

Config = Mapping[str, Any]
"""A composed configuration as plain dictionaries and lists."""


CALLED = {"data": "data set", "init": "initializer"}
"""What a choice of a section is called, if not like the section."""


def divided(section: Config, common: type, key: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a section's settings into those of the dataclass `common` and the rest.

    Args:
        section: the settings.
        common: its fields are the settings that every choice of the section has.
        key: the section's key in the configuration, to refuse a setting that could be meant for a parameter of the
            function or class; None not to look at it.

    Raises:
        UserError: a setting is given that both have.
    """
    names = {field.name for field in fields(common)}
    if key is not None and TARGET in section:
        usual = {field.name: field.default for field in fields(common)}
        function = located(section, key)
        for name in [name for name in parameters_of(function) or {} if name in names]:
            if name in section and section[name] != usual[name]:
                raise twice(
                    f"{dotted(key, name)}={shown(section[name])}", f"every {CALLED.get(key, key)}", function, name
                )
    return (
        {k: v for k, v in section.items() if k in names},
        {k: v for k, v in section.items() if k not in names},
    )


def twice(setting: str, of: str, function: Callable[..., Any], name: str) -> UserError:
    """Return the error for a setting of this package that is also a parameter of the user's function or class."""
    own = title(function)
    return UserError(
        f"{setting} is ambiguous: {name} is a setting of {of}, and a parameter of {own}, which does not get it; call "
        f"the parameter something else, or name a function that calls {own}: "
        f"def mine(own_{name}): return {own}({name}=own_{name})"
    )


def located(section: Config, key: str) -> Callable[..., Any]:
    """Import the function or class that a section's `_target_` names.

    Raises:
        UserError: it is missing, cannot be imported, or is not a function or class.
    """
    path = section.get(TARGET)
    if not isinstance(path, str):
        raise UserError(f"{dotted(key, TARGET)} is missing; it names the function or class to use")
    try:
        imported = object_at(path)
    except Exception as error:  # importing a user's module may raise anything
        reason = why_missing(path) or one_line(error)
        raise UserError(f"{dotted(key, TARGET)}={path!r} cannot be imported: {reason}") from error
    if not callable(imported):
        raise UserError(f"{dotted(key, TARGET)}={path!r} is not a function or class")
    return imported


def target(
    section: Config, key: str, *, supplied: tuple[str, ...] = (), ranges: Mapping[str, Any] | None = None
) -> Callable[..., Any]:
    """Return the function or class that `_target_` names, with the section's settings filled in.

    Args:
        section: the settings.
        key: the section's key in the configuration.
        supplied: the parameters that the caller passes later.
        ranges: parameter name -> its type and range, for functions without annotations.

    Raises:
        UserError: the target cannot be imported, or a setting does not fit it.
    """
    function = located(section, key)
    given = {k: v for k, v in section.items() if k not in (TARGET, "_partial_")}
    values = checked(function, given, key, supplied=supplied, ranges=ranges)
    return partial(function, **{k: nested(v, dotted(key, k)) for k, v in values.items()})


def nested(value: Any, key: str) -> Any:
    """Build a value that is a section with its own `_target_`; return any other value unchanged.

    Raises:
        UserError: it cannot be built.
    """
    if isinstance(value, Mapping) and TARGET in value:
        try:
            return instantiate(dict(value))
        except Exception as error:  # a user's own code may raise anything
            raise UserError(f"{key} cannot be built: {reason_of(error, one_line(error))}") from error
    return value


def call(section: Config, key: str, available: Mapping[str, Any] | None = None) -> Any:
    """Call the function or class that `_target_` names.

    Args:
        section: the settings that are passed.
        key: the section's key in the configuration.
        available: parameter name -> a value that is passed if the function has this parameter.

    Raises:
        UserError: the function cannot be imported, a setting does not fit it, it raises a ValueError or TypeError, or
            it is the user's own and raises another error.
    """
    parameters = parameters_of(located(section, key)) or {}
    wanted = {name: value for name, value in (available or {}).items() if name in parameters}
    function = target(section, key, supplied=tuple(wanted))
    try:
        return function(**wanted)
    except Exception as error:
        if not isinstance(error, ValueError | TypeError):
            if isinstance(error, UserError | OSError | MemoryError) or location(error) is None:
                raise
            raise OwnCodeError(f"{key}: {section[TARGET]} {raised(error)}") from error
        message = one_line(error)
        name = message.partition("=")[0].partition(" ")[0]
        message = message.replace(f"did you mean '{name}=", f"did you mean '{dotted(key, name)}=")
        if name not in section and raised_by_user(error):
            raise OwnCodeError(f"{key}: {section[TARGET]} {raised(error)}") from error
        raise UserError(dotted(key, message) if name in section else f"{key}: {message}") from error
