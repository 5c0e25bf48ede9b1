"""What a tokenizer reads of a text: where it reads nothing, a model answers all the same."""

from __future__ import annotations

import inspect
import logging
from typing import Any

from .errors import CheckpointError, ConfigurationError

# By what prefix a tokenizer tells tokens that begin a word from those that go on with it: WordPiece marks the latter,
# SentencePiece and byte-level BPE the former.
WORD_MARKS = ("##", "\u2581", "\u0120")


def tokenizer_of(processor: Any) -> Any:
    """The tokenizer of a processor that has one; what is none, or is nothing, as it is."""
    return getattr(processor, "tokenizer", processor)


logger = logging.getLogger(__name__)


def require_tokenizer(tokenizer: Any) -> None:
    """Raises ConfigurationError for what is no tokenizer: nothing, a name, a model."""
    if not callable(tokenizer) or not hasattr(tokenizer, "model_max_length"):
        raise ConfigurationError(
            f"expected the model's tokenizer, got {type(tokenizer).__name__}: load it with AutoTokenizer"
        )


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


def pad_as_one(model: Any, tokenizer: Any) -> None:
    """Gives a tokenizer without padding its end of text to pad with, and the model the same token.

    Models of the GPT-2 kind find the last token of a text by the padding token of their configuration.

    Args:
        model: The model; its configuration is changed where it has no padding token.
        tokenizer: Its tokenizer.

    Raises:
        ConfigurationError: If the tokenizer has no end of text either, or the two pad differently.
    """
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise ConfigurationError(
                f"expected a {type(tokenizer).__name__} with a padding token, or an end of text to pad with, got "
                "neither: set tokenizer.pad_token and save it"
            )
        tokenizer.pad_token = tokenizer.eos_token
        logger.warning("the tokenizer has no padding token: its end of text, %r, pads", tokenizer.eos_token)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    check_padding(model, tokenizer)


def check_padding(model: Any, tokenizer: Any) -> None:
    """Checks that a model that looks for padding looks for that of its tokenizer.

    Raises:
        ConfigurationError: If it does not: it would read another token of a text than the last.
    """
    wanted, given = getattr(model.config, "pad_token_id", None), getattr(tokenizer, "pad_token_id", None)
    if given is None or wanted == given or not _looks_for_padding(model):
        return
    raise ConfigurationError(
        f"expected model.config.pad_token_id to be the tokenizer's, {given} ({tokenizer.pad_token!r}), got {wanted}: "
        f"a {type(model).__name__} finds the last token of a text by it; set model.config.pad_token_id = "
        "tokenizer.pad_token_id"
    )


def _looks_for_padding(model: Any) -> bool:
    try:
        return "pad_token_id" in inspect.getsource(inspect.unwrap(type(model).forward))
    except (OSError, TypeError):
        return False
