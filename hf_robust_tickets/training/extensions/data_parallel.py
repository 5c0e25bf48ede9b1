"""The perturbation of a batch in the replicas of `torch.nn.DataParallel`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.trainer_pt_utils import find_batch_size

from ...adversaries import PerturbationHook, PixelHook
from ...adversaries.hooks import SHARE
from ...errors import DataError

if TYPE_CHECKING:
    from ..steps.perturbation import Perturbation

_KEYWORD = "robust_perturbation"
_ROWS = "_robust_rows"


def first_row(module: nn.Module) -> int:
    """The row of the batch that a replica's share begins with; 0 for a module that is no replica."""
    rows = module.__dict__.get(_ROWS)
    return 0 if rows is None else int(rows[0])


class ReplicaPerturbation:
    """Sends delta through `DataParallel` as an argument of the model: it is cut, moved and gathered like the batch.

    Replicas run in threads and live for one forward pass. Each finds its share on its own modules, so that a layer
    which is recomputed in the backward pass (activation checkpointing) finds the same.

    Delta's start is drawn before the pass, for the whole batch: a replica would draw for its share alone.

    Args:
        wrapped: What the Trainer trains with.
        injector: Adds the perturbation, in the module of `wrapped` or in a replica of it.
    """

    def __init__(self, wrapped: nn.DataParallel, injector: PerturbationHook | PixelHook) -> None:
        self.wrapped = wrapped
        self._injector = injector
        self._perturbation: Perturbation | None = None
        self._handles = [
            wrapped.register_forward_pre_hook(self._send, with_kwargs=True),
            # Before the hook that perturbs pixels.
            wrapped.module.register_forward_pre_hook(_receive, with_kwargs=True, prepend=True),
        ]

    @contextmanager
    def sending(self, perturbation: Perturbation) -> Iterator[None]:
        """While it lasts, passes are perturbed."""
        self._perturbation = perturbation
        try:
            yield
        finally:
            self._perturbation = None

    def remove(self) -> None:
        """Takes the hooks away."""
        for handle in self._handles:
            handle.remove()

    def _send(self, wrapped: nn.DataParallel, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        perturbation = self._perturbation
        if perturbation is None:
            return None
        if perturbation.delta is None:
            clean = self._injector.clean(wrapped.module, args, kwargs)
            if clean is None:
                perturbation.require_delta()
            perturbation.restart(clean)
        delta = perturbation.added()
        self._injector.settle(kwargs, delta)
        batch = find_batch_size((args, kwargs))
        if len(delta) % batch:
            raise DataError(
                f"expected as many rows of the perturbed tensor for each example, got {len(delta)} rows for {batch} "
                "examples: launch with torchrun, which cuts the batch before the model sees it"
            )
        # One entry per example (with multiple choice, of several rows): cut where the batch is cut.
        delta = delta.reshape(batch, len(delta) // batch, *delta.shape[1:])
        return args, {**kwargs, _KEYWORD: (delta, torch.arange(batch, device=delta.device))}


def _receive(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if _KEYWORD not in kwargs:
        return None
    kwargs = dict(kwargs)
    share, rows = kwargs.pop(_KEYWORD)
    for part in module.modules():
        part.__dict__[SHARE], part.__dict__[_ROWS] = share, rows
    return args, kwargs


def reach_replicas(
    before: ReplicaPerturbation | None, model: nn.Module, injector: PerturbationHook | PixelHook
) -> ReplicaPerturbation | None:
    """What brings delta to the replicas of `model`; `None` where it has none.

    Args:
        before: What the last step had; its hooks are removed if it belongs to another wrapper.
        model: What the Trainer trains with.
        injector: Adds the perturbation.
    """
    if before is not None and before.wrapped is model:
        return before
    if before is not None:
        before.remove()
    return ReplicaPerturbation(model, injector) if isinstance(model, nn.DataParallel) else None
