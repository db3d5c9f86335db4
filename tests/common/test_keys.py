"""One table says what each key of the configuration may do, and all who ask read it."""

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.common.keys import EARLIER_RATES, MEANINGS, flattened, known, meaning
from tests.helpers import CONF, SHARED_DATA, SMALL, Commands, needs_mnist, summary

OF_HYDRA = {"defaults", "hydra"}
"""Sections that are not part of a run's configuration."""


def keys_of(path: Path) -> set[str]:
    """The keys that a file of the configuration sets, with its group before them."""
    config = yaml.safe_load(path.read_text()) or {}
    group = path.relative_to(CONF).parts[0]
    everywhere = path.parent == CONF or "@package _global_" in path.read_text()
    prefix = "" if everywhere else f"{group}."
    return {key for key in flattened(config, prefix) if key.split(".")[0] not in OF_HYDRA}


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_every_key_of_the_configuration_has_a_meaning(path: Path) -> None:
    assert [key for key in keys_of(path) if not known(key)] == []


def test_every_entry_is_a_key_of_the_configuration() -> None:
    written = {key for path in CONF.rglob("*.yaml") for key in keys_of(path)}
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    assert set(MEANINGS) - written - groups == {EARLIER_RATES, "data.workers"}, (
        "a run writes the first, a Dataset has the second"
    )


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("training.early_stopping.patience", "resume stack group"),
        ("training.epochs", "resume group"),
        ("training.keep_checkpoints", "resume sweep study"),
        ("data.root", "resume sweep study"),
        ("observers.layers.every", "resume sweep study stack"),
        ("sweep.zip", "resume stack"),
        ("seed", "stack"),
        ("optimizer.lr", "resume stack group"),
        ("optimizer.betas", "stack group"),
        ("earlier_rates", "resume sweep study stack group"),
        ("scheduler.horizon", "resume sweep study stack"),
        ("model.hidden", "group"),
        ("model.dropout", "stack group"),
        ("my.own.key", "group"),
    ],
)
def test_meanings_of_keys(key: str, expected: str) -> None:
    own = meaning(key)
    assert " ".join(use for use in ("resume", "sweep", "study", "stack", "group") if getattr(own, use)) == expected


def nested(key: str, value: Any) -> Mapping[str, Any]:
    """A configuration with one key."""
    first, _, rest = key.partition(".")
    return {first: nested(rest, value) if rest else value}


def test_a_key_is_found_whatever_is_below_it() -> None:
    for key in MEANINGS:
        assert set(flattened(nested(key, {"deeper": {"still": 1}}))) >= {key, f"{key}.deeper.still"}
        assert meaning(f"{key}.deeper.still") == MEANINGS[key]


@pytest.mark.slow
def test_kept_checkpoints_do_not_define_groups(commands: Commands) -> None:
    swept = ("training.keep_checkpoints=null,every:1", "seed=1,2", "hydra.sweep.dir=kept")
    assert commands.train("-m", *SMALL, *swept).code == 0
    assert commands.type("compare", "kept").code == 0
    with (commands.folder / "kept" / "comparison" / "table.csv").open() as file:
        assert [row["n"] for row in csv.DictReader(file)] == ["2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "allowed"),
    [
        (("training.keep_checkpoints=every:2",), True),
        (("check=true", "observers.layers.every=2"), True),
        (("training.epochs=3",), False),
        (("sweep.zip=[[optimizer.lr],[0.1]]",), False),
    ],
)
def test_a_sweep_is_resumed_by_the_same_table(commands: Commands, changed: tuple[str, ...], allowed: bool) -> None:
    command = ("-m", *SMALL, "seed=1,2")
    assert commands.train(*command, "hydra.sweep.dir=sweep").code == 0
    outcome = commands.train(*command, "resume=sweep", *changed)
    assert (outcome.code == 0) is allowed, outcome.err


@pytest.mark.slow
@needs_mnist
def test_a_run_is_resumed_though_its_data_has_moved(commands: Commands) -> None:
    for name in ("before", "moved"):
        shutil.copytree(SHARED_DATA / "MNIST", commands.folder / name / "MNIST")
    folder = commands.trained("data=mnist", "data.root=before", *SMALL)
    shutil.rmtree(commands.folder / "before")
    outcome = commands.train(f"resume={folder}", "data.root=moved", "training.epochs=3")
    assert outcome.code == 0, outcome.err
    assert summary(folder)["epochs"] == 3
