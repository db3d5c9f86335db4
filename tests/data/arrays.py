"""Arrays in a file, as a run loads them."""

from typing import Any

import torch

from experiments import assembly
from experiments.training.streams import Streams
from tests.helpers import composed

CPU = torch.device("cpu")


def arrays(path: str, seed: int = 0, **settings: Any) -> assembly.Data:
    """Load an .npz file with other settings of the data."""
    config = composed("data=npz", f"data.path='{path}'")
    return assembly.data({**config, "data": {**config["data"], **settings}}, Streams(seed), CPU)
