"""The rows of a model that belong to words: where they are, and which numbers the configuration names."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ...errors import ConfigurationError

_ENDINGS = ("_token_id", "_token_ids")
_LISTS = ("suppress_tokens",)


def special_ids(model: PreTrainedModel, known: set[int]) -> set[int]:
    """Numbers of tokens that a configuration names (padding, end, start of the decoder, ...).

    Where positions are counted from the number of the padding token (RoBERTa), what comes before it stays too, so that
    it keeps its number.

    Args:
        model: Its `config` and `generation_config` are read.
        known: The numbers that the tokenizer has: rows without a word may be named too.
    """
    rows = model.get_input_embeddings().num_embeddings
    found = {number for config in _configs(model) for _, ids in _named(config) for number in ids if 0 <= number < rows}
    padding = getattr(model.config, "pad_token_id", None)
    if padding is not None and _counts_from(model, padding):
        found |= {number for number in known if number < padding}
        if any(number not in found for number in range(padding)):
            raise ConfigurationError(
                f"expected a model whose padding token keeps its number, which its positions are counted from, got "
                f"{padding} with rows below it that no word has: its vocabulary cannot be cut"
            )
    return found


@torch.no_grad()
def keep_rows(model: PreTrainedModel, kept: torch.Tensor) -> None:
    """Keeps some rows of all embeddings and output layers, in place, and renumbers what names them.

    The rows that stay are moved to the front, and `resize_token_embeddings` cuts the rest off, which knows what else a
    class has of the size of its vocabulary.

    Args:
        model: Any; tied weights stay tied.
        kept: The rows, increasing, shape `(kept,)`, int64.
    """
    rows = model.get_input_embeddings().num_embeddings
    moved: set[int] = set()
    for tensor, dim in _of_words(model):
        if tensor.data_ptr() not in moved and tensor.shape[dim] == rows:
            moved.add(tensor.data_ptr())
            tensor.narrow(dim, 0, len(kept)).copy_(tensor.index_select(dim, kept.to(tensor.device)))
    new = {int(old): number for number, old in enumerate(kept)}
    embeddings = _embeddings(model)
    for embedding in embeddings:
        if getattr(embedding, "padding_idx", None) is not None:
            embedding.padding_idx = new[embedding.padding_idx]
    model.resize_token_embeddings(len(kept), mean_resizing=False)
    for embedding in embeddings:  # those of the stacks hold the weights of another one
        embedding.num_embeddings = len(kept)
    for holder in _holders(model):
        if _has_bias(holder) and len(kept) < len(holder.bias) == rows:  # ESM's, which transformers leaves as it was
            holder.bias = nn.Parameter(holder.bias[: len(kept)].clone(), requires_grad=holder.bias.requires_grad)
    for config in _configs(model):
        for name, ids in list(_named(config)):
            value = getattr(config, name)
            renumbered = [new.get(old, old) for old in ids]
            setattr(config, name, renumbered if isinstance(value, (list, tuple)) else renumbered[0])


def _embeddings(model: PreTrainedModel) -> list[nn.Module]:
    """The embeddings of words; the stacks of an encoder-decoder have their own beside the shared one."""
    models = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    found = {}
    for each in models:
        try:
            embedding = each.get_input_embeddings()
        except NotImplementedError:  # what a part without words raises
            continue
        if isinstance(embedding, nn.Module):
            found[id(embedding)] = embedding
    return list(found.values())


def _of_words(model: PreTrainedModel) -> list[tuple[torch.Tensor, int]]:
    """Tensors with an entry per word, each with its dimension of words."""
    found = [(embedding.weight, 0) for embedding in _embeddings(model)]
    output = model.get_output_embeddings()
    if output is not None:
        found += [(output.weight, 0), *((holder.bias, 0) for holder in _holders(model) if _has_bias(holder))]
    found += [(buffer, 1) for name, buffer in model.named_buffers() if name.endswith("final_logits_bias")]
    return found


def _holders(model: PreTrainedModel) -> list[nn.Module]:
    """The output layer and what holds it: its bias may be its own, or lie beside it."""
    output = model.get_output_embeddings()
    return [] if output is None else [output, *(module for module in model.modules() if output in module.children())]


def _has_bias(module: nn.Module) -> bool:
    return isinstance(getattr(module, "bias", None), torch.Tensor)


def _counts_from(model: PreTrainedModel, padding: int) -> bool:
    """Whether a module other than an embedding of words has the number of the padding token."""
    words = {id(embedding) for embedding in _embeddings(model)}
    others = (module for module in model.modules() if id(module) not in words)
    return padding > 0 and any(getattr(module, "padding_idx", None) == padding for module in others)


def _configs(model: PreTrainedModel) -> list[Any]:
    found = [model.config, getattr(model, "generation_config", None)]
    # The stacks of an encoder-decoder have copies of their own.
    found += [module.config for module in model.modules() if isinstance(module, PreTrainedModel)]
    unique = {id(config): config for config in found if config is not None}
    return list(unique.values())


def _named(config: Any) -> list[tuple[str, list[int]]]:
    """Attributes that name tokens, with their numbers."""
    found = []
    for name, value in vars(config).items():
        several = isinstance(value, (list, tuple))
        if name.startswith("_") or not name.endswith((*_ENDINGS, *(_LISTS if several else ()))):
            continue
        ids = list(value) if several else [value]
        if ids and all(isinstance(number, int) and not isinstance(number, bool) for number in ids):
            found.append((name, ids))
    return found
