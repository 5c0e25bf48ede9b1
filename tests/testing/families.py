"""Tiny models of every family, made from configurations, and inputs for them."""

from __future__ import annotations

from typing import Any

import pytest
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
DEBERTA = {
    **TEXT,
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "position_biased_input": False,
    "pooler_hidden_size": 32,
}
DEBERTA_V3 = {**DEBERTA, "share_att_key": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm"}
ALBERT = {**TEXT, "embedding_size": 16, "num_hidden_layers": 4, "num_hidden_groups": 2}
GPT2 = {
    "vocab_size": 64,
    "n_positions": 40,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_inner": 24,
    "num_labels": 3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# Four groups of two query heads.
LLAMA = {
    **TEXT,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 4,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MODERNBERT = {
    **TEXT,
    "num_hidden_layers": 3,
    "local_attention": 4,
    "cls_token_id": 1,
    "sep_token_id": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# The size of a head is not a part of the width. (With more layers in the decoder the stock T5 has a cache too short.)
T5 = {
    "vocab_size": 64,
    "d_model": 32,
    "d_kv": 4,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16,
    "num_labels": 3,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
# The stacks differ in depth, heads and neurons.
BART = {
    "vocab_size": 64,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 8,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 16,
    "max_position_embeddings": 40,
    "num_labels": 3,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": None,
}
VIT = {
    "image_size": 8,
    "patch_size": 4,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "num_labels": 3,
}
# Name of the configuration class, its values, and the stem of its model classes.
FAMILIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "albert": ("AlbertConfig", ALBERT, "Albert"),
    "bert": ("BertConfig", TEXT, "Bert"),
    "camembert": ("CamembertConfig", TEXT, "Camembert"),
    "deberta": ("DebertaConfig", DEBERTA, "Deberta"),
    "deberta-v2": ("DebertaV2Config", DEBERTA, "DebertaV2"),
    "deberta-v3": ("DebertaV2Config", DEBERTA_V3, "DebertaV2"),
    "deit": ("DeiTConfig", VIT, "DeiT"),
    "distilbert": ("DistilBertConfig", DISTILBERT, "DistilBert"),
    "electra": ("ElectraConfig", {**TEXT, "embedding_size": 16}, "Electra"),
    "gpt2": ("GPT2Config", GPT2, "GPT2"),
    "llama": ("LlamaConfig", LLAMA, "Llama"),
    "mistral": ("MistralConfig", LLAMA, "Mistral"),
    "modernbert": ("ModernBertConfig", MODERNBERT, "ModernBert"),
    "mpnet": ("MPNetConfig", TEXT, "MPNet"),
    "qwen2": ("Qwen2Config", {k: v for k, v in LLAMA.items() if k != "head_dim"}, "Qwen2"),
    "qwen3": ("Qwen3Config", LLAMA, "Qwen3"),
    "roberta": ("RobertaConfig", TEXT, "Roberta"),
    "vit": ("ViTConfig", VIT, "ViT"),
    "data2vec-text": ("Data2VecTextConfig", TEXT, "Data2VecText"),
    "dinov2": ("Dinov2Config", {**VIT, "mlp_ratio": 1}, "Dinov2"),
    "ernie": ("ErnieConfig", TEXT, "Ernie"),
    "esm": ("EsmConfig", {**TEXT, "mask_token_id": 3}, "Esm"),
    "eurobert": ("EuroBertConfig", LLAMA, "EuroBert"),
    "gemma": ("GemmaConfig", LLAMA, "Gemma"),
    "gemma2": ("Gemma2Config", LLAMA, "Gemma2"),
    "gpt-neox": ("GPTNeoXConfig", {**TEXT, "bos_token_id": 1, "eos_token_id": 2}, "GPTNeoX"),
    "granite": ("GraniteConfig", {k: v for k, v in LLAMA.items() if k != "head_dim"}, "Granite"),
    "ijepa": ("IJepaConfig", VIT, "IJepa"),
    "layoutlm": ("LayoutLMConfig", TEXT, "LayoutLM"),
    "megatron-bert": ("MegatronBertConfig", TEXT, "MegatronBert"),
    "ministral": ("MinistralConfig", LLAMA, "Ministral"),
    "nomic-bert": ("NomicBertConfig", TEXT, "NomicBert"),
    "olmo": ("OlmoConfig", {k: v for k, v in LLAMA.items() if k != "head_dim"}, "Olmo"),
    "opt": ("OPTConfig", {**TEXT, "ffn_dim": 24, "word_embed_proj_dim": 32}, "OPT"),
    "rembert": ("RemBertConfig", {**TEXT, "input_embedding_size": 16}, "RemBert"),
    "roberta-prelayernorm": ("RobertaPreLayerNormConfig", TEXT, "RobertaPreLayerNorm"),
    "smollm3": ("SmolLM3Config", LLAMA, "SmolLM3"),
    "vit-msn": ("ViTMSNConfig", VIT, "ViTMSN"),
    "xlm-roberta-xl": ("XLMRobertaXLConfig", TEXT, "XLMRobertaXL"),
    "xlm-roberta": ("XLMRobertaConfig", TEXT, "XLMRoberta"),
    "bart": ("BartConfig", BART, "Bart"),
    "m2m-100": ("M2M100Config", {**BART, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0}, "M2M100"),
    "marian": ("MarianConfig", BART, "Marian"),
    "mbart": ("MBartConfig", BART, "MBart"),
    "mt5": ("MT5Config", T5, "MT5"),
    "pegasus": ("PegasusConfig", BART, "Pegasus"),
    "t5": ("T5Config", T5, "T5"),
}
IMAGES = ("deit", "dinov2", "ijepa", "vit", "vit-msn")
ENCODER_DECODERS = ("bart", "m2m-100", "marian", "mbart", "mt5", "pegasus", "t5")
DECODERS = ("gemma", "gemma2", "gpt-neox", "gpt2", "granite", "llama", "ministral", "mistral", "olmo", "opt", "qwen2")
DECODERS += ("qwen3", "smollm3")
MAIN_TASK = {**dict.fromkeys(FAMILIES, "sequence"), **dict.fromkeys(IMAGES, "image"), "granite": "causal"}
MAIN_TASK |= {"olmo": "causal", **dict.fromkeys(ENCODER_DECODERS, "seq2seq")}
# The same module paths as another family here, or a rarer one: these run with the slow tests.
_SLOW = ("data2vec-text", "ernie", "esm", "eurobert", "gemma", "gemma2", "gpt-neox", "granite", "ijepa", "layoutlm")
_SLOW += ("megatron-bert", "ministral", "nomic-bert", "olmo", "opt", "rembert", "roberta-prelayernorm", "smollm3")
_SLOW += ("vit-msn", "xlm-roberta-xl", "m2m-100", "marian", "mbart", "pegasus")
# Class suffix of each task, and the auto class that opens it.
TASKS = {
    "sequence": ("ForSequenceClassification", "AutoModelForSequenceClassification"),
    "token": ("ForTokenClassification", "AutoModelForTokenClassification"),
    "choice": ("ForMultipleChoice", "AutoModelForMultipleChoice"),
    "question": ("ForQuestionAnswering", "AutoModelForQuestionAnswering"),
    "masked": ("ForMaskedLM", "AutoModelForMaskedLM"),
    "causal": ("ForCausalLM", "AutoModelForCausalLM"),
    "seq2seq": ("ForConditionalGeneration", "AutoModelForSeq2SeqLM"),
    "image": ("ForImageClassification", "AutoModelForImageClassification"),
}


# Families that differ in the shape of their attention or feed-forward: for what takes a second each.
_VARIED = ("albert", "bert", "deberta", "deberta-v2", "gpt2", "llama", "modernbert", "mpnet", "vit", "t5")


def is_slow(family: str) -> bool:
    """Whether what is asked of every family is asked of this one in the slow tests."""
    return family in _SLOW


def families(names: Any, varied: bool = False) -> Any:
    """Runs a test for each of these families; `varied`: those that differ least from others in the slow tests."""
    slow = {name: is_slow(name) or (varied and name not in _VARIED) for name in names}
    parameters = [pytest.param(name, marks=[pytest.mark.slow] if slow[name] else []) for name in names]
    return pytest.mark.parametrize("family", parameters)


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
            if parameter.requires_grad:  # tables of sines are computed anew where a model is opened
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def head_class(family: str, task: str) -> str:
    """Suffix of the class that a family has for a task."""
    return {("gpt2", "causal"): "LMHeadModel", ("marian", "seq2seq"): "MTModel"}.get((family, task), TASKS[task][0])


def has_task(family: str, task: str) -> bool:
    """Whether a family has a class for a task, and the auto class of the task knows it."""
    if (task == "causal" and family in ENCODER_DECODERS) or (task == "seq2seq" and family not in ENCODER_DECODERS):
        return False  # half of an encoder-decoder
    known = type(tiny_config(family)) in getattr(transformers, TASKS[task][1])._model_mapping
    return known and hasattr(transformers, FAMILIES[family][2] + head_class(family, task))


def task_model(family: str, task: str) -> Any:
    # An encoder as a causal model masks what is to come only if it is told so.
    decoder = {"is_decoder": True} if task == "causal" and family not in DECODERS else {}
    return tiny_model(family, head_class(family, task), **decoder, num_labels=2 if task == "question" else 3)


def tiny_inputs(family: str = "bert", batch: int = 3, length: int = 11, seed: int = 0) -> dict[str, torch.Tensor]:
    """Images, or tokens with padding in all rows but the first."""
    generator = torch.Generator().manual_seed(seed)
    if family in IMAGES:
        return {"pixel_values": torch.randn(batch, 3, 8, 8, generator=generator)}
    ids = torch.randint(5, 64, (batch, length), generator=generator)
    mask = torch.ones(batch, length, dtype=torch.long)
    for row in range(1, batch):
        mask[row, length - 2 * row :] = 0
    if family in ENCODER_DECODERS:
        ids[torch.arange(batch), mask.sum(dim=1) - 1] = 1  # </s>, by which their classifiers find the end
    return {"input_ids": ids * mask, "attention_mask": mask}


def task_inputs(family: str, task: str, labels: bool = False) -> dict[str, torch.Tensor]:
    """Inputs of the shape that a task wants, with labels on request."""
    inputs = tiny_inputs(family)
    if task == "choice":
        inputs = {key: torch.stack([value, value.flip(0)], dim=1) for key, value in inputs.items()}
    if task == "seq2seq" and not labels:
        inputs["decoder_input_ids"] = inputs["input_ids"].flip(1).clone()
    if labels:
        one_per_row = torch.tensor([0, 1, 1])
        if task == "question":
            inputs |= {"start_positions": one_per_row, "end_positions": one_per_row + 1}
        elif task in ("token", "masked", "causal", "seq2seq"):
            inputs["labels"] = inputs["input_ids"] % 3 if task == "token" else inputs["input_ids"]
        else:
            inputs["labels"] = one_per_row
    return inputs


def logits(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """The first output of the model, without a graph."""
    with torch.no_grad():
        return model(**inputs)[0]
