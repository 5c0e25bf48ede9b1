"""A classifier that can be worked out by hand: the sum of its words' scores against a bias."""

from __future__ import annotations

import time

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.modeling_outputs import SequenceClassifierOutput

SCORES = {"[PAD]": 0.0, "[UNK]": 0.0, "good": 2.0, "great": 2.0, "bad": -2.0, "awful": -2.0, "film": 0.0, "plot": 0.1}


class KeywordConfig(PretrainedConfig):
    model_type = "keyword"


class KeywordModel(PreTrainedModel):
    """Positive (class 1) if the words' scores add up to more than 1; misspelt words count nothing.

    `config.delay` is how many seconds a call takes longer.
    """

    config_class = KeywordConfig

    def __init__(self, config: KeywordConfig) -> None:
        super().__init__(config)
        self.scores = nn.Embedding(len(SCORES), 1)
        self.dropout = nn.Dropout(0.9)
        self.post_init()
        with torch.no_grad():
            self.scores.weight.copy_(torch.tensor(list(SCORES.values())).unsqueeze(1))

    def get_input_embeddings(self) -> nn.Module:
        return self.scores

    def _init_weights(self, module: nn.Module) -> None: ...

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, **_: object
    ) -> SequenceClassifierOutput:
        time.sleep(getattr(self.config, "delay", 0))
        score = self.dropout(self.scores(input_ids)).sum(dim=(1, 2)) - 1
        logits = torch.stack([torch.zeros_like(score), score], dim=1)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class SteadyKeywordModel(KeywordModel):
    """Without dropout: TextAttack takes gradients with it."""

    def __init__(self, config: KeywordConfig) -> None:
        super().__init__(config)
        self.dropout.p = 0.0


def keyword_model(**config: object) -> KeywordModel:
    return KeywordModel(KeywordConfig(**config)).eval()


def keyword_tokenizer(pair: bool = False) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(SCORES)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_input_names=["input_ids", "attention_mask"],
    )


def rows(each: int = 2) -> list[dict]:
    """Per group: one that any attack fools, one that no character attack fools, one that is wrong to begin with."""
    found = []
    for number in range(each):
        found.append({"text": f"Some good film number{number}", "label": 1})
        found.append({"text": f"Some awful film number{number}", "label": 0})
        found.append({"text": f"Some dull plot number{number}", "label": 1})
    return found
