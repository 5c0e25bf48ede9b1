"""The attacked model as decisions: for each label, or each word, how far it is from another answer."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..._reading import require_tokenizer
from ...errors import ConfigurationError, DataError
from ..victim.classifier import class_logits
from ..victim.copies import batch_to_device
from ..victim.model import checked_length
from ..victim.reading_ahead import ahead


class LabelVictim:
    """A model of several labels at once: texts in, the probability of each label out.

    Args:
        model: A sequence classifier; it stays on its device and in its mode.
        tokenizer: Its tokenizer.
        batch_size: Most texts per forward call.
        max_length: Truncation in tokens; None for the limit of model and tokenizer.
        bf16: Whether to run the model under bfloat16 autocast.

    Raises:
        ConfigurationError: If the tokenizer does not do.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: Any, batch_size: int, max_length: int | None, bf16: bool = False
    ) -> None:
        require_tokenizer(tokenizer)
        self.model = model
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.max_length = checked_length(model, tokenizer, max_length)
        self.bf16 = bf16
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        """One array per text; texts that were asked since `forget` are answered from memory."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        parts = [new[start : start + self.batch_size] for start in range(0, len(new), self.batch_size)]
        encoded = (self._tokenized(part) for part in parts)
        with contextlib.closing(ahead(encoded, depth=1) if len(parts) > 1 else encoded) as batches:
            for part, batch in zip(parts, batches, strict=True):
                self._known.update(zip(part, self._ask(part, batch), strict=True))
        return [self._known[text] for text in texts]

    def forget(self) -> None:
        """Empties the memory, after each example."""
        self._known = {}

    def _tokenized(self, texts: list[str]) -> Any:
        return self._encode(texts)

    def _ask(self, texts: list[str], encoded: Any) -> list[np.ndarray]:
        return list(self._logits(encoded, dimensions=2).double().sigmoid().numpy())

    def _encode(self, texts: list[Any], **options: Any) -> Any:
        return self.tokenizer(
            texts, truncation=True, max_length=self.max_length, padding=True, return_tensors="pt", **options
        )

    @torch.inference_mode()
    def _logits(self, encoded: Any, dimensions: int) -> Tensor:
        device = next(self.model.parameters()).device
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.bf16):
            logits = class_logits(self.model(**batch_to_device(encoded, device)))
        if logits.dim() != dimensions or logits.shape[-1] != self.model.config.num_labels:
            shape = ("texts, labels", "texts, tokens, tags")[dimensions - 2]
            raise ConfigurationError(
                f"expected logits of the shape ({shape}) with config.num_labels={self.model.config.num_labels}, got "
                f"{tuple(logits.shape)}: evaluate a model of this task"
            )
        # One copy back, and all questions after it.
        logits = logits.float().cpu()
        if not bool(logits.isfinite().all()):
            raise DataError("expected finite logits, got NaN or infinity: the model is broken")
        return logits


class TagVictim(LabelVictim):
    """A model of a tag per word: texts in, the logits of each word's first token out, `(words, tags)`.

    A text's words are what spaces separate. Words beyond `max_length` have no tag: their logits are NaN.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: Any, batch_size: int, max_length: int | None, bf16: bool = False
    ) -> None:
        super().__init__(model, tokenizer, batch_size, max_length, bf16)
        if not getattr(tokenizer, "is_fast", False):
            raise ConfigurationError(
                f"expected a fast tokenizer, which knows a token's word, got {type(tokenizer).__name__}: load it with "
                "AutoTokenizer"
            )

    def _tokenized(self, texts: list[str]) -> Any:
        return self._encode([text.split(" ") for text in texts], is_split_into_words=True)

    def _ask(self, texts: list[str], encoded: Any) -> list[np.ndarray]:
        words = [text.split(" ") for text in texts]
        logits = self._logits(encoded, dimensions=3).double().numpy()
        answers = []
        for row, of_text in enumerate(words):
            found = np.full((len(of_text), logits.shape[-1]), np.nan)
            # From the last token to the first: a word's first token stays.
            for token, word in reversed(list(enumerate(encoded.word_ids(row)))):
                if word is not None:
                    found[word] = logits[row, token]
            answers.append(found)
        return answers
