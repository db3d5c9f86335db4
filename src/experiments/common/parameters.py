"""A parameter of the user's own function or class that a setting was meant for, as its signature shows it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from inspect import Parameter
from typing import Any

from .importing import object_at
from .signatures import parameters_of, title


def parameter_meant(target: object, key: str, value: str, *, listed: bool = True) -> str:
    """Return a sentence about the parameter that a setting is not listed for, to follow the one about an error.

    Args:
        target: the dotted path of a function or class; anything else has no sentence.
        key: of the setting.
        value: as typed.
        listed: whether the settings of the section are listed in a file, so that another one needs a +.
    """
    name = key.rpartition(".")[2]
    function = imported(target)
    parameters = parameters_of(function) if callable(function) else None
    if not parameters or name.startswith("_"):
        return ""
    own = {one.name for one in parameters.values() if one.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)}
    word = shlex.quote(f"+{key}={value}")
    if name in own:
        return f"; {title(function)} takes {name}: add {word}" if listed else f"; add {word}"
    if any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values()):
        return f"; {word} passes it to {title(function)}"
    return ""


def imported(target: object) -> Any:
    """Return what a dotted path names; None if it cannot be imported."""
    if isinstance(target, str):
        with suppress(Exception):  # of a user's module, which may raise anything
            return object_at(target)
    return None


def scores_parameter(target: object, section: Sequence[str], wanted: int) -> str:
    """Return a sentence about the parameter of a model that is the number of its scores, if it is not set.

    Args:
        target: the function or class of the model.
        section: the names of its settings.
        wanted: the number of scores.
    """
    parameters = parameters_of(target) if callable(target) else None
    name = next((one for one in NUMBERS_OF_SCORES if one in (parameters or {})), None)
    if name is None or not callable(target):
        return ""
    word = f"{'' if name in section else '+'}model.{name}={wanted}"
    return f"; {title(target)} has {name}: add {word}"


NUMBERS_OF_SCORES = ("num_classes", "n_classes", "nb_classes", "num_labels", "num_outputs", "out_features", "n_outputs")
"""Names under which models of other libraries take the number of scores."""
