"""Which of a batch's inputs belong to which call of the model, where a pass calls it more than once."""

from __future__ import annotations

from typing import Any

from torch import Tensor

_OF_A_CALL = ("attention_mask", "input_ids")


def inputs_of_call(inputs: dict[str, Any], call: int, x: Tensor) -> dict[str, Any]:
    """The mask and the ids of one call of the model.

    A model that is called once has `attention_mask` and `input_ids`. One that is called for each of several texts (a
    bi-encoder) has one of each per text, under names such as `sentence_0_attention_mask`, in the order of the calls.

    Args:
        inputs: The batch.
        call: Number of the call in its pass, from 0.
        x: What is perturbed in it, `(rows, tokens, dim)`.

    Returns:
        The batch, with those of the call under the plain names; of several without a match the first, which the mask
        of the perturbation then refuses.
    """
    found = dict(inputs)
    for name in _OF_A_CALL:
        tensors = [value for key, value in inputs.items() if name in key and isinstance(value, Tensor)]
        if not tensors or (call == 0 and name in inputs):
            continue
        fits = [tensor for tensor in tensors if tensor.shape[-1] == x.shape[1] and tensor.numel() == x[..., 0].numel()]
        own = tensors[call] if call < len(tensors) else None
        found[name] = own if any(own is tensor for tensor in fits) else (fits or tensors)[0]
    return found
