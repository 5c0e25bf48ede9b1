"""Training batches of a few lengths: a captured graph serves one shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ...errors import ConfigurationError, DataError

_IGNORED = -100


class BucketCollator:
    """Pads what another collator makes to the first of some lengths that holds it.

    Args:
        collator: Makes batches with `input_ids` and `attention_mask`, `(batch, tokens)`.
        buckets: The lengths, in tokens.
        tokenizer: Says what padding is, and on which side it goes.

    Raises:
        ConfigurationError: If the tokenizer has no padding token.
    """

    def __init__(
        self, collator: Callable[[list[Any]], dict[str, Any]], buckets: Sequence[int], tokenizer: Any
    ) -> None:
        if not isinstance(tokenizer, PreTrainedTokenizerBase) or tokenizer.pad_token_id is None:
            raise ConfigurationError(
                f"pad_to_buckets needs a tokenizer with a padding token, got {type(tokenizer).__name__}: pass "
                "processing_class=tokenizer"
            )
        self.collator = collator
        self.buckets = sorted(buckets)
        self.tokenizer = tokenizer
        # What padding is, by the name of the input; the names of the model's labels differ, but not what is left out.
        self._padding = {
            "input_ids": tokenizer.pad_token_id,
            "attention_mask": 0,
            "token_type_ids": tokenizer.pad_token_type_id,
            "special_tokens_mask": 1,
            "labels": _IGNORED,
        }

    def __call__(self, features: list[Any]) -> dict[str, Any]:
        """A batch of one of the lengths.

        Raises:
            DataError: If a text is longer than the longest, or an input of one number per token has no known padding.
        """
        batch = self.collator(features)
        if "input_ids" not in batch or "attention_mask" not in batch:
            raise DataError(
                f"pad_to_buckets expected input_ids and attention_mask in a batch, got {', '.join(batch)}: leave it "
                "out, or let the tokenizer give both"
            )
        length = batch["input_ids"].shape[-1]
        bucket = next((bucket for bucket in self.buckets if bucket >= length), None)
        if bucket is None:
            raise DataError(
                f"expected texts of at most {self.buckets[-1]} tokens, the largest of pad_to_buckets, got {length}: "
                "truncate them (max_length), or add a length"
            )
        return {name: self._padded(name, value, length, bucket - length) for name, value in batch.items()}

    def _padded(self, name: str, value: Any, length: int, missing: int) -> Any:
        if not isinstance(value, Tensor) or value.dim() < 2 or value.shape[-1] != length or not missing:
            return value
        if name not in self._padding:
            raise DataError(
                f"pad_to_buckets knows the padding of {', '.join(self._padding)}, got {name} with one number per "
                "token: leave that column out, or pad_to_buckets"
            )
        left = self.tokenizer.padding_side == "left"
        return torch.nn.functional.pad(value, (missing, 0) if left else (0, missing), value=self._padding[name])
