"""Every recipe has a claim that its runs bear out, and a band that a planted wrong result does not pass."""

from pathlib import Path

import pytest

from experiments.cli import conf_folder
from experiments.recipes.making import Order, make
from experiments.recipes.recipe import recipes

KNOWN = recipes([conf_folder()])
FAST = {name: recipe for name, recipe in KNOWN.items() if recipe.tier == "fast"}


def made(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, sabotage: bool) -> tuple[dict[str, float], bool]:
    """What a recipe measures, and whether that bears its claim out."""
    monkeypatch.chdir(folder)
    result = make(Order(name, FAST[name], folder / "runs", folder / "log", sabotage=sabotage))
    assert result.error is None, result.error
    assert result.holds is not None
    return dict(result.values), result.holds


@pytest.mark.parametrize("name", FAST)
def test_the_claim_holds(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values, holds = made(name, tmp_path, monkeypatch, sabotage=False)
    assert holds, values


@pytest.mark.parametrize("name", FAST)
def test_a_planted_wrong_result_is_rejected(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert FAST[name].sabotage, "a fast recipe has a sabotage"
    values, holds = made(name, tmp_path, monkeypatch, sabotage=True)
    assert not holds, values
