"""Overrides are read as ranges and choices, and drawn from without repeating."""

import math
from typing import Any

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from experiments.common.errors import UserError
from experiments.search._rounds import border, narrowed, quotas
from experiments.search.sampling import ExhaustedError, exhausted, sampler
from experiments.search.space import Space, moved, space_of, typed


def space(*overrides: str) -> Space:
    """The space of a command line."""
    return space_of(OverridesParser.create().parse_overrides(list(overrides)))


def assert_typed(key: str, value: Any, override: str) -> None:
    """Fail unless an override sets a key to a value."""
    parsed = OverridesParser.create().parse_override(override)
    assert (parsed.key_or_group, parsed.value()) == (key, value)


DISTRIBUTIONS = [
    ("x=interval(0, 0.5)", FloatDistribution(0.0, 0.5)),
    ("x=tag(log, interval(1e-4, 1e-1))", FloatDistribution(1e-4, 1e-1, log=True)),
    ("x=int(interval(4, 64))", IntDistribution(4, 64)),
    ("x=tag(log, int(interval(4, 64)))", IntDistribution(4, 64, log=True)),
    ("x=int(tag(log, interval(4, 64)))", IntDistribution(4, 64, log=True)),
    ("x=range(1, 5)", IntDistribution(1, 4)),  # the end is left out
    ("x=range(5)", IntDistribution(0, 4)),
    ("x=range(1, 10, 4)", IntDistribution(1, 9, step=4)),
    ("x=range(5, 1, -2)", IntDistribution(3, 5, step=2)),
    ("x=range(0, 1, 0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
    ("x=tag(log, range(1, 9))", IntDistribution(1, 8, log=True)),
    ("x=choice(a,b)", CategoricalDistribution(["a", "b"])),
    ("x=a,b,c", CategoricalDistribution(["a", "b", "c"])),
    ("x=0.1,1", CategoricalDistribution([0.1, 1])),
    ("x=choice([50],[100,100])", CategoricalDistribution(["[50]", "[100,100]"])),
    ("x=null,{a:1}", CategoricalDistribution(["null", "{a:1}"])),
    ("x=choice(1,true)", CategoricalDistribution(["1", "True"])),  # which are equal in Python
    ("x=choice(a,b,a)", CategoricalDistribution(["a", "b"])),
]


@pytest.mark.parametrize(("override", "expected"), DISTRIBUTIONS)
def test_an_override_is_read_as_a_distribution(override: str, expected: Any) -> None:
    assert space(override, "y=1").distributions == {"x": expected}


CHOICES = [("x=choice([50],[100,100])", [[50], [100, 100]]), ("x='a b',null,true,3", ["a b", None, True, 3])]


@pytest.mark.parametrize(("override", "values"), CHOICES)
def test_a_choice_is_typed_as_it_was_given(override: str, values: list[Any]) -> None:
    dimension = space(override).dimensions["x"]
    for stored, value in zip(dimension.values() or [], values, strict=True):
        assert_typed("x", value, dimension.override(stored))


@pytest.mark.slow
@given(st.text(min_size=1).filter(lambda text: text.isprintable() and "$" not in text))
def test_a_text_is_quoted(text: str) -> None:
    assert_typed("x", text, f"x={typed(text)}")


def test_the_later_of_two_overrides_counts_and_the_rest_is_fixed() -> None:
    read = space("optimizer=sgd", "optimizer.lr=interval(0,1)", "+a.b=interval(0,1)", "~c", "optimizer.lr=0.1")
    assert read.fixed == {"optimizer": "optimizer=sgd", "~c": "~c", "optimizer.lr": "optimizer.lr=0.1"}
    assert read.overrides({"a.b": 0.5})[-1] == "+a.b=0.5"


BAD = {
    "x=interval(1,1)": "low end should be less",
    "x=interval(2,1)": "low end should be less",
    "x=interval(0,inf)": "finite",
    "x=tag(log,interval(0,1))": "above 0",
    "x=tag(log,range(0,4))": "above 0",
    "x=range(4,1)": "end is excluded",
    "x=tag(log,range(1,9,2))": "steps",
    "x=1": "nothing to search",
}


@pytest.mark.parametrize(("override", "reason"), BAD.items(), ids=BAD)
def test_an_empty_or_contradictory_space_is_refused(override: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        space(override)


@given(st.floats(1e-6, 1e3), st.floats(1.01, 1e6), st.booleans(), st.floats(0, 1))
def test_a_drawn_value_is_rounded_inside_its_range(low: float, factor: float, log: bool, position: float) -> None:
    tag = f"interval({low!r},{low * factor!r})"
    dimension = space(f"x={'tag(log,' + tag + ')' if log else tag}").dimensions["x"]
    value = dimension.at(position)
    rounded = dimension.rounded(value)
    assert low <= rounded <= low * factor
    assert abs(dimension.position(rounded) - position) < 2e-2
    assert len(repr(rounded)) < 12 or rounded in (low, low * factor) or math.isclose(low, low * factor, rel_tol=0.1)


FINITE = ("x=a,b", "y=range(1,4)", "z=range(0,1,0.5)")


@pytest.mark.parametrize("name", ["grid", "random", "qmc", "tpe", "gp", "cmaes"])
def test_no_sampler_repeats_a_point_of_a_finite_space(name: str) -> None:
    searched = space(*FINITE)
    study = optuna.create_study(sampler=sampler(name, 0, 0, searched))
    for number in range(12):
        assert not exhausted(study, searched)
        trial = study.ask(searched.distributions)
        study.tell(trial, float(number))
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 12
    assert exhausted(study, searched)
    with pytest.raises(ExhaustedError):
        study.ask(searched.distributions)


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_the_seed_decides_the_draws_and_a_resumed_study_draws_other_values(name: str) -> None:
    searched = space("x=interval(0,1)", "y=tag(log,interval(1e-3,1))")

    def drawn(seed: int, started: int) -> list[dict[str, Any]]:
        study = optuna.create_study(sampler=sampler(name, seed, started, searched))
        return [study.ask(searched.distributions).params for _ in range(3)]

    assert drawn(0, 0) == drawn(0, 0) != drawn(1, 0)
    assert drawn(0, 3)[0] not in drawn(0, 0)


def test_a_low_discrepancy_sequence_continues_after_a_resume() -> None:
    searched = space("x=interval(0,1)", "y=interval(0,1)")
    storage = optuna.storages.InMemoryStorage()

    def study(started: int) -> optuna.Study:
        drawing = sampler("qmc", 0, started, searched)
        return optuna.create_study(storage=storage, study_name="q", load_if_exists=True, sampler=drawing)

    for started in (0, 8):
        for _ in range(8):
            made = study(started)
            made.tell(made.ask(searched.distributions), 0.0)
    cells = {(int(4 * t.params["x"]), int(4 * t.params["y"])) for t in study(16).trials}
    assert len(cells) == 16  # one in each of 4 x 4 cells: chance alone leaves about a third of them empty


@pytest.mark.parametrize("name", ["hydra", {"name": "tpe", "n_start": 1}, {"_target_": "os.system"}, 3])
def test_an_unknown_sampler_or_option_is_refused(name: Any) -> None:
    with pytest.raises(UserError, match="sampler"):
        sampler(name, 0, 0, space("x=interval(0,1)"))


def test_grid_refuses_an_interval() -> None:
    with pytest.raises(UserError, match="cannot list the interval of x"):
        sampler("grid", 0, 0, space("x=interval(0,1)"))


def frozen(value: float, **params: float) -> optuna.trial.FrozenTrial:
    """A finished trial."""
    distributions: dict[str, BaseDistribution] = {name: FloatDistribution(1e-9, 1e9) for name in params}
    return optuna.trial.create_trial(params=params, distributions=distributions, value=value)


def test_ranges_are_narrowed_around_the_best_fifth(capsys: pytest.CaptureFixture[str]) -> None:
    searched = space("x=interval(0,10)", "y=tag(log,interval(1e-4,1))", "z=int(interval(1,100))")
    best_first = [frozen(1.0 - i, x=4 + 0.1 * i, y=1e-2 * (1 + i), z=50 + i) for i in range(10)]
    ranges = narrowed(searched, searched, best_first, 1)
    assert ranges["x"] == pytest.approx([3.0, 5.1])  # the best fifth is 4.0 and 4.1, with a tenth of 10 beside it
    assert ranges["y"] == pytest.approx([1e-2 / 10**0.4, 2e-2 * 10**0.4], rel=1e-3)
    assert ranges["z"] == [40, 61]
    assert "border" not in capsys.readouterr().out
    assert searched.within(ranges).dimensions["x"].bounds == (3.0, 5.1)


def test_a_best_value_on_the_border_moves_the_range_over_it(capsys: pytest.CaptureFixture[str]) -> None:
    searched = space("x=interval(0,10)", "y=tag(log,interval(1e-4,1))", "p=interval(0,1)")
    ranges = narrowed(searched, searched, [frozen(1.0, x=9.9, y=1e-4, p=0.99)], 1)
    assert ranges["x"][0] < 9.9 < 10 < ranges["x"][1]
    assert 0 < ranges["y"][0] < 1e-4 < ranges["y"][1]
    assert ranges["p"][1] == 1.0  # a share stays one
    said = capsys.readouterr().out
    assert said.count("on the upper border") == 2
    assert said.count("on the lower border") == 1


def test_borders_and_quotas() -> None:
    dimension = space("y=tag(log,interval(1e-4,1))").dimensions["y"]
    assert [border(dimension, value) for value in (1.2e-4, 1e-2, 0.9)] == ["lower", "", "upper"]
    assert moved(space("x=range(0,10,3)").dimensions["x"], 2.6, 7).bounds == (3, 6)
    assert quotas(20, 3) == [7, 7, 6]
