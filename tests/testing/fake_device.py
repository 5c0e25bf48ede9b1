"""A device that is none: its tensors are in the memory of this process, and cannot be mixed with those of the CPU.

`install()` registers the backend "fake" in this process, for good: run it in a process of its own. Its tensors compute
as the CPU does, but as on an accelerator

- an operation on tensors of both devices raises; tensors of no dimension and indices may be on the CPU, as there;
- random numbers come from a generator of its own;
- `.numpy()` raises;
- what makes the host wait for the device is noted (`tests/testing/fake_waits.py`): reading a number or a tensor back,
  `bool(tensor)`, operations whose result has a size that only the device knows, and copies to it that are not
  `non_blocking`. These are what `torch.cuda.set_sync_debug_mode` warns of.

It needs the experimental Python backends of torch 2.13; `available()` says whether there are any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map

from tests.testing.fake_waits import INDEXING, NAME, note_copy, note_operation, note_waits

_COPIES = {"aten::copy_", "aten::_to_copy", "aten::_copy_from"}
_generator = torch.Generator()


class FakeTensor(Tensor):
    """A tensor of the fake device; `raw` is what it holds, on the CPU."""

    raw: Tensor

    @staticmethod
    def __new__(cls, raw: Tensor, requires_grad: bool = False) -> FakeTensor:
        raw = raw.raw if isinstance(raw, FakeTensor) else raw.detach()
        made = Tensor._make_wrapper_subclass(
            cls,
            raw.size(),
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            layout=raw.layout,
            device=torch.device(NAME, 0),
            requires_grad=requires_grad,
        )
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        Tensor.data.__set__(self, value)
        self.raw = value.raw

    def __repr__(self, **_: Any) -> str:
        return f"FakeTensor({self.raw})"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("expected a tensor on the CPU, got one on the fake device: call .cpu() first")

    def data_ptr(self) -> int:
        return self.raw.data_ptr()

    def untyped_storage(self) -> Any:
        return self.raw.untyped_storage()

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A file holds what any machine can read: what torch makes of the same tensor, or parameter, on the CPU.
        if isinstance(self, nn.Parameter):
            return nn.Parameter(self.raw, self.requires_grad).__reduce_ex__(protocol)
        return self.raw.detach().requires_grad_(self.requires_grad).__reduce_ex__(protocol)


class _Module:
    """`torch.fake`: what torch and transformers ask a device module for."""

    @staticmethod
    def is_initialized() -> bool:
        return True

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        _generator.manual_seed(seed)

    manual_seed = manual_seed_all

    @staticmethod
    def get_rng_state(device: Any = None) -> Tensor:
        return _generator.get_state()

    @staticmethod
    def set_rng_state(state: Tensor, device: Any = None) -> None:
        _generator.set_state(state)

    @staticmethod
    def synchronize(device: Any = None) -> None:
        pass

    @staticmethod
    def empty_cache() -> None:
        pass

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        # For an autocast that is switched off: there are no rules for one that is on.
        return [torch.bfloat16, torch.float16]


def available() -> bool:
    """Whether this torch has backends written in Python."""
    return hasattr(backend_registration, "_setup_privateuseone_for_python_backend")


def install() -> torch.device:
    """Registers the device in this process and gives it."""
    if not hasattr(torch, NAME):
        backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
        library = torch.library.Library("aten", "IMPL")
        library.impl("empty.memory_format", _empty, "PrivateUse1")
        library.impl("empty_strided", _empty_strided, "PrivateUse1")
        library.impl("_copy_from", _copy_from, "PrivateUse1")
        # In the thread that asks: the engine's own threads end the process now and then, and know not who asked.
        torch.autograd.set_multithreading_enabled(False)
        install.library = library  # lives as long as the process
        nn.Module.to = _keeping_ties(nn.Module.to)
    return torch.device(NAME, 0)


def _keeping_ties(to: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Between tensors of two classes torch makes a new parameter for every place of a shared one: they become one."""

    @wraps(to)
    def moved(module: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        before = dict(module.named_parameters(remove_duplicate=False))
        to(module, *args, **kwargs)
        made: dict[int, Tensor] = {}
        for path, parameter in before.items():
            parent, _, name = path.rpartition(".")
            places = module.get_submodule(parent)._parameters
            places[name] = made.setdefault(id(parameter), places[name])
        return module

    return moved


def _empty(size: Any, *, dtype: Any = None, layout: Any = None, device: Any = None, **_: Any) -> Tensor:
    return FakeTensor(torch.empty(size, dtype=dtype, device="cpu"))


def _empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> Tensor:
    return FakeTensor(torch.empty_strided(size, stride, dtype=dtype, device="cpu"))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    note_copy(source, target, non_blocking)
    _unwrap(target).copy_(_unwrap(source))
    return target


def _unwrap(value: Any) -> Any:
    return value.raw if isinstance(value, FakeTensor) else value


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = func._schema.name
    _check_one_kind(name, args, kwargs)
    note_waits(name, args, kwargs)
    plain, options = tree_map(_unwrap, args), tree_map(_unwrap, kwargs)
    here = True
    if options.get("device") is not None:
        here = torch.device(options["device"]).type == NAME
        options["device"] = torch.device("cpu")
    with _own_generator(torch.Tag.nondeterministic_seeded in func.tags):
        result = func(*plain, **options)
    returns = func._schema.returns
    written = [r.alias_info is not None and r.alias_info.is_write for r in returns]
    if written and all(written):
        return _given(func, args, kwargs)
    if name not in _COPIES and not (returns and all(r.alias_info is not None for r in returns)):
        note_operation(name)
    return tree_map(lambda value: FakeTensor(value) if here and isinstance(value, Tensor) else value, result)


def _given(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What an operation in place returns: the tensors it was given to write to."""
    note_operation(func._schema.name)
    names = [set(r.alias_info.before_set) for r in func._schema.returns]
    given = [kwargs.get(a.name, args[i] if i < len(args) else None) for i, a in enumerate(func._schema.arguments)]
    aliases = [set(a.alias_info.before_set) if a.alias_info else set() for a in func._schema.arguments]
    targets = [next(value for value, alias in zip(given, aliases) if alias & name) for name in names]
    for target in targets:
        if isinstance(target, FakeTensor) and target.shape != target.raw.shape:
            # torch.arange gives an empty tensor to be filled.
            Tensor.data.__set__(target, FakeTensor(target.raw))
    return targets[0] if len(targets) == 1 else tuple(targets)


def _check_one_kind(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if name in _COPIES:
        return
    given = args[:1] if name in INDEXING else args
    strict = name in ("aten::cat", "aten::stack", "aten::_foreach_copy_")
    for value in tree_leaves((given, kwargs)):
        foreign = isinstance(value, Tensor) and not isinstance(value, FakeTensor)
        if foreign and (strict or value.dim() > 0):
            raise RuntimeError(f"{name}: expected all tensors on the fake device, got {tuple(value.shape)} on the CPU")
        if isinstance(value, torch.Generator):
            raise RuntimeError(f"{name}: expected a generator of the fake device, got one of the CPU")


@contextmanager
def _own_generator(draws: bool) -> Iterator[None]:
    """While it lasts, torch's generator is that of the device."""
    if not draws:
        yield
        return
    outside = torch.get_rng_state()
    torch.default_generator.set_state(_generator.get_state())
    try:
        yield
    finally:
        _generator.set_state(torch.get_rng_state())
        torch.default_generator.set_state(outside)
