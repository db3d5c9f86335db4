"""A CUDA device that consists of CPU memory: real numbers, CUDA's rules about devices, and every launch counted.

    with emulated() as record:
        commands.trained("training.device=cuda")
    assert not record.waits

Python sees `cuda:0`, so whole commands run without a GPU. Operations on tensors of mixed devices and with generators of
the wrong device raise CUDA's errors; each operation counts as one launch of a kernel (views do not; `_foreach_*` and
`_fused_*` count as one); and each wait for the device is recorded with its line: `.item()`, `.tolist()`, `.cpu()`,
`bincount`, `nonzero`, boolean masks, and copies from memory that is not pinned. A tensor that a side stream copies has
to be waited for. Generators have states of 16 bytes, as on CUDA.

Not emulated: autocast (its rules read the device in C++), `torch.compile`, CUDA graphs, nccl, and the rounding of real
kernels (TF32, atomic additions). Lists as indices, `new_tensor`, and `torch.tensor` under `vmap` read the device in C++
too; they are replaced.
"""

from ._device import emulated
from ._record import Current, Record, Wait
from ._tensor import CudaTensor

__all__ = ["CudaTensor", "Current", "Record", "Wait", "emulated"]
