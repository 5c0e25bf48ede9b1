"""FSDP and DeepSpeed between CPU processes: both run over gloo, and accelerate offers them to accelerators alone."""

from __future__ import annotations

from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType


def allow_sharding_on_cpu() -> None:
    """Takes the question after the device out of accelerate's choice; all that follows is its own code."""
    stock = AcceleratorState.__init__

    def init(self: AcceleratorState, *args: Any, **kwargs: Any) -> None:
        stock(self, *args, **kwargs)
        fsdp, deepspeed = kwargs.get("fsdp_plugin"), kwargs.get("deepspeed_plugin")
        if fsdp is not None:
            self.fsdp_plugin = fsdp
            self.distributed_type = DistributedType.FSDP
        elif deepspeed is not None:
            _start_deepspeed()
            plugin = next(iter(deepspeed.values())) if isinstance(deepspeed, dict) else deepspeed
            plugin.set_mixed_precision("no")
            plugin.select(_from_accelerator_state=True)
            self.deepspeed_plugins = {"default": plugin}
            self.distributed_type = DistributedType.DEEPSPEED
        PartialState._shared_state["distributed_type"] = self.distributed_type

    AcceleratorState.__init__ = init


def _start_deepspeed() -> None:
    import deepspeed

    # Shared memory between CPU ranks, compiled at first use: gloo does without.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if not deepspeed.comm.is_initialized():
        deepspeed.comm.init_distributed("gloo", auto_mpi_discovery=False)
