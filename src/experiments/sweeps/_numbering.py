"""The numbers in the names of a sweep's folders, with leading zeros so that the names sort."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

PADDED = "${padded:${hydra.job.num}}"
"""How the name of a run's folder begins in the configuration, unless the user names the folders."""
DIGITS = 2
"""The digits of the resolver `padded`."""
NUMBER = re.compile(r"(\d+)_")


def number_folders(config: DictConfig, count: int) -> None:
    """Give the numbers of the folders as many digits as the largest number needs.

    A sweep that has begun keeps its names: those of earlier versions have no leading zeros.

    Args:
        config: the sweep's own, with its folder.
        count: how many runs the sweep will have.
    """
    sections: Any = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    subdir = str(sections["subdir"])
    begun = [path.parent.name for path in Path(sections["dir"]).glob("*/.hydra")]
    lengths = [len(match[1]) for name in begun if (match := NUMBER.match(name))]
    digits = min(lengths) if lengths else max(DIGITS, len(str(count - 1)))
    if PADDED not in subdir or digits == DIGITS:
        return
    named = subdir.replace(PADDED, f"${{padded:${{hydra.job.num}},{digits}}}")
    config.hydra.sweep.subdir = named
    config.hydra.overrides.hydra = [*config.hydra.overrides.hydra, f"hydra.sweep.subdir='{named}'"]
