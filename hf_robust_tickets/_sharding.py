"""Parameters that FSDP2 has cut into shards (`DTensor`), seen whole and put back.

torch.distributed is imported inside the functions: it may be absent from a build, and is slow to import.
"""

from __future__ import annotations

from torch import Tensor, nn


def is_sharded(tensor: Tensor) -> bool:
    """Whether a rank holds only a part of the tensor."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """The tensor without shards, on every rank; all ranks must ask. One that has none is given back as it is."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def shard_like(tensor: Tensor, other: Tensor) -> Tensor:
    """`tensor` cut as `other` is; all ranks must ask."""
    if not is_sharded(other) or is_sharded(tensor):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, other.device_mesh, other.placements)


def reshard(model: nn.Module) -> None:
    """Puts the shards back in place of what the last forward pass has gathered and not let go."""
    for module in model.modules():
        # FSDPModule of FSDP2; FSDP1 has no such method.
        if hasattr(module, "reshard"):
            module.reshard()
