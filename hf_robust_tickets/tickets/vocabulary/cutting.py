"""Cuts the rows of a vocabulary that a corpus never uses out of embeddings, output layer and tokenizer."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ..._arguments import check_arguments
from ...errors import ConfigurationError, DataError, TicketError
from ..gates import get_gates
from .changes import Changes, batches, changed_words, encoded
from .pieces import Pieces
from .rows import keep_rows, special_ids

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class VocabularyCut:
    """What `prune_vocabulary` did.

    Attributes:
        tokenizer: The tokenizer of the small vocabulary; the one that was given is left as it is.
        kept: The rows that were kept, as they were numbered before, shape `(rows,)`, int64: entry i is now row i.
        before: Rows of the model's embedding before.
        parameters: Parameters of the model before and after.
        corpus: The words of the corpus that are now cut into other pieces; none where nothing was asked for but
            the corpus.
        evaluation: The same of the evaluation data.
    """

    tokenizer: Any
    kept: torch.Tensor
    before: int
    parameters: tuple[int, int]
    corpus: Changes
    evaluation: Changes

    def __str__(self) -> str:
        before, after = (count / 1e6 for count in self.parameters)
        return f"vocabulary {self.before} -> {len(self.kept)}, {before:.2f}M -> {after:.2f}M parameters"


@check_arguments
def prune_vocabulary(
    model: PreTrainedModel,
    tokenizer: Any,
    corpus: Iterable[str],
    *,
    keep: Sequence[str] = (),
    min_count: int = 1,
    size: int | None = None,
    characters: bool = True,
    evaluation: Iterable[str] = (),
) -> VocabularyCut:
    """Removes, in place, the words of a vocabulary that a corpus never uses; the tokenizer is cut with it.

    The corpus is tokenized as before, piece by piece, and the model's outputs on it are the same numbers. In a small
    model with a large vocabulary most parameters are of words that a task never meets (Abdaoui, Pradel and Sigel,
    *Load What You Need: Smaller Versions of Multilingual BERT*, SustaiNLP 2020, arXiv:2010.05609, who cut by frequency
    as `min_count` does).

    Always kept: special and added tokens, numbers that the model's configuration names, what a tokenizer falls back
    to (unknown, bytes), and for BPE the pieces that others are merged from.

    Args:
        model: Of any head; pruned or not. Embeddings, tied or separate output layers and their biases shrink.
        tokenizer: Its fast tokenizer (WordPiece, BPE, Unigram or WordLevel).
        corpus: The texts to keep words for, all that the model is to read; gone through twice, so a list or a column.
        keep: Further texts, or single words, whose pieces stay.
        min_count: Pieces that the corpus has less often go too: the words with them are then cut differently.
        size: At most this many rows; the most frequent pieces stay.
        characters: Whether pieces of one character stay, with which words that the corpus does not have can still be
            spelt; without them, such words become unknown.
        evaluation: Texts that should be read as before too; how many of their words are not is counted and logged.

    Returns:
        The small tokenizer, and what changed.

    Raises:
        ConfigurationError: If the tokenizer is not a fast one, or does not fit the model, or the vocabulary would not
            hold what is always kept.
        DataError: If there is no text, or the corpus can be gone through only once.
        TicketError: If the model has gates.
    """
    if iter(corpus) is corpus:
        raise DataError("expected a corpus that can be gone through again, got an iterator: pass a list, or a column")
    if min_count < 1:
        raise ConfigurationError(f"expected min_count from 1 on, got {min_count}")
    if get_gates(model) is not None:
        raise TicketError("expected a model without gates, got a gated one: call detach_gates(model) first")
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ConfigurationError(
            f"expected a fast tokenizer, got {type(tokenizer).__name__}: load it with AutoTokenizer(use_fast=True)"
        )
    pieces, rows = Pieces(backend), model.get_input_embeddings().num_embeddings
    required = _required(model, tokenizer, pieces, rows, keep, characters)
    counts = _counts(tokenizer, corpus)
    kept = _chosen(pieces, required, counts, min_count, size)
    small = _tokenizer(tokenizer, pieces, kept)
    changes = changed_words(tokenizer, small, corpus)
    if changes.words and min_count == 1 and size is None:
        # Words with unknown characters: what was unknown as a whole is spelt with the pieces that are left.
        inside = set().union(*(pieces.inside(word) for word in _split(backend, changes.words)))
        kept |= _ids(pieces, pieces.with_parts(inside))
        small = _tokenizer(tokenizer, pieces, kept)
        changes = changed_words(tokenizer, small, corpus)
    before = _parameters(model)
    numbers = torch.tensor(sorted(kept), dtype=torch.int64, device="cpu")
    keep_rows(model, numbers)
    cut = VocabularyCut(
        tokenizer=small,
        kept=numbers,
        before=rows,
        parameters=(before, _parameters(model)),
        corpus=changes,
        evaluation=changed_words(tokenizer, small, evaluation),
    )
    for name, found in (("corpus", cut.corpus), ("evaluation data", cut.evaluation)):
        if found.words:
            logger.warning("of the %s %s", name, found)
    return cut


def _required(
    model: PreTrainedModel, tokenizer: Any, pieces: Pieces, rows: int, keep: Sequence[str], characters: bool
) -> set[int]:
    """Numbers of what stays whatever the corpus has."""
    beyond = [piece for piece, number in pieces.ids.items() if number >= rows]
    if beyond:
        raise ConfigurationError(
            f"expected a tokenizer of at most the model's {rows} rows, got {len(beyond)} pieces beyond them, e.g. "
            f"{beyond[0]!r}: call model.resize_token_embeddings(len(tokenizer)), or load the tokenizer of this model"
        )
    needed = pieces.always() | {token for token in tokenizer.all_special_tokens if token in pieces.ids}
    if characters:
        needed |= pieces.characters()
    numbers = special_ids(model, set(pieces.ids.values()))
    for text in [keep] if isinstance(keep, str) else keep:
        # A space may belong to the word after it.
        numbers |= {number for one in encoded(tokenizer, [text, f" {text}"]) for number in one.ids}
    return _with_parts(pieces, numbers | _ids(pieces, needed))


def _counts(tokenizer: Any, corpus: Iterable[str]) -> Counter[int]:
    counts: Counter[int] = Counter()
    for part in batches(corpus):
        for one in encoded(tokenizer, part):
            counts.update(one.ids)
    if not counts:
        raise DataError("expected a corpus with words to keep, got none: pass the texts that the model is to read")
    return counts


def _chosen(pieces: Pieces, required: set[int], counts: Counter[int], min_count: int, size: int | None) -> set[int]:
    kept = set(required)
    if size is not None and len(kept) > size:
        raise ConfigurationError(
            f"expected a vocabulary that holds what is always kept, got size={size}, which would remove at least "
            f"{len(kept) - size} of {len(kept)} special tokens, single characters and words of keep=: pass a larger "
            "one, or characters=False"
        )
    for number, count in counts.most_common():
        more = _with_parts(pieces, {number}) - kept
        if count < min_count or (size is not None and len(kept) + len(more) > size):
            break
        kept |= more
    return kept


def _tokenizer(tokenizer: Any, pieces: Pieces, kept: set[int]) -> Any:
    small = copy.deepcopy(tokenizer)
    small._tokenizer = pieces.shrunk(sorted(kept))
    return small


def _ids(pieces: Pieces, names: Iterable[str]) -> set[int]:
    return {pieces.ids[name] for name in names}


def _with_parts(pieces: Pieces, numbers: set[int]) -> set[int]:
    names = (pieces.names[number] for number in numbers if number in pieces.names)
    return numbers | _ids(pieces, pieces.with_parts(names))


def _split(backend: Any, words: Iterable[str]) -> set[str]:
    """Words as the tokenizer's model gets them: normalised, and split again where it splits them."""
    found: set[str] = set()
    for word in words:
        text = word if backend.normalizer is None else backend.normalizer.normalize_str(word)
        parts = [(text, None)] if backend.pre_tokenizer is None else backend.pre_tokenizer.pre_tokenize_str(text)
        found |= {part for part, _ in parts}
    return found


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
