"""Resources for recipes, small enough to make in a test: word vectors, masked language models, an encoder."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

from hf_robust_tickets.evaluation.resources import VECTORS_FOLDER
from tests.testing.keyword_model import SCORES

WORDS = [word for word in SCORES if not word.startswith("[")]
MORE = ["fine", "nice", "poor", "movie", "story", "some", "dull", "a", "the", "is", "very", "not"]
PIECES = ["num", "##ber", "##0", "##1", "fil", "##m", "##ing", "##s"]


def write_vectors(cache: Path) -> None:
    """Counter-fitted vectors as TextAttack stores them: every word, all others its neighbours, nearest first."""
    words = [*WORDS, *MORE]
    matrix = np.random.default_rng(0).normal(size=(len(words), 8)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True) * 3
    # neighbours that all bounds of distance allow
    matrix += np.array([1.0] * 8, dtype=np.float32)
    neighbours = np.argsort(((matrix[:, None] - matrix[None]) ** 2).sum(-1), axis=1)
    folder = cache / VECTORS_FOLDER
    folder.mkdir(parents=True)
    np.save(folder / "paragram.npy", matrix)
    np.save(folder / "nn.npy", neighbours)
    (folder / "wordlist.pickle").write_bytes(pickle.dumps({word: i for i, word in enumerate(words)}))


def masked_lm(folder: Path, seed: int = 0) -> tuple[BertForMaskedLM, BertTokenizer]:
    """A random BERT with a vocabulary of whole words and pieces."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = list("abcdefghijklmnopqrstuvwxyz")
    vocabulary = [*specials, *WORDS, *MORE, *PIECES, *(x for x in letters if x != "a"), *("##" + x for x in letters)]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"), model_max_length=512)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    model = BertForMaskedLM(config).eval()
    # an untrained model's scores are almost equal: rounding must not decide
    with torch.no_grad():
        model.cls.predictions.decoder.weight.normal_(std=0.5)
        model.cls.predictions.decoder.bias.normal_(std=0.5)
    return model, tokenizer


class LetterEncoder:
    """A sentence encoder that counts letters."""

    def encode(self, texts: list[str], **_: object) -> Tensor:
        rows = [[1.0, *(text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz")] for text in texts]
        return torch.tensor(rows)


def write_hownet(path: Path) -> None:
    """Candidates by sememes: word -> part of speech -> words."""
    path.parent.mkdir(parents=True)
    bank = {"good": {"adj": ["fine", "nice"]}, "awful": {"adj": ["poor"]}, "film": {"noun": ["movie", "plot"]}}
    path.write_bytes(pickle.dumps(bank))
