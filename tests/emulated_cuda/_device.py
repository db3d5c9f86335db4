"""Pretends that the machine has a CUDA device."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from . import _streams
from ._generator import CudaGenerator
from ._record import Current, Record, calling_line, pin
from ._tensor import CudaTensor, EmulationMode, tensor_on

FREE, TOTAL = 70 * 2**30, 80 * 2**30


@contextmanager
def emulated(devices: int = 1) -> Iterator[Record]:
    """Pretend inside the block that there is a CUDA device, and return the record of its work.

    Args:
        devices: the number of CUDA devices that torch seems to find; tensors are only on the first one.
    """
    record = Record()
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(Current, "record", record)
        _patch_cuda(patch, record, devices)
        _patch_tensors(patch)
        _patch_optimizers(patch)
        before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, before)
        stack.enter_context(EmulationMode())
        yield record


def _patch_cuda(patch: pytest.MonkeyPatch, record: Record, devices: int) -> None:
    """Replace the functions of `torch.cuda` that ask for the device."""
    generator = CudaGenerator("cuda")
    generator.manual_seed(0)
    functions: dict[str, Any] = {
        "_lazy_init": lambda: None,
        "is_available": lambda: devices > 0,
        "is_initialized": lambda: True,
        "device_count": lambda: devices,
        "current_device": lambda: 0,
        "set_device": lambda _device: None,
        "mem_get_info": lambda _device=None: (FREE, TOTAL),
        "memory_reserved": lambda _device=None: 0,
        "memory_allocated": lambda _device=None: 0,
        "get_device_name": lambda _device=None: "emulated device",
        "get_device_capability": lambda _device=None: (9, 0),
        "is_bf16_supported": lambda *_args, **_kwargs: True,
        "synchronize": lambda _device=None: record.synchronized.update([calling_line()]),
        "default_generators": (generator,),
        "get_rng_state": lambda _device=None: generator.get_state(),
        "set_rng_state": lambda state, _device=None: generator.set_state(state),
        "_is_in_bad_fork": lambda: False,
        "Stream": _streams.Stream,
        "stream": _streams.stream,
        "current_stream": _streams.current_stream,
    }
    for name, function in functions.items():
        patch.setattr(torch.cuda, name, function)
    patch.setattr(torch, "Generator", CudaGenerator)


def _patch_tensors(patch: pytest.MonkeyPatch) -> None:
    """Replace what reads the device of a tensor in C++."""

    def pinned(self: Tensor, _device: Any = None) -> Tensor:
        return pin(self.clone())

    def allocating(real: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def allocate(*args: Any, pin_memory: bool = False, **kwargs: Any) -> Tensor:
            created = real(*args, **kwargs)
            return pin(created) if pin_memory else created

        return allocate

    patch.setattr(Tensor, "pin_memory", pinned)
    for name in ("empty", "empty_like"):
        patch.setattr(torch, name, allocating(getattr(torch, name)))
    patch.setattr(torch, "tensor", tensor_on(torch.tensor))


def _patch_optimizers(patch: pytest.MonkeyPatch) -> None:
    """Let torch's optimizers use their kernels for many tensors at once, as on CUDA."""
    optimizer = import_module("torch.optim.optimizer")  # which `torch.optim` hides
    patch.setattr(optimizer, "_foreach_supported_types", [*optimizer._foreach_supported_types, CudaTensor])
    for name in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
        patch.setattr(torch.optim.Optimizer, name, lambda _self: None, raising=False)
