"""The demo's ingredients: a synthetic review corpus, written by this package, and a small pretrained encoder."""

from __future__ import annotations

from .corpus import corpus_as_datasets, make_corpus
from .encoder import minilm_path

__all__ = ["corpus_as_datasets", "make_corpus", "minilm_path"]
