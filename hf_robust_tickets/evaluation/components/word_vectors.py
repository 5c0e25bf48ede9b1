"""Counter-fitted word vectors, from the files that TextAttack reads.

This module imports TextAttack: import it inside functions only.
"""

# ruff: noqa: E402  (TextAttack has to be imported by its shim before anything is imported from it)

from __future__ import annotations

import os
from pathlib import Path

import torch

from ..._compat import import_textattack, textattack_cache
from ..._files import read_array, read_plain_pickle
from ...errors import CheckpointError, MissingResourceError
from ..resources import VECTORS_FILES, VECTORS_FOLDER, VECTORS_SHAPE, files_sha256

import_textattack()

from textattack.shared import WordEmbedding


class WordVectors(WordEmbedding):
    """Counter-fitted vectors, compared on the CPU: one pair of vectors is no work for an accelerator.

    Attributes:
        sha256: Checksum of the files that they were read from.
    """

    sha256: str = ""

    def get_cos_sim(self, a: int | str, b: int | str) -> float:
        """Cosine similarity of two words, in [-1, 1]."""
        a = self._word2index[a] if isinstance(a, str) else a
        b = self._word2index[b] if isinstance(b, str) else b
        low, high = min(a, b), max(a, b)
        row = self._cos_sim_mat[low]
        if high not in row:
            first, second = (torch.tensor(self.embedding_matrix[i]) for i in (low, high))
            row[high] = torch.nn.functional.cosine_similarity(first, second, dim=0).item()
        return row[high]

    @property
    def published(self) -> bool:
        """Whether this has the size of the published vectors, whose checksum is not known: the report names that of
        the files.
        """
        return self.embedding_matrix.shape == VECTORS_SHAPE


def load_word_vectors(folder: str | os.PathLike[str] | None = None) -> WordVectors:
    """Reads counter-fitted vectors.

    Args:
        folder: Where they lie; None for TextAttack's cache folder, see `resources.ensure_resources`.

    Raises:
        MissingResourceError: If a file is not there.
        CheckpointError: If one is not what it should be; nothing in it is run.
    """
    folder = textattack_cache() / VECTORS_FOLDER if folder is None else Path(folder)
    if absent := [name for name in VECTORS_FILES if not (folder / name).is_file()]:
        raise MissingResourceError(
            f"expected {', '.join(VECTORS_FILES)} in {folder}, got a folder without {', '.join(absent)}: hand over "
            "one laid out as TextAttack's word_embeddings/paragramcf"
        )
    matrix, neighbours = (read_array(folder / name) for name in ("paragram.npy", "nn.npy"))
    word2index = read_plain_pickle(folder / "wordlist.pickle", "the words of the vectors")
    if not isinstance(word2index, dict) or not all(index in range(len(matrix)) for index in word2index.values()):
        raise CheckpointError(
            f"expected words with numbers below {len(matrix)} in {folder}, got others: hand over the whole folder"
        )
    index2word = {index: word for word, index in word2index.items()}
    vectors = WordVectors(matrix, word2index, index2word, neighbours)
    vectors.sha256 = files_sha256(folder / name for name in VECTORS_FILES)
    return vectors
