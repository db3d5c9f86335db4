"""Settings against signatures: what is taken, in which type, and what is refused in which words."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch
from annotated_types import Ge, Gt, Lt

from experiments.common.errors import UserError
from experiments.common.signatures import checked, value_of

Unit = Annotated[int, Ge(1)]


def layer(
    size: Unit,
    *,
    rate: Annotated[float, Ge(0), Lt(1)] = 0.5,
    name: str = "layer",
    flag: bool = False,
    pool: Literal["max", "average", "none"] = "max",
    threads: Unit | Literal["auto"] = "auto",
    limit: Unit | None = None,
    stages: list[list[Unit]] | None = None,
    betas: tuple[Annotated[float, Lt(1)], Annotated[float, Lt(1)]] = (0.9, 0.99),
) -> None:
    """Anything that a setting may be."""


def open_ended(size: Unit, **rest: Any) -> None:
    """Takes names that it does not list."""


def unannotated(size, rate=0.1):  # type: ignore[no-untyped-def]
    """A user's function without types."""


def foreign(array: np.ndarray, device: torch.device) -> None:
    """Types that no configuration can hold."""


class Built:
    """A class is held against its constructor."""

    def __init__(self, size: Unit, rate: float = 0.1) -> None:
        self.size, self.rate = size, rate


@dataclass
class Recorded:
    """So is a dataclass."""

    size: Unit
    rate: float = 0.1


def refusal(target: Callable[..., Any], given: Mapping[str, Any], **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        checked(target, given, "model", **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("target", [layer, Built, Recorded, open_ended])
def test_a_sound_section_is_returned(target: Callable[..., Any]) -> None:
    assert checked(target, {"size": 3, "rate": 0.25}, "model") == {"size": 3, "rate": 0.25}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("rate", 0, 0.0),  # a whole number is a number
        ("betas", [0.5, 0], (0.5, 0.0)),  # YAML has lists only
        ("stages", [[1, 2], [], [3]], [[1, 2], [], [3]]),
        ("threads", "auto", "auto"),
        ("threads", 4, 4),
        ("limit", None, None),
        ("pool", "average", "average"),
        ("flag", True, True),
    ],
)
def test_values_are_converted_to_the_type_of_the_parameter(name: str, value: Any, expected: Any) -> None:
    got = checked(layer, {"size": 1, name: value}, "model")[name]
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rte", "unknown setting 'model.rte' of layer; choose from size, rate, name"),
        ("rte", "; did you mean 'rate'?"),
        ("thread", "; did you mean 'threads'?"),
        ("Pool", "; did you mean 'pool'?"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, message: str) -> None:
    assert message in refusal(layer, {"size": 1, name: 1})


def test_an_unknown_name_without_a_similar_one_is_refused_without_a_suggestion() -> None:
    message = refusal(layer, {"size": 1, "xyzzy": 1})
    assert "unknown setting 'model.xyzzy' of layer" in message
    assert "did you mean" not in message


@pytest.mark.parametrize("target", [Built, Recorded])
def test_a_class_is_named(target: type) -> None:
    assert f"unknown setting 'model.raet' of {target.__name__}; choose from size, rate" in refusal(target, {"raet": 1})


@pytest.mark.parametrize("target", [layer, Built, Recorded, open_ended, unannotated])
def test_a_missing_setting_is_named(target: Callable[..., Any]) -> None:
    message = refusal(target, {"rate": 0.5})
    assert message == f"model.size is missing, and {target.__name__} has no default for it"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("size", "many", "model.size='many' should be a valid integer"),
        ("size", 1.0, "model.size=1.0 should be a valid integer; did you mean 'model.size=1'?"),
        ("size", "3", "model.size='3' should be a valid integer; did you mean 'model.size=3'?"),
        ("size", None, "model.size=null should be a valid integer"),
        ("size", [1], "model.size=[1] should be a valid integer"),
        ("size", True, "model.size=true should be a valid integer"),
        ("rate", False, "model.rate=false should be a valid number"),
        ("rate", "0.5", "model.rate='0.5' should be a valid number; did you mean 'model.rate=0.5'?"),
        ("name", 3, "model.name=3 should be a valid string; to give it as a text, quote it: \"model.name='3'\""),
        (
            "name",
            math.nan,
            "model.name=NaN should be a valid string; to give it as a text, quote it: \"model.name='nan'\"",
        ),
        (
            "name",
            True,
            "model.name=true should be a valid string; to give it as a text, quote it: \"model.name='true'\"",
        ),
        ("flag", 1, "model.flag=1 should be a valid boolean"),
        ("flag", "yes", "model.flag='yes' should be a valid boolean; did you mean 'model.flag=true'?"),
        ("stages", [1], "model.stages[0]=1 should be a valid"),
        ("size", 0, "model.size=0 should be greater than or equal to 1"),
        ("rate", 1.0, "model.rate=1.0 should be less than 1"),
        ("rate", -0.5, "model.rate=-0.5 should be greater than or equal to 0"),
        ("rate", float("nan"), "model.rate=NaN should be a finite number"),
        ("limit", 0, "model.limit=0 should be greater than or equal to 1"),
        ("stages", [[16], [32, 0]], "model.stages[1][1]=0 should be greater than or equal to 1"),
        ("stages", [[16, "x"], [32]], "model.stages[0][1]='x' should be a valid integer"),
        ("betas", [0.9, 1.0], "model.betas[1]=1.0 should be less than 1"),
        ("betas", [0.9, 0.9, 0.9], "should have at most 2 items"),
        ("betas", [0.9], "should have one more item"),
        ("pool", "maxx", "model.pool='maxx' should be 'max', 'average' or 'none'; did you mean 'model.pool=max'?"),
        ("pool", "avrage", "; did you mean 'model.pool=average'?"),
        ("pool", 3, "model.pool=3 should be 'max', 'average' or 'none'"),
        (
            "threads",
            "atuo",
            "model.threads='atuo' should be a valid integer or 'auto'; did you mean 'model.threads=auto'?",
        ),
        ("threads", 0, "model.threads=0 should be greater than or equal to 1 or 'auto'"),
        ("threads", 0.5, "model.threads=0.5 should be a valid integer or 'auto'"),
        ("threads", True, "model.threads=true should be a valid integer or 'auto'"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(name: str, value: Any, message: str) -> None:
    assert message in refusal(layer, {"size": 1, name: value})


@pytest.mark.parametrize("target", [Built, Recorded])
def test_the_types_of_a_class_are_its_constructors(target: type) -> None:
    assert refusal(target, {"size": 0}) == "model.size=0 should be greater than or equal to 1"
    assert refusal(target, {"size": 1, "rate": "x"}) == "model.rate='x' should be a valid number"


@pytest.mark.parametrize("name", ["size", "rate", "pool", "stages", "threads"])
def test_values_with_a_target_are_passed_through(name: str) -> None:
    nested = {"_target_": "somewhere.else", "size": "anything"}
    assert checked(layer, {"size": 1, name: nested}, "model")[name] is nested


def test_open_targets_accept_any_name_and_check_known_ones() -> None:
    assert checked(open_ended, {"size": 1, "anything": "x"}, "model") == {"size": 1, "anything": "x"}
    assert "model.size=0 should be" in refusal(open_ended, {"size": 0})


@pytest.mark.parametrize("value", [1, "x", None, True, [1, {"a": 2}], {"b": None}])
def test_parameters_without_a_type_take_anything(value: Any) -> None:
    assert checked(unannotated, {"size": value, "rate": value}, "model") == {"size": value, "rate": value}
    assert "did you mean 'rate'?" in refusal(unannotated, {"size": 1, "raet": 1})


def test_supplied_parameters_are_neither_required_nor_accepted() -> None:
    assert checked(layer, {"rate": 0.1}, "model", supplied=("size",)) == {"rate": 0.1}
    message = refusal(layer, {"size": 3}, supplied=("size",))
    assert "unknown setting 'model.size' of layer; choose from rate" in message


def test_ranges_go_before_the_signatures_types() -> None:
    narrow = {"rate": Annotated[float, Gt(0)], "elsewhere": int}
    assert checked(Built, {"size": 1, "rate": 0.5}, "model", ranges=narrow) == {"size": 1, "rate": 0.5}
    assert refusal(Built, {"size": 1, "rate": -1}, ranges=narrow) == "model.rate=-1 should be greater than 0"
    assert refusal(unannotated, {"size": 1, "rate": -1}, ranges=narrow) == "model.rate=-1 should be greater than 0"


def test_a_section_at_the_top_has_no_prefix() -> None:
    with pytest.raises(UserError, match=r"^size=0 should be"):
        checked(layer, {"size": 0}, "")


def test_a_function_with_unresolvable_annotations_accepts_any_value() -> None:
    def unresolvable(size: "NoSuchType") -> None:  # type: ignore[name-defined]  # noqa: F821
        """Its annotation names what is not there."""

    assert checked(unresolvable, {"size": "x"}, "model") == {"size": "x"}


def test_the_given_section_does_not_change() -> None:
    given = {"size": 1, "betas": [0.5, 0.5]}
    checked(layer, given, "model")
    assert given == {"size": 1, "betas": [0.5, 0.5]}


class Weights(Enum):
    """Values that nobody can type, with long descriptions."""

    FIRST = tuple(range(1000))
    SECOND = tuple(range(2000))


Named = Literal[tuple(f"category_{number}" for number in range(500))]  # type: ignore[valid-type]


@pytest.mark.parametrize(
    ("value", "hint", "sentence"),
    [
        (
            "DEFAULT",
            Weights,
            "model.weights='DEFAULT' should be one of the values of its type, which have no names",
        ),
        (
            "category_77x",
            Named,
            "model.weights='category_77x' should be one of 500 names; did you mean 'model.weights=category_77'?",
        ),
        ([1] * 10_000, str, f"model.weights=[{'1, ' * 66}1... (30,000 characters) should be a valid string"),
        ("x" * 10_000, int, f"model.weights='{'x' * 199}... (10,002 characters) should be a valid integer"),
    ],
)
def test_a_sentence_is_never_pages_long(value: Any, hint: Any, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        value_of(value, hint, "model.weights")
    assert str(caught.value) == sentence
