"""What the fake device notes: how the host waits for it, and the operations that it computes.

Knows the device by its name alone; `tests/testing/fake_device.py` tells it of each operation.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NAME = "fake"
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
# Reads to the host, and operations whose result has a size that only the device knows.
_WAITS = {
    "aten::_local_scalar_dense",
    "aten::is_nonzero",
    "aten::equal",
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique2",
    "aten::unique_dim",
    "aten::unique_consecutive",
    "aten::repeat_interleave",
    "aten::bincount",
    "aten::histc",
}
_COPY = "copy between host and device"
# Who asks is not one of them.
_OWN_FILES = tuple(__file__.replace("fake_waits", name) for name in ("fake_waits", "fake_device", "made_by_tests"))


@dataclass(frozen=True)
class Wait:
    """The host waited for the device.

    Args:
        operation: What it asked for.
        frames: Where, outside of torch, the innermost last.
    """

    operation: str
    frames: tuple[traceback.FrameSummary, ...]

    def within(self, package: str) -> bool:
        """Whether the innermost frame is of a package."""
        return bool(self.frames) and f"/{package}/" in self.frames[-1].filename

    def __str__(self) -> str:
        return f"{self.operation} at " + " < ".join(f"{f.filename}:{f.lineno}" for f in self.frames[-4:][::-1])


_watchers: list[list[Wait]] = []
_counters: list[list[str]] = []


def watched_waits() -> AbstractContextManager[list[Wait]]:
    """Collects how the host waits for the device while the context lasts."""
    return _collected(_watchers)


def watched_operations() -> AbstractContextManager[list[str]]:
    """Collects the names of the operations that the device computes while the context lasts: its launches."""
    return _collected(_counters)


@contextmanager
def _collected(lists: list[list[Any]]) -> Iterator[list[Any]]:
    """One more list, of those that are told, while the context lasts."""
    found: list[Any] = []
    lists.append(found)
    try:
        yield found
    finally:
        lists.remove(found)


def reads_back(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operation gives the host a number, or a tensor of a size that only the device knows."""
    if name in _WAITS:
        return name != "aten::repeat_interleave" or kwargs.get("output_size") is None
    if name not in INDEXING or (name != "aten::index" and args[2].numel() == 1):
        return False
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])


def note_operation(name: str) -> None:
    """Tells who watches of an operation that the device computes."""
    for found in _counters:
        found.append(name)


def note_copy(source: Tensor, target: Tensor, non_blocking: bool) -> None:
    """Tells who watches of a copy, if the host waits for it."""
    if _here(source) != _here(target) and not non_blocking:
        _note(_COPY)


def note_waits(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Tells who watches of an operation, if the host waits for it."""
    if not _watchers:
        return
    if reads_back(name, args, kwargs):
        _note(name)
    elif name in INDEXING:
        if any(index is not None and not _here(index) for index in args[1]):
            _note(name)
    elif name == "aten::copy_":
        note_copy(args[1], args[0], args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
    elif name == "aten::_to_copy" and kwargs.get("device") is not None:
        crosses = (torch.device(kwargs["device"]).type == NAME) != _here(args[0])
        if crosses and not kwargs.get("non_blocking", False):
            _note(_COPY)


def _here(tensor: Tensor) -> bool:
    return tensor.device.type == NAME


def _note(operation: str) -> None:
    if _watchers:
        frames = [f for f in traceback.extract_stack() if "/torch/" not in f.filename and f.filename not in _OWN_FILES]
        for found in _watchers:
            found.append(Wait(operation, tuple(frames)))
