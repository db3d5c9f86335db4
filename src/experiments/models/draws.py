"""Random numbers as a function of what they are for, without a state: (seed, update, layer, element).

So a lone run and the same run in a stack draw the same, a CPU and a GPU draw the same masks of Dropout, and a resumed
run needs to know only how many updates it has had.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

WAY = "splitmix64"
"""The name of this way to draw, in checkpoints and summaries; another function needs another name."""

GAMMA, FACTORS, SHIFTS = 0x9E3779B97F4A7C15 - 2**64, (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64), (30, 27)
LAST_SHIFT = 31
"""The constants of SplitMix64 (Steele, Lea and Flood 2014), as signed numbers."""
RESOLUTION = 2**16
"""The share of kept elements is rounded to a multiple of 1 / RESOLUTION, since a word of 64 bits serves 4 elements."""
BLOCK, MOST_UPDATES = {"cpu": 2**16, "cuda": 2**22}, 256
"""Elements that are drawn at once, for the updates that follow, by device, and the largest number of these updates."""


def mixed(z: Tensor) -> Tensor:
    """Return 64-bit integers mixed by the function of SplitMix64, in place."""
    for shift, factor in zip(SHIFTS, FACTORS, strict=True):
        z.bitwise_xor_((z >> shift).bitwise_and_(2 ** (64 - shift) - 1)).mul_(factor)
    return z.bitwise_xor_((z >> LAST_SHIFT).bitwise_and_(2 ** (64 - LAST_SHIFT) - 1))


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on a device, without waiting for it."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


class Masks:
    """The masks of one Dropout layer of several runs.

    Word n of an update is `mix(start + (n + 1) gamma)` with `start = mix(key + update gamma)`, where `mix` and `gamma`
    are those of SplitMix64, and gives elements 4 n to 4 n + 3. The masks of the next updates are drawn together if they
    are small.

    Args:
        keys: of the runs, from `Draws.key`.
        rates: the probability of dropping an element, in [0, 1), of each run.
        device: of the masks.
    """

    def __init__(self, keys: Sequence[int], rates: Sequence[float], device: torch.device) -> None:
        self.keys = moved(torch.tensor(keys), device).view(1, -1, 1)
        kept = [min(max(round((1 - rate) * RESOLUTION), 1), RESOLUTION) - 1 - RESOLUTION // 2 for rate in rates]
        self.highest = moved(torch.tensor(kept, dtype=torch.int16), device).unsqueeze(1)
        self.scales = moved(torch.tensor([1 / (1 - rate) for rate in rates], dtype=torch.float64), device).unsqueeze(1)
        self.first = 0
        self.block = torch.empty(0, len(keys), 0, device=device)

    def of(self, update: int, count: int, dtype: torch.dtype) -> Tensor:
        """Return the factors of an update, 0 or `1 / (1 - rate)`, of shape (runs, count)."""
        row = update - self.first
        if not 0 <= row < len(self.block) or count > self.block.shape[2] or dtype != self.block.dtype:
            self._draw(update, count, dtype)
            row = 0
        return self.block[row, :, :count]

    def _draw(self, update: int, count: int, dtype: torch.dtype) -> None:
        """Draw the factors of this update and of the next ones."""
        device, runs = self.keys.device, self.keys.shape[1]
        updates = min(max(BLOCK[device.type] // max(runs * count, 1), 1), MOST_UPDATES)
        starts = mixed(torch.arange(update, update + updates, device=device).view(-1, 1, 1) * GAMMA + self.keys)
        words = mixed(torch.arange(1, -(-count // 4) + 1, device=device) * GAMMA + starts)
        kept = words.view(torch.int16)[..., :count] <= self.highest
        self.block = kept.to(dtype).mul_(self.scales.to(dtype))
        self.first = update


class Draws:
    """The random numbers of Dropout, augmentation and noise of one run.

    Args:
        seed: of the run and the purpose.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.update = 0
        self.masks: dict[tuple[Any, ...], Masks] = {}
        self.begin(0)

    def __deepcopy__(self, _memo: dict[int, Any]) -> "Draws":
        copied = Draws(self.seed)
        copied.update = self.update
        return copied

    def begin(self, batch: int) -> None:
        """Begin the passes of an update with a batch of this many examples."""
        self.batch = batch
        self.begin_pass(0)

    def begin_pass(self, start: int) -> None:
        """Begin a forward pass of a part of the batch.

        Args:
            start: how many examples of the batch are before those of the part.
        """
        self.start = start
        self.calls: dict[str, int] = {}

    def uncompiled(self) -> None:
        """Keep `torch.compile` out of what draws: the number of the update would be a constant."""
        self.factors = torch.compiler.disable(self.factors)  # type: ignore[method-assign]
        self.normal = torch.compiler.disable(self.normal)  # type: ignore[method-assign]

    def key(self, name: str) -> int:
        """Return a 63-bit number for a layer or another purpose (SHA-256)."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{name}".encode()).digest()[:8], "big") >> 1

    def factors(self, name: str, rate: float, x: Tensor) -> Tensor:
        """Return the factor of each element of x, 0 or `1 / (1 - rate)`, of the same shape.

        Args:
            name: of the Dropout layer.
            rate: the probability of 0, in [0, 1).
            x: its input, (examples, ...).
        """
        name, update = self._called(name)
        key = name, rate, x.device
        if key not in self.masks:
            self.masks[key] = Masks([self.key(name)], [rate], x.device)
        size = x.shape[1:].numel()
        whole = self.masks[key].of(update, max(self.batch, self.start + len(x)) * size, x.dtype)[0]
        return whole[self.start * size : (self.start + len(x)) * size].view(x.shape)

    def normal(self, name: str, x: Tensor) -> Tensor:
        """Return standard normal noise of the shape of x; see `factors`."""
        name, update = self._called(name)
        key = self.key(f"{name}/{update}/{self.start}")
        generator = torch.Generator(x.device).manual_seed(key)
        return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)

    def generator(self, name: str, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a generator for one purpose in the present update."""
        return torch.Generator(device).manual_seed(self.key(f"{name}/{self.update}"))

    def _called(self, name: str) -> tuple[str, int]:
        """Count a call of a layer, and return a name and an update that differ from call to call.

        A layer that runs twice in a pass is two layers; outside the steps of a program, each call is an update.
        """
        number = self.calls[name] = self.calls.get(name, 0) + 1
        if not self.batch:
            return name, self.update + number - 1
        return (name if number == 1 else f"{name}#{number}"), self.update
