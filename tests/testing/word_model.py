"""A classifier of real sentences that costs next to nothing: naive Bayes over words, and an encoder to match."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.modeling_outputs import SequenceClassifierOutput

SPLIT = pre_tokenizers.Whitespace()


class WordConfig(PretrainedConfig):
    model_type = "words"


class WordModel(PreTrainedModel):
    """The sum of the words' scores; scores are multiples of 1/64, so that sums are exact in any order."""

    config_class = WordConfig

    def __init__(self, config: WordConfig) -> None:
        super().__init__(config)
        self.scores = nn.Embedding(config.vocab_size, 1)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.scores

    def _init_weights(self, module: nn.Module) -> None: ...

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: object
    ) -> SequenceClassifierOutput:
        score = self.scores(input_ids).sum(dim=(1, 2))
        return SequenceClassifierOutput(logits=torch.stack([torch.zeros_like(score), score], dim=1))


def word_model(
    texts: Sequence[str], labels: Sequence[int], least: int = 3
) -> tuple[WordModel, PreTrainedTokenizerFast]:
    """Counts words (those that occur often enough) and makes a classifier and its tokenizer of the counts."""
    counts = (Counter(), Counter())
    for text, label in zip(texts, labels, strict=True):
        counts[label].update(word for word, _ in SPLIT.pre_tokenize_str(text.lower()))
    words = sorted(word for word in counts[0] | counts[1] if counts[0][word] + counts[1][word] >= least)
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *words])}
    sides = [sum(count.values()) for count in counts]
    scores = [math.log((counts[1][word] + 1) / sides[1] * sides[0] / (counts[0][word] + 1)) for word in words]
    model = WordModel(WordConfig(vocab_size=len(vocabulary)))
    with torch.no_grad():
        model.scores.weight.copy_(torch.tensor([0.0, 0.0, *scores]).mul(64).round().div(64).unsqueeze(1))
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = SPLIT
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "model_max_length": 64}
    names = ["input_ids", "attention_mask"]
    return model.eval(), PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=names, **special)


class BagEncoder:
    """A text is the sum of one fixed random vector per word; what `sentence_encoder=` takes."""

    def __init__(self, dimensions: int = 64) -> None:
        self.dimensions = dimensions
        self._known: dict[str, Tensor] = {}

    def encode(self, texts: Sequence[str], **_: object) -> Tensor:
        return torch.stack(
            [torch.stack([self._vector(word) for word in (text.split() or [""])]).sum(0) for text in texts]
        )

    def _vector(self, word: str) -> Tensor:
        if word not in self._known:
            drawn = np.random.default_rng(zlib.crc32(word.encode("utf-8", "surrogatepass")))
            self._known[word] = torch.from_numpy(drawn.standard_normal(self.dimensions).astype(np.float32))
        return self._known[word]
