"""`torch.nn.DataParallel` without accelerators: two replicas in two threads, on the CPU.

All that concerns replicas is torch's own (`replicate`, `scatter`, `gather`); stood in for are the three operations
that need a device each (broadcast, scatter and gather of a tensor) and the streams around the threads.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.parallel import scatter_gather
from transformers import TrainingArguments

DEVICES = [0, 1]


class CpuDataParallel(nn.DataParallel):
    """Two replicas on one CPU."""

    passes: int = 0

    def __init__(self, module: nn.Module) -> None:
        nn.Module.__init__(self)
        self.module, self.dim, self.device_ids = module, 0, DEVICES
        self.output_device = self.src_device_obj = torch.device("cpu")

    def parallel_apply(self, replicas: Sequence[nn.Module], inputs: Sequence[Any], kwargs: Any) -> list[Any]:
        """As torch's, without streams: a thread per replica, started at the same time."""
        type(self).passes += 1
        results: dict[int, Any] = {}
        enabled, barrier = torch.is_grad_enabled(), threading.Barrier(len(replicas))

        def work(i: int) -> None:
            torch.set_grad_enabled(enabled)
            barrier.wait()
            try:
                results[i] = replicas[i](*inputs[i], **kwargs[i])
            except Exception as error:
                results[i] = error

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(replicas))]
        for thread in reversed(threads):
            thread.start()
        for thread in threads:
            thread.join()
        for result in results.values():
            if isinstance(result, Exception):
                raise result
        return [results[i] for i in range(len(replicas))]


class _Scatter:
    @staticmethod
    def apply(devices: Sequence[int], sizes: None, dim: int, tensor: Tensor) -> tuple[Tensor, ...]:
        return tensor.chunk(len(devices), dim)


class _Gather:
    @staticmethod
    def apply(device: Any, dim: int, *tensors: Tensor) -> Tensor:
        return torch.cat([tensor.reshape(1) if tensor.dim() == 0 else tensor for tensor in tensors], dim)


def _broadcast(tensors: Sequence[Tensor], devices: Sequence[int], detach: bool = False) -> list[list[Tensor]]:
    return [[tensor.detach().clone() if detach else tensor.clone() for tensor in tensors] for _ in devices]


@contextmanager
def two_replicas() -> Iterator[type[CpuDataParallel]]:
    """While it lasts, a Trainer takes the machine for one with two accelerators, and trains two replicas."""
    CpuDataParallel.passes = 0
    with (
        patch.object(nn, "DataParallel", CpuDataParallel),
        patch.object(TrainingArguments, "n_gpu", property(lambda self: len(DEVICES))),
        # The package hides the module behind its function.
        patch.object(sys.modules["torch.nn.parallel.replicate"], "_broadcast_coalesced_reshape", _broadcast),
        patch.object(scatter_gather, "Scatter", _Scatter),
        patch.object(scatter_gather, "Gather", _Gather),
    ):
        yield CpuDataParallel
