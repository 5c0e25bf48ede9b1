"""What records a step once and repeats it: a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch


class Graph(Protocol):
    """Work for a device, recorded once and repeated on the same memory.

    Args of the constructor:
        pool: What `new_pool` gave: memory that graphs share of which one at a time is replayed.
    """

    def __init__(self, pool: Any) -> None: ...

    @staticmethod
    def new_pool() -> Any:
        """Memory for the graphs of one training."""

    @staticmethod
    def warm_up(step: Callable[[], Any]) -> Any:
        """Runs a step as it will be captured, without capturing it; gives what it gives."""

    def capture(self, step: Callable[[], Any]) -> Any:
        """Records what a step asks of the device, which computes nothing; gives what the step gives.

        Raises:
            RuntimeError: If the step waits for the device.
        """

    def replay(self) -> None:
        """Asks the device for all of it again."""


class CudaGraph:
    """`torch.cuda.CUDAGraph`, used as torch's notes on CUDA graphs ask: warmed up and captured on side streams.

    Memory of a graph's results is written again by every replay, of this graph or another of the pool: what is to be
    kept has to be copied before the next one.
    """

    def __init__(self, pool: Any) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._pool = pool

    @staticmethod
    def new_pool() -> Any:
        """As in `Graph.new_pool`."""
        return torch.cuda.graph_pool_handle()

    @staticmethod
    def warm_up(step: Callable[[], Any]) -> Any:
        """As in `Graph.warm_up`."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            found = step()
        torch.cuda.current_stream().wait_stream(stream)
        return found

    def capture(self, step: Callable[[], Any]) -> Any:
        """As in `Graph.capture`."""
        # A data loader's thread pins memory meanwhile, which the default mode would take for a fault of the step.
        with torch.cuda.graph(self._graph, pool=self._pool, capture_error_mode="thread_local"):
            return step()

    def replay(self) -> None:
        """As in `Graph.replay`."""
        self._graph.replay()


GRAPHS: dict[str, type[Graph]] = {"cuda": CudaGraph}
"""Type of a device -> its graphs."""
