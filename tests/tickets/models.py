"""Tiny models of every family, made from configurations, and inputs for them."""

from __future__ import annotations

from typing import Any

import torch
import transformers

TEXT = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
    "num_labels": 3,
}
DISTILBERT = {
    "vocab_size": 64,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 24,
    "max_position_embeddings": 40,
    "num_labels": 3,
}
# Name of the configuration class, its values, and the stem of its model classes.
FAMILIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "bert": ("BertConfig", TEXT, "Bert"),
    "roberta": ("RobertaConfig", TEXT, "Roberta"),
    "xlm-roberta": ("XLMRobertaConfig", TEXT, "XLMRoberta"),
    "camembert": ("CamembertConfig", TEXT, "Camembert"),
    "electra": ("ElectraConfig", {**TEXT, "embedding_size": 16}, "Electra"),
    "distilbert": ("DistilBertConfig", DISTILBERT, "DistilBert"),
}


def tiny_config(family: str, **changes: Any) -> Any:
    name, values, _ = FAMILIES[family]
    return getattr(transformers, name)(**{**values, **changes})


def tiny_model(family: str = "bert", head: str = "ForSequenceClassification", seed: int = 0, **changes: Any) -> Any:
    """A model in eval mode whose weights are large enough for its heads and neurons to matter."""
    torch.manual_seed(seed)
    model = getattr(transformers, FAMILIES[family][2] + head)(tiny_config(family, **changes))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def tiny_inputs(family: str = "bert", batch: int = 3, length: int = 11, seed: int = 0) -> dict[str, torch.Tensor]:
    """Inputs with padding in all rows but the first."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 64, (batch, length), generator=generator)
    mask = torch.ones(batch, length, dtype=torch.long)
    for row in range(1, batch):
        mask[row, length - 2 * row :] = 0
    return {"input_ids": ids * mask, "attention_mask": mask}


def logits(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """The first output of the model, without a graph."""
    with torch.no_grad():
        return model(**inputs)[0]
