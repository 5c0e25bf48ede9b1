"""The vocabulary that a corpus never uses leaves a model and its tokenizer."""

from __future__ import annotations

from .changes import Changes, changed_words
from .cutting import VocabularyCut, prune_vocabulary

__all__ = ["Changes", "VocabularyCut", "changed_words", "prune_vocabulary"]
