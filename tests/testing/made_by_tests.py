"""What tests make lies on the device of the tests; what the package makes lies where the package puts it.

A test that says `torch.tensor([1.0])` or `tiny_bert()` says nothing of devices. `install()` moves what it makes to
`tests.testing.device.device()`; when a test itself calls a model, what is wholly on the CPU of both, a model that was
opened from a file or what a tokenizer gave, is moved to where the other is; and what is on two devices is compared on
the CPU. A tensor that the package makes without `device=` stays on the CPU, and mixing it with those of the device
remains the error that it is.

Which of them made a tensor is told by who called: the innermost frame outside of torch and of the files of models.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors
from torch.utils._pytree import tree_leaves, tree_map

from tests.testing.paths import ROOT

# The test, or the package, is who calls a model of transformers or a layer of torch.
_BELOW = (
    "/torch/",
    *(f"/transformers/{part}" for part in ("models/", "modeling_", "initialization.", "pytorch_utils.")),
)
# What these make is their own: places in a data set, counts of steps, and what a pass made when it is run again.
_OWN = ("/torch/utils/data/", "/torch/optim/", "/torch/utils/checkpoint.py")
_TESTS = f"{ROOT}/tests/"
_COMPARISONS = {torch.equal, torch.allclose, Tensor.equal, Tensor.allclose}


def install(device: torch.device) -> None:
    """Does so for the life of this process, in the thread that asks."""
    compare = torch.testing.assert_close
    on_cpu = partial(_to, torch.device("cpu"))
    torch.testing.assert_close = lambda *args, **kwargs: compare(*tree_map(on_cpu, args), **kwargs)
    _Mode(device).__enter__()

    call = nn.Module.__call__

    def followed(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if _called_by_a_test(below=("/torch/",)):
            own = [*module.parameters(), *module.buffers()]
            given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
            if any(value.device == device for value in own + given):
                if all(value.device.type == "cpu" for value in own):
                    module.to(device)
                args, kwargs = tree_map(partial(_to, device), (args, kwargs))
        return call(module, *args, **kwargs)

    nn.Module.__call__ = followed


class _Mode(TorchFunctionMode):
    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _device_constructors() and kwargs.get("device") is None and _called_by_a_test():
            # Made on the CPU and moved: numbers drawn from a seed are those of the CPU.
            made = func(*args, **kwargs)
            if made.device.type != "cpu":
                return made
            return made.detach().to(self.device).requires_grad_(made.requires_grad)
        if func in _COMPARISONS and _called_by_a_test():
            return func(*(_to(torch.device("cpu"), value) for value in args), **kwargs)
        return func(*args, **kwargs)


def _to(device: torch.device, value: Any) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def _called_by_a_test(below: tuple[str, ...] = _BELOW) -> bool:
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if any(part in name for part in _OWN):
            return False
        # The forward pass of a model that a test defines is as far below as that of any other.
        if name != __file__ and frame.f_code.co_name != "forward" and not any(part in name for part in below):
            return name.startswith(_TESTS)
        frame = frame.f_back
    return False
