"""A captured graph without CUDA: operations are recorded with their tensors, and computed again on the same memory.

It stands for `CudaGraph` on the CPU and on the device that is none, and is as strict: while a step is recorded,
whatever a CUDA device would have to be waited for raises (of copies between host and device it knows on the latter
alone). It differs in that the recorded step computes (the device's does not), so that what the step has written
(gradients, above all) is put back when the recording ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hf_robust_tickets.training.captured import graphs
from tests.testing.fake_device import _generator
from tests.testing.fake_waits import reads_back, watched_waits


class Recording(TorchDispatchMode):
    """Keeps every operation below autograd, with its arguments and its results."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []
        self._before: dict[int, tuple[Tensor, Tensor]] = {}
        self._made: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if reads_back(name, args, kwargs):
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        self._keep_what_is_written(func, args, kwargs)
        result = func(*args, **kwargs)
        given = {value.untyped_storage().data_ptr() for value in tree_leaves((args, kwargs)) if _is(value)}
        found = [value for value in tree_leaves(result) if _is(value)]
        new = [value for value in found if value.untyped_storage().data_ptr() not in given]
        self._made.update(value.untyped_storage().data_ptr() for value in new)
        assert not new or len(new) == len(found), f"{name}: views and new tensors in one"
        self.calls.append((func, args, kwargs, new))
        return result

    def _keep_what_is_written(self, func: Any, args: Any, kwargs: Any) -> None:
        for i, argument in enumerate(func._schema.arguments):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            for value in tree_leaves(kwargs.get(argument.name, args[i] if i < len(args) else None)):
                place = value.untyped_storage().data_ptr() if _is(value) else None
                if _is(value) and place not in self._made and place not in self._before:
                    whole = torch.empty(0, dtype=value.dtype).set_(value.untyped_storage())
                    self._before[place] = (whole, whole.clone())

    def put_back(self) -> None:
        """What was there before the recording is as it was."""
        for tensor, before in self._before.values():
            tensor.copy_(before)


class RecordedGraph:
    """As `CudaGraph`, see there for the methods; `made` are all of them.

    Attributes:
        replays: How often it was replayed.
    """

    made: ClassVar[list[RecordedGraph]] = []

    def __init__(self, pool: Any) -> None:
        assert pool == "a pool"
        self._recording = Recording()
        self.replays = 0
        self.made.append(self)

    @staticmethod
    def new_pool() -> str:
        return "a pool"

    @staticmethod
    def warm_up(step: Callable[[], Any]) -> Any:
        return step()

    def capture(self, step: Callable[[], Any]) -> Any:
        capturing = torch.cuda.is_current_stream_capturing
        states = torch.get_rng_state(), _generator.get_state()
        # transformers asks, and leaves out what depends on the data.
        torch.cuda.is_current_stream_capturing = lambda: True
        try:
            with watched_waits() as waits, self._recording:
                found = step()
            if waits:  # on the fake device, which also knows copies to and from the host
                raise RuntimeError(f"operation not permitted when stream is capturing: {waits[0]}")
            return found
        finally:
            torch.cuda.is_current_stream_capturing = capturing
            self._recording.put_back()
            torch.set_rng_state(states[0])
            _generator.set_state(states[1])

    def replay(self) -> None:
        self.replays += 1
        with torch.no_grad(), torch._C._AutoDispatchBelowAutograd():
            for func, args, kwargs, results in self._recording.calls:
                again = [value for value in tree_leaves(func(*args, **kwargs)) if _is(value)]
                for result, value in zip(results, again if results else (), strict=True):
                    result.copy_(value)


@contextmanager
def graphs_on(device: str) -> Iterator[list[RecordedGraph]]:
    """While it lasts, steps can be captured on such devices; gives the graphs that are made."""
    RecordedGraph.made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(graphs.GRAPHS, device, RecordedGraph)
        yield RecordedGraph.made


def graphs_on_the_cpu() -> AbstractContextManager[list[RecordedGraph]]:
    """`graphs_on("cpu")`."""
    return graphs_on("cpu")


def _is(value: Any) -> bool:
    return isinstance(value, Tensor)
