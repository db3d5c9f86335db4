"""The tensors of an emulated CUDA device, and what an operation on them does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.utils._device
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from . import _streams
from ._generator import CUDA, check_generator
from ._record import Current, is_pinned

CPU = torch.device("cpu")
NO_KERNEL = frozenset(
    (
        *("view", "_unsafe_view", "t", "transpose", "permute", "expand", "unsqueeze", "squeeze", "select", "slice"),
        *("split", "unbind", "detach", "alias", "as_strided", "diagonal", "view_as_real", "empty", "empty_like"),
        *("new_empty", "empty_strided", "new_empty_strided", "lift_fresh", "lift", "_reshape_alias"),
        *("split_with_sizes", "unfold", "real", "is_pinned", "sym_size", "sym_stride", "sym_numel", "size", "stride"),
        *("device", "chunk", "narrow", "reshape", "is_same_size", "_has_same_storage_numel", "set_", "resize_"),
        *("record_stream",),
    )
)
"""Operations that launch nothing: views, allocations and questions."""
WAITS = frozenset(
    (
        *("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "bincount", "_unique2"),
        *("unique_consecutive", "linalg_eigh", "_linalg_eigh", "_linalg_svd", "repeat_interleave", "histc"),
        *("unique_dim", "nonzero_static"),
    )
)
"""Operations that copy numbers to the host, because a shape or a branch depends on them."""
INDEXING = frozenset(["index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_", "_unsafe_index_put"])


def wait(kind: str) -> None:
    """Record a wait."""
    Current.record.wait(kind)


class CudaTensor(Tensor):
    """A tensor of the emulated device; `numbers` is its content.

    Args:
        numbers: a tensor on the CPU, whose memory it uses.
        requires_grad: whether it requires a gradient.
    """

    numbers: Tensor
    written: tuple[_streams.Stream, int] | None
    recorded: set[int]

    @staticmethod
    def __new__(cls: type["CudaTensor"], numbers: Tensor, requires_grad: bool = False) -> "CudaTensor":
        """Wrap the numbers, with a device in C++ on which nothing is computed."""
        wrapper: CudaTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.size(),
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            layout=numbers.layout,
            device=torch.device("meta"),
            requires_grad=requires_grad,
        )
        wrapper.numbers, wrapper.written, wrapper.recorded = numbers, None, set()
        return wrapper

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation."""
        return dispatched(func, args, kwargs or {})

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Its device."""
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        """Whether it is on a CUDA device."""
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        """Whether it is on the CPU."""
        return False

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        """Whether it has no numbers."""
        return False

    def get_device(self) -> int:
        """Return the number of its device."""
        return 0

    def data_ptr(self) -> int:
        """Return its address."""
        return self.numbers.data_ptr()

    def record_stream(self, stream: Any) -> None:
        """Keep its memory until the work of a stream is done."""
        self.recorded.add(stream.number)

    def pin_memory(self, device: Any = None) -> Tensor:
        """Refuse, as CUDA does."""
        raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")

    def numpy(self, *, force: bool = False) -> Any:
        """Refuse, as CUDA does."""
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. "
            "Use Tensor.cpu() to copy the tensor to host memory first."
        )

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return self.numpy()

    def __getitem__(self, key: Any) -> Tensor:
        return Tensor.__getitem__(self, on_device(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        Tensor.__setitem__(self, on_device(key), value)

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:  # type: ignore[override]
        """Build a tensor on this device."""
        return torch.tensor(data, dtype=dtype or self.dtype, device=CUDA, requires_grad=requires_grad)

    def tolist(self) -> Any:
        """Copy the numbers to the host, which waits."""
        wait("tolist")
        return self.numbers.tolist()

    def __repr__(self, **_kwargs: Any) -> str:  # type: ignore[override]
        return f"CudaTensor({self.numbers})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        wait("save")
        return self.numbers.detach().clone().requires_grad_(self.requires_grad).__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            with torch.no_grad():
                copied = CudaTensor(self.numbers.clone())
            Current.record.launch("clone")
            copied.requires_grad_(self.requires_grad)
            if getattr(self, "_is_param", False):
                copied._is_param = True
            memo[id(self)] = copied
        copied_before: Tensor = memo[id(self)]
        return copied_before

    @property
    def data(self) -> Tensor:
        """The same numbers without a history."""
        return CudaTensor(self.numbers.detach())

    @data.setter
    def data(self, new: Tensor) -> None:
        if not isinstance(new, CudaTensor):
            raise RuntimeError("incompatible tensor type: the data of a tensor on cuda:0 cannot be on the CPU")
        torch._C.TensorBase.data.__set__(self, new)  # type: ignore[attr-defined]
        self.numbers = new.numbers


class EmulationMode(TorchDispatchMode):
    """Handles operations without a tensor of the device, such as `torch.zeros(3, device="cuda")`."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation."""
        return dispatched(func, args, kwargs or {})


def on_device(key: Any) -> Any:
    """Return an index whose lists are tensors on the device, as CUDA copies them there."""
    if isinstance(key, list):
        wait("list as index")
        return torch.tensor(key, device=CUDA)
    return tuple(on_device(part) for part in key) if isinstance(key, tuple) else key


def builds_meta() -> bool:
    """Whether the calling code builds tensors without numbers, in a block of `torch.device("meta")`."""
    chosen = getattr(torch.utils._device, "CURRENT_DEVICE", None)
    return chosen is not None and torch.device(chosen).type == "meta"


def goes_to_device(device: Any) -> bool:
    """Whether an operation with this argument creates a tensor on the emulated device."""
    if device is None:
        return False
    kind = torch.device(device).type
    return kind == "cuda" or (kind == "meta" and not builds_meta())


def dispatched(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Run an operation of torch: check the devices, record it, and compute it on the CPU."""
    flat = pytree.tree_leaves((args, kwargs))
    own = [value for value in flat if isinstance(value, CudaTensor)]
    name = func._schema.name.split("::")[1]
    to_device = goes_to_device(kwargs.get("device"))
    check_generator(flat, cuda=bool(own or to_device), operation=name)
    if not own and not to_device:
        return func(*args, **kwargs)
    for tensor in own:
        _streams.check_waited_for(tensor)
    if name == "_to_copy":
        return converted(func, args[0], kwargs, to_device=to_device)
    if name == "copy_" and isinstance(args[0], CudaTensor) != isinstance(args[1], CudaTensor):
        return copied(func, args, kwargs)
    check_devices(name, args, [v for v in flat if isinstance(v, Tensor) and not isinstance(v, CudaTensor)])
    note(name, args, kwargs)
    return computed(func, name, args, kwargs, own)


def check_devices(name: str, args: Sequence[Any], others: Sequence[Tensor]) -> None:
    """Refuse tensors of the CPU among those of the device, except single numbers and indices.

    Raises:
        RuntimeError: as CUDA's.
    """
    if not others:
        return
    if name in INDEXING and isinstance(args[0], CudaTensor):
        wait("index on the CPU")
        return
    changes_cpu = name.endswith("_") and isinstance(args[0], Tensor) and not isinstance(args[0], CudaTensor)
    if changes_cpu or any(other.ndim > 0 for other in others):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! ({name})"
        )


def note(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Record the launch of an operation, and its wait."""
    if name in WAITS and not (name == "repeat_interleave" and kwargs.get("output_size") is not None):
        wait(name)
    if name in INDEXING and any(isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1]):
        wait("boolean mask")
    if name not in NO_KERNEL and not name.startswith("sym_"):
        Current.record.launch(name)


def converted(func: Any, source: Tensor, kwargs: Mapping[str, Any], *, to_device: bool) -> Tensor:
    """Return a tensor of another device, type or layout."""
    here = isinstance(source, CudaTensor)
    device = kwargs.get("device")
    to_host = device is not None and torch.device(device).type == "cpu"
    plain = {**kwargs, "device": CPU}
    values = source.numbers if isinstance(source, CudaTensor) else source
    if here and to_host:
        wait("copy to the host")
        found: Tensor = func(values, **plain)
        return found
    if not here:
        Current.record.launch("copy to the device")
        if not kwargs.get("non_blocking"):
            wait("copy to the device")
        elif not is_pinned(source):
            wait("copy to the device from memory that is not pinned")
        moved = CudaTensor(func(values, **plain).clone())
        _streams.note_written(moved)
        return moved
    if to_device and kwargs.get("dtype") in (None, source.dtype) and kwargs.get("memory_format") is None:
        return source
    Current.record.launch("_to_copy")
    return CudaTensor(func(values, **plain))


def copied(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """Copy numbers between the devices into a tensor that exists."""
    target, source = args[0], args[1]
    asynchronous = kwargs.get("non_blocking", args[2] if len(args) > 2 else False)
    if isinstance(target, CudaTensor):
        if not (asynchronous and is_pinned(source)) and source.ndim:
            wait("copy to the device")
        Current.record.launch("copy to the device")
    elif not (asynchronous and is_pinned(target)):
        wait("copy to the host")
    func(*(value.numbers if isinstance(value, CudaTensor) else value for value in args), **kwargs)
    result: Tensor = target
    return result


def computed(func: Any, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], own: Sequence[CudaTensor]) -> Any:
    """Compute an operation on the CPU, and return its results as tensors of the device."""

    def plain(value: Any) -> Any:
        return value.numbers if isinstance(value, CudaTensor) else value

    plain_args, plain_kwargs = pytree.tree_map(plain, (args, dict(kwargs)))
    device = kwargs.get("device")
    if device is not None:
        plain_kwargs = {**plain_kwargs, "device": CPU}
        plain_kwargs.pop("pin_memory", None)
    result = func(*plain_args, **plain_kwargs)
    if name == "_local_scalar_dense" or (device is not None and torch.device(device).type == "cpu"):
        return result
    written = any(r.alias_info is not None and r.alias_info.is_write for r in func._schema.returns)
    known = {id(tensor.numbers): tensor for tensor in own} if written else {}

    def wrapped(value: Any) -> Any:
        if not isinstance(value, Tensor) or isinstance(value, CudaTensor):
            return value
        return known[id(value)] if id(value) in known else CudaTensor(value)

    return pytree.tree_map(wrapped, result)


def tensor_on(real: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return `torch.tensor` that builds tensors of the emulated device too, also under `vmap`."""

    def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        if not goes_to_device(device):
            return real(data, dtype=dtype, device=device, requires_grad=requires_grad)
        built = real(data, dtype=dtype).to(CUDA)
        return built.requires_grad_() if requires_grad else built

    return tensor
