"""Adds a perturbation to what one module of a model puts out.

Never through `inputs_embeds`: that argument changes what the model computes (position ids of RoBERTa, the last-token
lookup of GPT-2 and Llama classifiers), while a hook leaves every other input as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DataError

PerturbationSource = Callable[[Tensor], Tensor]

# What a replica of torch.nn.DataParallel is to add, on each of its modules: its share of what was made for the batch.
SHARE = "_robust_share"


class Reached(Exception):
    """Ends a forward pass at the module that was wanted.

    Attributes:
        output: The module's first output.
    """

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


class PerturbationHook:
    """A forward hook on one module that adds delta to its output while it is armed.

    The hook is registered once and stays (a compiled model does not watch for hooks that come and go); outside of
    `armed` it changes nothing.

    Args:
        module: The module whose output is perturbed: the input embedding, or a transformer layer. Its output is a
            tensor `(batch, tokens, dim)` or a tuple that begins with one.
    """

    def __init__(self, module: nn.Module) -> None:
        self._source: PerturbationSource | None = None
        self._before: Callable[[Any], Any] | None = None
        self._added: Tensor | None = None
        self._ends_pass = False
        self._handle = module.register_forward_hook(self._hook)

    @contextmanager
    def armed(self, source: PerturbationSource | None, before: Callable[[Any], Any] | None = None) -> Iterator[None]:
        """While the context lasts, adds `source(output)` to every output; `source` sees the clean output.

        Args:
            source: Gives delta; `None` adds nothing.
            before: Replaces the module's whole output before delta is added.
        """
        self._source, self._before = source, before
        try:
            yield
        finally:
            self._source = self._before = None

    @contextmanager
    def adding(self, added: Tensor) -> Iterator[None]:
        """While the context lasts, adds a tensor to every output: all that a compiled model can follow to the end.

        A function that is called in the forward pass is traced with it, which breaks the graph where it draws numbers
        or makes a leaf; another tensor of the same shape is the same graph.

        Args:
            added: Of the output's shape.
        """
        self._added = added
        try:
            yield
        finally:
            self._added = None

    def remove(self) -> None:
        """Takes the hook away for good."""
        self._handle.remove()

    def clean(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        """What the module puts out for a whole batch; `None` if the pass does not come to it. Nothing above it is run.

        Args:
            model: The model that holds the module.
            args: Its arguments.
            kwargs: Its keyword arguments.
        """
        self._ends_pass = True
        try:
            with torch.no_grad():
                model(*args, **kwargs)
        except Reached as reached:
            return reached.output
        finally:
            self._ends_pass = False
        return None

    def settle(self, kwargs: dict[str, Any], delta: Tensor) -> None:
        """Moves delta to where the input allows it: anywhere."""

    def _hook(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if self._ends_pass:
            raise Reached(output[0] if isinstance(output, tuple) else output)
        if self._added is not None:
            return _with_first(output, (output[0] if isinstance(output, tuple) else output) + self._added)
        if self._source is None and self._before is None:
            return None
        if self._before is not None:
            output = self._before(output)
        if self._source is None:
            return output
        clean = output[0] if isinstance(output, tuple) else output
        share = module.__dict__.get(SHARE)
        delta = self._source(clean) if share is None else share.reshape(clean.shape)
        return _with_first(output, clean + delta.to(clean.dtype))


def _with_first(output: Any, first: Tensor) -> Any:
    """What a module puts out, with another tensor for its first."""
    return (first, *output[1:]) if isinstance(output, tuple) else first


def perturbation_mask(inputs: dict[str, Any], x: Tensor, spared: Sequence[int] = ()) -> Tensor:
    """Which tokens may be perturbed: the attention mask, or all of them where there is none.

    Args:
        inputs: The batch as the model receives it.
        x: The tensor that is perturbed, `(rows, tokens, dim)`; with multiple choice, rows is batch x choices.
        spared: Ids of tokens that may not be perturbed although they are attended to.

    Returns:
        `(rows, tokens)`, 1 or 0.

    Raises:
        DataError: If the attention mask, or the ids where tokens are spared, do not have one entry per token.
    """
    mask = _attended(inputs, x)
    if not spared:
        return mask
    ids = inputs.get("input_ids")
    if ids is None or ids.numel() != mask.numel():
        raise DataError(
            f"to spare special tokens the batch must have one of input_ids per token, {tuple(x.shape[:2])}, got "
            f"{None if ids is None else tuple(ids.shape)}: perturb all tokens"
        )
    ids = ids.reshape(mask.shape)
    for token in spared:  # one by one: a tensor of them would be copied to the device, which waits
        mask = mask * (ids != token)
    return mask


def _attended(inputs: dict[str, Any], x: Tensor) -> Tensor:
    mask = inputs.get("attention_mask")
    if mask is None:
        return torch.ones(x.shape[:2], device=x.device, dtype=torch.long)
    if mask.numel() != x.shape[0] * x.shape[1] or mask.shape[-1] != x.shape[1]:
        raise DataError(
            f"the attention mask must have one entry per token, {tuple(x.shape[:2])}, got {tuple(mask.shape)}: "
            "pass a padding mask of shape (batch, tokens)"
        )
    return mask.reshape(x.shape[:2])
