"""Generators of an emulated CUDA device."""

import hashlib
from typing import Any

import torch

CUDA = torch.device("cuda:0")
STATE_BYTES = 16
"""The size of the state of a CUDA generator: its seed and its offset. That of a CPU generator has 5056 bytes."""

Real: Any = torch._C.Generator

_on_cuda: dict[int, Any] = {}
"""The generators of the emulated device by their address in C++, which `Generator` objects that share it have too."""
_states: dict[bytes, torch.Tensor] = {}
"""The state of the CPU generator below for each state of 16 bytes."""


class CudaGenerator(Real):
    """`torch.Generator` of any device; those of CUDA draw on the CPU, and have short states."""

    def __new__(cls, device: torch.device | str = "cpu") -> "CudaGenerator":
        """Create it on the CPU, and remember its device."""
        generator = Real.__new__(cls, "cpu")
        if torch.device(device).type == "cuda":
            _on_cuda[generator._cdata] = generator
        own: CudaGenerator = generator
        return own

    def __init__(self, device: torch.device | str = "cpu") -> None:
        pass

    @property
    def device(self) -> torch.device:
        """Its device."""
        return CUDA if on_cuda(self) else torch.device("cpu")

    def get_state(self) -> torch.Tensor:
        """Return its state: of 16 bytes on CUDA."""
        state: torch.Tensor = super().get_state()
        if not on_cuda(self):
            return state
        key = hashlib.sha256(state.numpy().tobytes()).digest()[:STATE_BYTES]
        _states[key] = state
        return torch.frombuffer(bytearray(key), dtype=torch.uint8)

    def set_state(self, state: torch.Tensor) -> "CudaGenerator":
        """Restore a state; a state of another process seeds it."""
        if on_cuda(self):
            if state.numel() != STATE_BYTES:
                raise RuntimeError("RNG state is wrong size")
            key = state.numpy().tobytes()
            if key not in _states:
                self.manual_seed(int.from_bytes(key[:8], "little") >> 1)
                return self
            state = _states[key]
        super().set_state(state)
        return self


def on_cuda(generator: Any) -> bool:
    """Whether a generator is on the emulated device."""
    return generator is not None and generator._cdata in _on_cuda


def check_generator(arguments: list[Any], *, cuda: bool, operation: str) -> None:
    """Check that the generator among arguments, if there is one, is on the device of the operation.

    Raises:
        RuntimeError: it is on the other one.
    """
    for argument in arguments:
        if isinstance(argument, Real) and on_cuda(argument) != cuda:
            wanted, got = ("cuda", "cpu") if cuda else ("cpu", "cuda")
            raise RuntimeError(f"Expected a '{wanted}' device type for generator but found '{got}' ({operation})")
