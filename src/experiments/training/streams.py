"""Reproducible randomness: one seed, and a stream for each purpose."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from experiments.models.draws import WAY, Draws


def derived_seed(seed: int, purpose: str) -> int:
    """Return a 63-bit seed for one purpose; different purposes and seeds are unrelated (SHA-256)."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Streams:
    """The named random streams of a run.

    Two runs with the same seed share the split, the random numbers of the initial weights and the order of batches,
    whatever else differs, because each purpose has its own stream. Those that are generators draw on the CPU, so that
    they agree between devices; `noise` has no state.

    Args:
        seed: the run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.split = torch.Generator().manual_seed(derived_seed(seed, "split"))
        self.init = torch.Generator().manual_seed(derived_seed(seed, "init"))
        self.order = torch.Generator().manual_seed(derived_seed(seed, "order"))
        self.noise = Draws(derived_seed(seed, "noise"))

    @property
    def generators(self) -> dict[str, torch.Generator]:
        """The streams that have a state, by name."""
        return {name: stream for name, stream in vars(self).items() if isinstance(stream, torch.Generator)}

    def state_dict(self) -> dict[str, Any]:
        """Return each generator's state, and the way in which the noise is drawn."""
        return {**{name: stream.get_state() for name, stream in self.generators.items()}, "noise": WAY}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore each generator's state."""
        for name, stream in self.generators.items():
            stream.set_state(state[name])


def seed_of(state: torch.Tensor) -> int:
    """Return a 63-bit seed that is derived from the state of a generator of another device.

    The states of a CPU generator (5056 bytes) and of a CUDA generator (16 bytes) cannot be converted, since they are of
    different algorithms. A seed that is derived from the state repeats no earlier draw, and is the same every time.
    """
    return derived_seed(0, hashlib.sha256(bytes(state.tolist())).hexdigest())


@contextmanager
def global_generator(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generator inside the block, and restore it afterwards.

    This package does not draw from it, but a user's own model may (`nn.Dropout` cannot be given a generator). Its runs
    should be reproducible too, and not change the numbers that the calling program draws.
    """
    cuda = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.random.default_generator.manual_seed(derived_seed(seed, "global"))
        if cuda:
            torch.cuda.default_generators[cuda[0]].manual_seed(derived_seed(seed, "global"))
        yield


@contextmanager
def undrawn(device: torch.device) -> Iterator[None]:
    """Restore torch's global generators after the block: a user's model may draw even in evaluation mode."""
    with torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []):
        yield


def global_state(device: torch.device) -> dict[str, Any]:
    """Return the state of torch's global generators, for a checkpoint."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_global_state(state: dict[str, Any], device: torch.device) -> None:
    """Restore the state of torch's global generators."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
    elif device.type == "cuda":  # the state is of a run on the CPU
        torch.cuda.default_generators[device.index or 0].manual_seed(seed_of(state["cpu"]))
