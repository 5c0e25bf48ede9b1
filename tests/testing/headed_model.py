"""A classifier with a last linear layer, whose logits can be multiplied and rounded behind it."""

from __future__ import annotations

import random

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.modeling_outputs import SequenceClassifierOutput

VOCABULARY = [f"{a}{b}{c}{a}{b}{c}" for a in "bdfk" for b in "aeio" for c in "lmnr"]
"""Of which no edit of a character makes another."""


class HeadedConfig(PretrainedConfig):
    model_type = "headed"


class HeadedModel(PreTrainedModel):
    """The sum of the words' random vectors, and a linear layer.

    `config.scale` multiplies the logits behind that layer, `config.rounded` rounds them to bfloat16, and
    `config.scrambled` replaces them by others of the same order.
    """

    config_class = HeadedConfig

    def __init__(self, config: HeadedConfig) -> None:
        super().__init__(config)
        generator = torch.Generator().manual_seed(3)
        self.words = nn.Embedding(len(VOCABULARY) + 2, 8)
        self.classifier = nn.Linear(8, config.num_labels)
        self.post_init()
        with torch.no_grad():
            self.words.weight.copy_(torch.randn(self.words.weight.shape, generator=generator))
            self.words.weight[:2] = 0  # padding and unknown words
            self.classifier.weight.copy_(0.3 * torch.randn(self.classifier.weight.shape, generator=generator))
            self.classifier.bias.copy_(torch.linspace(9.0, 9.5, config.num_labels))

    def get_input_embeddings(self) -> nn.Module:
        return self.words

    def _init_weights(self, module: nn.Module) -> None: ...

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: object
    ) -> SequenceClassifierOutput:
        logits = self.classifier(self.words(input_ids).sum(dim=1)) * getattr(self.config, "scale", 1.0)
        if getattr(self.config, "rounded", False):
            logits = logits.bfloat16()
        if getattr(self.config, "scrambled", False):
            noise = torch.sin(1e4 * logits.sum(dim=1, keepdim=True)) + 1.5
            logits = noise * nn.functional.one_hot(logits.argmax(dim=1), logits.shape[1])
        return SequenceClassifierOutput(logits=logits)


def headed_model(**config: object) -> HeadedModel:
    return HeadedModel(HeadedConfig(**config)).eval()


def headed_tokenizer() -> PreTrainedTokenizerFast:
    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *VOCABULARY])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "model_max_length": 64}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=["input_ids", "attention_mask"], **special
    )


def headed_rows(count: int, seed: int, wrong: int = 4) -> list[dict]:
    """Texts of seven to twelve words with the classes that the model gives them, but for every `wrong`-th.

    Every third is of words for class 1 alone, which is the class of a text of unknown words: no misspelling fools the
    model there.
    """
    generator, model, tokenizer = random.Random(seed), headed_model(), headed_tokenizer()

    def predicted(text: str) -> int:
        with torch.no_grad():
            return int(model(torch.tensor([tokenizer(text)["input_ids"]])).logits.argmax())

    steady = [word for word in VOCABULARY if predicted(word) == 1]
    texts = [
        " ".join(generator.choices(VOCABULARY if i % 3 else steady, k=generator.randint(7, 12))) for i in range(count)
    ]
    labels = [predicted(text) for text in texts]
    return [
        {"text": text, "label": label if i % wrong != 1 else 1 - label}
        for i, (text, label) in enumerate(zip(texts, labels))
    ]
