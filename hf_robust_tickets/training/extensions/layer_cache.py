"""The layers below a hidden-layer adversary, run once per batch instead of once per pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class LayerCache:
    """Keeps the output of layer n of a batch's first pass, and feeds it to the passes after it.

    From the second pass on, the first n - 1 layers hand on what they get and layer n gives its kept output. The
    gradients that the passes before the last send to it are summed, and travel down with that of the last pass, once.
    Without dropout up to layer n the weights get the gradients of uncached passes; with it, all passes of a batch see
    the same masks there.

    What layers on both sides of n get from outside (DeBERTa's and MPNet's position biases) belongs to the kept part
    too: in the first pass the layers above see a stand-in, whose gradient travels down with that of the last pass. So
    does what layer n hands on beside its hidden states (T5's position bias).

    Args:
        layers: All layers of the model, in order.
        depth: n, the number of the perturbed one.
    """

    def __init__(self, layers: Sequence[nn.Module], depth: int) -> None:
        self._lower = layers[:depth]
        self._upper = layers[depth:]
        self._kept: Any = None
        self._clean: Tensor | None = None
        self._leaf: Tensor | None = None
        self._beside: list[tuple[Any, Any]] = []
        # What comes to the lower layers from outside, and what stands for it above them.
        self._outside: list[Tensor] = []
        self._stand_ins: list[tuple[Tensor, Tensor]] = []
        self._seen = True
        self._attached = True

    @contextmanager
    def one_pass(self, attached: bool) -> Iterator[None]:
        """While it lasts, a forward pass uses the cache (the batch's first one fills it).

        Args:
            attached: Whether this pass's gradient travels below layer n, with those that were summed.
        """
        self._seen, self._attached = False, attached
        handles = []
        if self._kept is not None:
            for layer in self._lower[:-1]:
                layer.forward = _hand_on(len(self._kept) if isinstance(self._kept, tuple) else None)
            self._lower[-1].forward = self._give_kept
        elif not attached:
            handles = [layer.register_forward_pre_hook(self._note, with_kwargs=True) for layer in self._lower]
            handles += [layer.register_forward_pre_hook(self._replace, with_kwargs=True) for layer in self._upper]
        try:
            yield
        finally:
            self._restore()
            for handle in handles:
                handle.remove()

    def joint(self, output: Any) -> Any:
        """What the layers above see of layer n's output, a tensor or a tuple that begins with one."""
        if self._seen:
            # A recomputation in the backward pass (activation checkpointing).
            return output
        self._seen = True
        if self._kept is None:
            self._kept = output
            self._clean = output[0] if isinstance(output, tuple) else output
            self._leaf = self._clean.detach().requires_grad_(self._clean.requires_grad)
            beside = output[1:] if isinstance(output, tuple) else ()
            self._beside = [
                (value, value.detach().requires_grad_() if getattr(value, "grad_fn", None) is not None else value)
                for value in beside
            ]
        seen = self._leaf
        if self._attached:
            seen = self._clean
            for tensor, leaf in [(self._clean, self._leaf), *self._stand_ins, *self._beside]:
                if getattr(leaf, "grad", None) is not None and leaf is not tensor:
                    tensor.register_hook(_adding(leaf.grad))
        beside = [tensor if self._attached else leaf for tensor, leaf in self._beside]
        return (seen, *beside) if isinstance(self._kept, tuple) else seen

    def _note(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = (value for value in (*args, *kwargs.values()) if torch.is_tensor(value))
        # A parameter that is handed to the layers has no graph that a backward pass would free.
        self._outside += [value for value in given if value.grad_fn is not None]

    def _replace(
        self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tuple(map(self._stand_in, args)), {name: self._stand_in(value) for name, value in kwargs.items()}

    def _stand_in(self, value: Any) -> Any:
        for tensor, leaf in self._stand_ins:
            if value is tensor:
                return leaf
        if any(value is tensor for tensor in self._outside):
            self._stand_ins.append((value, value.detach().requires_grad_()))
            return self._stand_ins[-1][1]
        return value

    def _give_kept(self, *args: Any, **kwargs: Any) -> Any:
        # Layers that are recomputed in the backward pass must be the real ones.
        self._restore()
        return self._kept

    def _restore(self) -> None:
        for layer in self._lower:
            layer.__dict__.pop("forward", None)


def _hand_on(length: int | None) -> Callable[..., Any]:
    def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        return hidden_states if length is None else (hidden_states, *[None] * (length - 1))

    return forward


def _adding(gathered: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient + gathered
