"""Loading the data sets of `own_datasets`, as a run does."""

from typing import Any

import torch

from experiments import assembly
from experiments.training.streams import Streams
from tests.helpers import composed

HERE = "tests.assembly.own_datasets"


def loaded(name: str, seed: int = 0, **settings: Any) -> assembly.Data:
    """Load a data set of the user as a run does."""
    config = composed(f"seed={seed}")
    section = {**assembly.splitting(config["data"]), "_target_": f"{HERE}.{name}", **settings}
    return assembly.data({**config, "data": section}, Streams(seed), torch.device("cpu"))


def sizes(data: assembly.Data) -> dict[str, int]:
    """The number of examples of each split."""
    return {name: len(split) for name, split in data.splits.items()}
