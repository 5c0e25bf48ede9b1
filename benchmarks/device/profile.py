"""What one step asks of the device: kernels, launches, synchronisations, and how much of the time products take.

On a CPU the operations that torch dispatches stand for kernels: they are what an accelerator would be asked for.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.device.timing import synchronize

# Names of kernels of cuBLAS, cuDNN, CUTLASS, Triton's templates and fused attention.
PRODUCTS = re.compile(
    r"gemm|gemv|cutlass|xmma|cublas|nvjet|conv|wgrad|dgrad|fmha|flash|attention|triton_tem|_mm_|bmm", re.IGNORECASE
)
COPIES = re.compile(r"^mem(cpy|set)", re.IGNORECASE)
LAUNCHES = re.compile(r"^cu(da)?(Launch|GraphLaunch|Memcpy\w*Async|Memset\w*Async)")
CPU_PRODUCTS = re.compile(
    r"aten::(mm|addmm|bmm|baddbmm|addbmm|mv|_scaled_dot_product|mkldnn|convolution|_convolution)"
)


class WatchOperations(TorchDispatchMode):
    """Counts the operations that compute, and their seconds: views, allocations and questions of shape do not."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.seconds, self.in_products = 0, 0.0, 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returns, name = func._schema.returns, func._schema.name
        view = bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)
        began = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        if not view and not name.startswith(("aten::empty", "aten::new_empty", "aten::sym_", "aten::_unsafe_view")):
            taken = time.perf_counter() - began
            self.count += 1
            self.seconds += taken
            self.in_products += taken if CPU_PRODUCTS.match(name) else 0.0
        return result

    def summary(self, calls: int = 1) -> dict[str, Any]:
        """As `profile_step` gives it."""
        return {
            "kernels": self.count / calls,
            "launches": self.count / calls,
            "busy_ms": 1e3 * self.seconds / calls,
            "products": self.in_products / self.seconds if self.seconds else 0.0,
        }


class WatchDevice:
    """Between `start` and `stop`: what a CUDA device was asked for, by torch's profiler; elsewhere, operations."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def start(self) -> None:
        if self._device.type == "cuda":
            self._watch: Any = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])
        else:
            self._watch = WatchOperations()
        self._watch.__enter__()

    def stop(self, calls: int = 1) -> dict[str, Any]:
        synchronize(self._device)
        self._watch.__exit__(None, None, None)
        return _on_device(self._watch, calls) if self._device.type == "cuda" else self._watch.summary(calls)


def count_flops(step: Callable[[], object]) -> int:
    """Operations of the matrix products of one call, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def count_synchronizations(step: Callable[[], object], device: torch.device) -> int | None:
    """How often one call makes the host wait for the device; `None` where torch does not tell."""
    if device.type != "cuda":
        return None
    previous = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode(previous)
    return sum("synchronizing CUDA operation" in str(warning.message) for warning in caught)


def profile_step(step: Callable[[], object], device: torch.device, calls: int = 2) -> dict[str, Any]:
    """What one call asks of the device.

    Returns:
        `kernels` and `launches` per call (a replayed graph is one launch); `busy_ms`, the time in which the device
        computed; `products`, the share of that time in matrix products, convolutions and fused attention.
    """
    watch = WatchDevice(device)
    step()
    watch.start()
    for _ in range(calls):
        step()
    return watch.stop(calls)


def _on_device(found: Any, calls: int) -> dict[str, Any]:
    events = found.events()
    kernels = [event for event in events if event.device_type == torch.autograd.DeviceType.CUDA]
    kernels = [event for event in kernels if not COPIES.match(event.name)]
    seconds = [event.time_range.elapsed_us() / 1e6 for event in kernels]
    products = sum(taken for event, taken in zip(kernels, seconds) if PRODUCTS.search(event.name))
    return {
        "kernels": len(kernels) / calls,
        "launches": sum(bool(LAUNCHES.match(event.name)) for event in events) / calls,
        "busy_ms": 1e3 * sum(seconds) / calls,
        "products": products / sum(seconds) if kernels else 0.0,
    }
