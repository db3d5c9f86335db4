"""Letters, ranks and headlines: who is told apart, said in one way everywhere."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from experiments.comparison._ranks import NEMENYI, letters, ranks_of
from experiments.comparison.statistics import smallest_rank_p
from tests.comparison.planted import compared, plant_all, rows_of
from tests.helpers import Commands

Plant = Callable[[str, list[float]], None]
plain = pytest.mark.usefixtures("undrawn")


@pytest.mark.parametrize(
    ("count", "different", "expected"),
    [
        (1, [], ["a"]),
        (3, [], ["a", "a", "a"]),
        (3, [(0, 2)], ["a", "ab", "b"]),
        (3, [(0, 1)], ["a", "b", "ab"]),  # the third one varies more
        (3, [(0, 1), (0, 2), (1, 2)], ["a", "b", "c"]),
        (4, [(0, 3), (1, 3), (0, 2)], ["a", "ab", "bc", "c"]),
    ],
)
def test_letters_of_small_displays(count: int, different: list[tuple[int, int]], expected: list[str]) -> None:
    assert letters(count, different) == expected


@pytest.mark.parametrize("seed", range(20))
def test_two_groups_share_a_letter_exactly_if_they_are_not_told_apart(seed: int) -> None:
    generator = np.random.default_rng(seed)
    count = int(generator.integers(2, 9))
    pairs = [pair for pair in itertools.combinations(range(count), 2) if generator.random() < 0.4]
    found = letters(count, pairs)
    assert found is not None
    for one, other in itertools.combinations(range(count), 2):
        assert bool(set(found[one]) & set(found[other])) == ((one, other) not in pairs)
    assert "a" in found[0]


def test_more_letters_than_the_alphabet_has_are_not_given() -> None:
    assert letters(30, list(itertools.combinations(range(30), 2))) is None


@pytest.mark.parametrize("seed", range(4))
def test_ranks_are_those_of_friedmans_test(seed: int) -> None:
    values = np.random.default_rng(seed).normal(0, 1, (4, 8)).round(1)
    found = ranks_of([dict(enumerate(map(float, row))) for row in values], larger_is_better=True)
    assert found is not None
    assert found.p == pytest.approx(stats.friedmanchisquare(*values).pvalue, abs=1e-9)
    assert found.mean == pytest.approx(stats.rankdata(-values, axis=0).mean(1))
    quantile = stats.studentized_range.ppf(0.95, 4, 1e6) / np.sqrt(2)
    assert found.critical == pytest.approx(quantile * np.sqrt(4 * 5 / (6 * 8)), abs=1e-3)


def test_few_groups_or_seeds_have_no_ranks() -> None:
    group = {seed: float(seed) for seed in range(8)}
    assert ranks_of([group, group], larger_is_better=True) is None
    assert ranks_of([dict.fromkeys(range(4), 0.0)] * 3, larger_is_better=True) is None
    assert ranks_of([group] * (len(NEMENYI) + 2), larger_is_better=True) is None
    assert ranks_of([], larger_is_better=True) is None
    found = ranks_of([group] * 3, larger_is_better=True)
    assert found is not None
    assert (found.p, found.bars()) == (1.0, [(0, 1, 2)])


@pytest.mark.parametrize(("groups", "seeds"), [(2, 6), (3, 7), (4, 8), (6, 10), (8, 11), (12, 12)])
def test_wilcoxon_can_show_nothing_below_these_seeds(groups: int, seeds: int) -> None:
    tests = groups * (groups - 1) // 2
    assert tests * smallest_rank_p(seeds) < 0.05 <= tests * smallest_rank_p(seeds - 1)


@plain
def test_a_group_that_is_beaten_shares_no_letter_with_the_winner(commands: Commands) -> None:
    """The last group varies so much that nothing is shown about it; the second one is beaten by the first."""
    noise = np.array([0.001, -0.001, 0.0, 0.002, -0.002, 0.001, 0.0, -0.001])
    plant_all(commands.folder, list(0.40 + noise), optimizer="a")
    plant_all(commands.folder, list(0.42 + noise[::-1]), optimizer="b")
    plant_all(commands.folder, [0.1, 0.9, 0.2, 0.8, 0.15, 0.85, 0.3, 0.7], optimizer="c")
    said = compared(commands, ".").out
    assert {row["optimizer"]: row["letters"] for row in rows_of(commands.folder)} == {"a": "a", "b": "b", "c": "ab"}
    assert {row["optimizer"]: row["place"] for row in rows_of(commands.folder)} == {"a": "1", "b": "2", "c": "1"}
    assert "optimizer=a beats optimizer=b by 0.02" in said
    headline = next(line for line in said.splitlines() if line.startswith("- "))
    assert headline == (
        "- No group is shown to be the best: optimizer=a has the lowest mean val/loss, 0.4 (95 % 0.3989 to 0.4011, "
        "n = 8), but 1 of 2 others cannot be told apart from it"
    )
    assert "place" not in said
    page = (commands.folder / "comparison" / "report.html").read_text()
    assert "groups that share a letter cannot be told apart" in page


@plain
def test_a_comparison_with_a_baseline_has_no_letters(commands: Commands) -> None:
    for number, name in enumerate("abc"):
        values = [0.5 + 0.1 * number, 0.51 + 0.1 * number, 0.52 + 0.101 * number, 0.53 + 0.102 * number]
        plant_all(commands.folder, values, optimizer=name)
    said = compared(commands, ".", "baseline=optimizer=c").out
    assert "letters" not in said
    assert "optimizer=a has the best mean val/loss" in said
    assert {row["letters"] for row in rows_of(commands.folder)} == {""}


@plain
def test_wilcoxon_is_left_out_if_it_can_show_nothing(commands: Commands) -> None:
    generator = np.random.default_rng(0)
    for number, name in enumerate("abc"):
        plant_all(commands.folder, list(generator.normal(0.5 + 0.01 * number, 0.02, 6)), optimizer=name)
    compared(commands, ".")
    page = (commands.folder / "comparison" / "report.md").read_text()
    left_out = "Wilcoxon's test is left out: after the correction it cannot show any difference with fewer than 7 seeds"
    assert left_out in page
    assert {row["p_wilcoxon_holm"] for row in rows_of(commands.folder, "differences")} == {""}
    compared(commands, ".", "where=optimizer=a", "by=seed")
    for number, name in enumerate("abc"):
        plant_all(commands.folder / "more", list(generator.normal(0.5 + 0.01 * number, 0.02, 7)), optimizer=name)
    compared(commands, "more")
    page = (commands.folder / "more" / "comparison" / "report.md").read_text()
    assert "Wilcoxon's test" not in page
    assert "p (Wilcoxon)" in page


def test_the_critical_difference_diagram_is_drawn_for_three_groups(commands: Commands) -> None:
    generator = np.random.default_rng(1)
    for number, name in enumerate(("sgd", "adam", "rmsprop")):
        plant_all(commands.folder, list(generator.normal(0.5 + 0.05 * number, 0.01, 6)), optimizer=name)
    compared(commands, ".")
    figure = commands.folder / "comparison" / "figures" / "critical_difference.svg"
    assert "mean rank (1 is the best)" in re.sub(r"<[^>]+>", "", figure.read_text())
    page = (commands.folder / "comparison" / "report.html").read_text()
    assert "test shows that the groups differ (p &lt; 0.001)" in page or "shows that the groups differ (p = 0.0" in page
