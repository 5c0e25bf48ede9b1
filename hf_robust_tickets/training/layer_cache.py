"""The layers below a hidden-layer adversary, run once per batch instead of once per pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class LayerCache:
    """Keeps the output of layer n of a batch's first pass, and feeds it to the passes after it.

    From the second pass on, the first n - 1 layers hand on what they get and layer n gives its kept output. The
    gradients that the passes before the last send to it are summed, and travel down with that of the last pass, once.
    Without dropout up to layer n the weights get the gradients of uncached passes; with it, all passes of a batch see
    the same masks there.

    Args:
        layers: The layers up to the perturbed one, in order.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._layers = layers
        self._kept: Any = None
        self._clean: Tensor | None = None
        self._leaf: Tensor | None = None
        self._seen = True
        self._attached = True

    @contextmanager
    def one_pass(self, attached: bool) -> Iterator[None]:
        """While it lasts, a forward pass uses the cache (the batch's first one fills it).

        Args:
            attached: Whether this pass's gradient travels below layer n, with those that were summed.
        """
        self._seen, self._attached = False, attached
        if self._kept is not None:
            for layer in self._layers[:-1]:
                layer.forward = _hand_on(isinstance(self._kept, tuple))
            self._layers[-1].forward = self._give_kept
        try:
            yield
        finally:
            self._restore()

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
        seen = self._leaf
        if self._attached:
            seen, gathered = self._clean, self._leaf.grad
            if gathered is not None:
                seen.register_hook(lambda grad: grad + gathered)
        return (seen, *self._kept[1:]) if isinstance(self._kept, tuple) else seen

    def _give_kept(self, *args: Any, **kwargs: Any) -> Any:
        # Layers that are recomputed in the backward pass must be the real ones.
        self._restore()
        return self._kept

    def _restore(self) -> None:
        for layer in self._layers:
            layer.__dict__.pop("forward", None)


def _hand_on(as_tuple: bool) -> Callable[..., Any]:
    def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        return (hidden_states,) if as_tuple else hidden_states

    return forward
