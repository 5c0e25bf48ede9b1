"""Which token may take which one's place, what that does to the loss to first order, and how it looks as text."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...errors import ConfigurationError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CONTINUATION = "##"
"""WordPiece marks what continues a word."""

STARTS = ("\u0120", "\u2581")
"""Byte-level BPE and SentencePiece mark what begins one."""

LOOKED_AT = 8
"""So many flips are tried for each that is asked for: not all survive tokenization."""


def first_order_scores(vectors: Tensor, ids: Tensor, gradient: Tensor) -> Tensor:
    """Estimated change of the loss for every flip: `(e_new - e_old) . dL/de` (Ebrahimi et al. 2018, equation 10).

    Args:
        vectors: Embeddings of the vocabulary, (vocabulary, dim).
        ids: The text's tokens, (tokens,).
        gradient: Gradient of the loss with respect to their embeddings, (tokens, dim).

    Returns:
        (tokens, vocabulary).
    """
    projected = gradient @ vectors.T
    return projected - projected.gather(1, ids[:, None])


@dataclass(frozen=True)
class Encoded:
    """A text as the model sees it, and where its tokens are.

    Attributes:
        texts: Column -> text.
        inputs: What the model takes.
        ids: Tokens, (tokens,).
        spans: Column and character span of each token; None for special tokens.
    """

    texts: dict[str, str]
    inputs: dict[str, list[int]]
    ids: Tensor
    spans: list[tuple[str, int, int] | None]


class TokenFlips:
    """Flips on one vocabulary.

    Args:
        tokenizer: A fast tokenizer.
        embedding: The model's input embedding.
        max_length: Truncation in tokens.
        same_class: Whether a token may only be replaced by one of its class.
        min_cosine: Least cosine of the embeddings, or None.

    Attributes:
        vectors: What the embedding puts out for each token, (vocabulary, dim).

    Raises:
        ConfigurationError: If the tokenizer gives no offsets.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        embedding: nn.Module,
        max_length: int,
        same_class: bool,
        min_cosine: float | None,
    ) -> None:
        if not tokenizer.is_fast:
            raise ConfigurationError(
                f"expected a fast tokenizer, got {type(tokenizer).__name__}: flips are placed by character offsets"
            )
        self.tokenizer, self.max_length, self.min_cosine = tokenizer, max_length, min_cosine
        size = min(len(tokenizer), embedding.weight.shape[0])
        with torch.no_grad():
            # through the module: some scale their weights
            self.vectors = embedding(torch.arange(size, device=embedding.weight.device)).float()
        self._surfaces = _surfaces(tokenizer, size)
        classes = _classes(tokenizer, size, self._surfaces)
        special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
        usable = [bool(surface) and i not in special for i, surface in enumerate(self._surfaces)]
        self._usable = torch.tensor(usable, device=self.vectors.device)
        self._classes = torch.tensor(classes, device=self.vectors.device) if same_class else None
        self._special = special

    def encode(self, texts: Mapping[str, str]) -> Encoded:
        """Tokens of a text and their places."""
        columns = list(texts)
        encoded = self.tokenizer(
            *texts.values(), truncation=True, max_length=self.max_length, return_offsets_mapping=True
        )
        spans: list[tuple[str, int, int] | None] = []
        for sequence, (start, end) in zip(encoded.sequence_ids(), encoded.pop("offset_mapping"), strict=True):
            spans.append(None if sequence is None or start == end else (columns[sequence], start, end))
        ids = torch.tensor(encoded["input_ids"], device=self.vectors.device)
        return Encoded(dict(texts), dict(encoded), ids, spans)

    def allowed(self, encoded: Encoded, columns: Sequence[str], flipped: Collection[int]) -> Tensor:
        """Which flips may be, (tokens, vocabulary)."""
        places = [
            span is not None and span[0] in columns and place not in flipped
            for place, span in enumerate(encoded.spans)
        ]
        found = torch.tensor(places, device=self.vectors.device)[:, None] & self._usable[None]
        found.scatter_(1, encoded.ids[:, None], False)
        if self._classes is not None:
            unknown = torch.tensor([int(i) in self._special for i in encoded.ids], device=found.device)
            found &= (self._classes[encoded.ids][:, None] == self._classes[None]) | unknown[:, None]
        if self.min_cosine is not None:
            unit = torch.nn.functional.normalize(self.vectors, dim=1)
            found &= unit[encoded.ids] @ unit.T >= self.min_cosine
        return found

    def best(self, encoded: Encoded, scores: Tensor, allowed: Tensor, count: int) -> list[tuple[dict[str, str], int]]:
        """The texts behind the `count` flips of largest score that is positive, with the place of each flip."""
        flat = scores.masked_fill(~allowed, -torch.inf).flatten()
        top = flat.topk(min(LOOKED_AT * count, len(flat)))
        found: list[tuple[dict[str, str], int]] = []
        for value, where in zip(top.values.tolist(), top.indices.tolist()):
            if not value > 0 or len(found) == count:
                break
            place, token = divmod(where, scores.shape[1])
            texts = self._replaced(encoded, place, token)
            if texts is not None:
                found.append((texts, place))
        return found

    def _replaced(self, encoded: Encoded, place: int, token: int) -> dict[str, str] | None:
        """The text with one token replaced; None if it is tokenized in another way than meant."""
        span = encoded.spans[place]
        if span is None:
            return None
        column, start, end = span
        text = encoded.texts[column]
        old = text[start:end]
        # GPT-2's tokenizer and others count the space before a word as a part of its token
        space = old[: len(old) - len(old.lstrip())]
        texts = {**encoded.texts, column: text[:start] + space + self._surfaces[token] + text[end:]}
        meant = encoded.ids.tolist()
        meant[place] = token
        again = self.tokenizer(*texts.values(), truncation=True, max_length=self.max_length)["input_ids"]
        return texts if list(again) == meant else None


def _surfaces(tokenizer: PreTrainedTokenizerBase, size: int) -> list[str]:
    """How each token looks inside a text; empty where it is no text of its own."""
    surfaces = []
    for token in tokenizer.convert_ids_to_tokens(list(range(size))):
        if token is None:
            surfaces.append("")
        elif token.startswith(CONTINUATION) and len(token) > len(CONTINUATION):
            surfaces.append(token.removeprefix(CONTINUATION))
        else:
            text = tokenizer.convert_tokens_to_string([token]).strip()
            surfaces.append("" if "\ufffd" in text else text)
    return surfaces


def _classes(tokenizer: PreTrainedTokenizerBase, size: int, surfaces: Sequence[str]) -> list[int]:
    """A number per token: whether it begins a word, and whether it is letters, digits or neither."""
    tokens = [token or "" for token in tokenizer.convert_ids_to_tokens(list(range(size)))]
    marked = any(token.startswith(STARTS) and len(token) > 1 for token in tokens)
    found = []
    for token, surface in zip(tokens, surfaces):
        begins = token.startswith(STARTS) if marked else not token.startswith(CONTINUATION)
        kind = 0 if surface.isalpha() else 1 if surface.isdigit() else 2
        found.append(2 * kind + int(begins))
    return found
