"""What a tokenizer reads of a text: where it reads nothing, a model answers all the same."""

from __future__ import annotations

from typing import Any

from .errors import CheckpointError


def require_vocabulary(tokenizer: Any, source: Any) -> None:
    """Checks that a tokenizer knows a word.

    transformers makes one of the model's kind from a folder without a tokenizer: its vocabulary is the special tokens.

    Args:
        tokenizer: The tokenizer; an image processor or feature extractor has no words and passes.
        source: Where it comes from, for the message.

    Raises:
        CheckpointError: If every word is unknown to it.
    """
    if not hasattr(tokenizer, "get_vocab"):
        return
    words = tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens)
    if not words:
        raise CheckpointError(
            f"expected a tokenizer with a vocabulary at {source}, got a {type(tokenizer).__name__} to which every "
            "word is unknown: save the tokenizer that the model was trained with there (tokenizer.save_pretrained)"
        )
