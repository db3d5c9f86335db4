"""A trained run from its folder, which may be a stranger's: read as data, and nothing but known code is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from experiments import build
from experiments.assembly import Parts, assembled, chosen_device
from experiments.comparison.reading import CONFIGURATION
from experiments.comparison.reading import loaded as read_yaml
from experiments.errors import UserError
from experiments.resume import untrusted
from experiments.run import RunFolder
from experiments.screen import Screen

WRITTEN = {"cache": None, "download": False}
"""What makes a data set write files, and what stands for the default place or for none."""
OWN_TO_THE_RUN = {
    "resume": None,
    "check": False,
    "trial": None,
    "sweep": None,
    "retry_failed": False,
    "init_from": None,
}


@dataclass
class Loaded:
    """A run with the weights of its best epoch.

    Args:
        folder: of the run.
        config: its own.
        parts: data, model and program.
        epoch: whose weights they are.
        device: where it is.
    """

    folder: RunFolder
    config: Mapping[str, Any]
    parts: Parts
    epoch: int
    device: torch.device


def configuration(folder: Path, trust: Sequence[str] = ()) -> dict[str, Any]:
    """Return a run's configuration.

    Args:
        folder: of the run.
        trust: prefixes of code that it may name besides torch, torchvision and this package.

    Raises:
        UserError: it is no run, or its configuration names other code or reads the environment.
    """
    try:
        config = read_yaml(folder / CONFIGURATION)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        config = None
    if not isinstance(config, dict) or "seed" not in config:
        raise UserError(f"{str(folder)!r} is no run folder: it has no {CONFIGURATION} that can be read")
    for key, text in texts(config):
        if "${" in text:
            raise UserError(f"{key}={text!r} in {str(folder)!r} is an interpolation, which no run of ours leaves")
    for key, value in untrusted(config, trust):
        raise UserError(
            f"{key}={value!r} in {str(folder)!r} names code that is not ours; "
            f"if you trust it, add trust={str(value).partition('.')[0]}"
        )
    return {**config, **OWN_TO_THE_RUN}


def texts(value: Any, key: str = "") -> list[tuple[str, str]]:
    """Return every text of a configuration with its key."""
    if isinstance(value, str):
        return [(key, value)]
    if isinstance(value, Mapping):
        named = [(f"{key}.{name}" if key else str(name), item) for name, item in value.items()]
        return [hit for name, item in named for hit in texts(item, name)]
    if isinstance(value, list):
        return [hit for number, item in enumerate(value) for hit in texts(item, f"{key}[{number}]")]
    return []


def loaded(folder: Path, screen: Screen, trust: Sequence[str] = (), device: str = "auto") -> Loaded:
    """Build a run anew and give it the weights of its best epoch, or of its last where none was best.

    Args:
        folder: of the run.
        screen: where is said what had to be changed.
        trust: see `configuration`.
        device: auto, cpu, cuda or cuda:<number>.

    Raises:
        UserError: it is no run, has no checkpoint that can be read, or cannot be built.
    """
    config = configuration(folder, trust)
    section = config.get("data")
    if isinstance(section, dict):  # a stranger's configuration does not say where files are written
        section |= {name: value for name, value in WRITTEN.items() if name in section}
    training = config.get("training")
    if isinstance(training, dict):
        training |= {"device": device, "compile": False}
    run = RunFolder(folder)
    general, settings, place = build.general(config), build.training(config), chosen_device(device)
    parts = assembled(config, general, settings, place, run, screen)
    problems = []
    for path in (run.best, run.last):
        try:
            state = run.load(path)
            parts.program.load_model(0, state["program"])
            epoch = int(state["position"]["epoch"])
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            problems.append(f"{path.name} cannot be used ({build.first_line(error)})")
            continue
        return Loaded(run, config, parts, epoch, place)
    why = "; ".join(problems) or "it has no checkpoint"
    raise UserError(f"{str(folder)!r} cannot be evaluated: {why}")
