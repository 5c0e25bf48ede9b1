"""An evaluation that attacks examples one by one and 16 side by side, against its forward passes alone."""

from __future__ import annotations

import importlib.util
import time
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from benchmarks.device.profile import count_synchronizations
from benchmarks.device.setting import DENSE, Group, NotHere, Setting, add_ratios
from benchmarks.device.timing import synchronize
from hf_robust_tickets.demo import make_corpus
from hf_robust_tickets.evaluation import evaluate_robustness

WIDTHS = (1, 16)


def groups() -> list[Group]:
    """One group."""
    return [Group("attacks side by side", 30, attacks)]


def attacks(setting: Setting) -> dict[str, dict[str, Any]]:
    """DeepWordBug on synthetic reviews; a side's `busy` is the share of its time that forward passes take."""
    if importlib.util.find_spec("textattack") is None:
        raise NotHere("attacks need TextAttack: pip install --no-deps textattack==0.3.11")
    model = setting.model(DENSE).eval()
    tokenizer, rows = _materials(setting, model)
    results = {}
    for width in WIDTHS:
        runs = [_run(setting, model, tokenizer, rows, width) for _ in range(2)]
        results[f"{width} side by side"] = min(runs, key=lambda run: run["wall_ms"])
    return add_ratios(results)


def _run(setting: Setting, model: Any, tokenizer: Any, rows: Dataset, width: int) -> dict[str, Any]:
    """Milliseconds per example, forward calls per example, and the share of the time that these take."""
    began: list[float] = []
    taken: list[float] = []

    def before(*_: Any) -> None:
        synchronize(setting.device)
        began.append(time.perf_counter())

    def after(*_: Any) -> None:
        synchronize(setting.device)
        taken.append(time.perf_counter() - began[-1])

    def evaluate() -> Any:
        options = {"recipes": ["deepwordbug"], "num_examples": len(rows), "batch_size": 1024, "progress": False}
        return evaluate_robustness(model, rows, tokenizer, concurrent_examples=width, **options)

    start = time.perf_counter()
    report = evaluate()
    wall = time.perf_counter() - start
    hooks = [model.register_forward_pre_hook(before), model.register_forward_hook(after)]
    waits = count_synchronizations(evaluate, setting.device)
    if waits is None:
        evaluate()
    for hook in hooks:
        hook.remove()
    examples = len(report["deepwordbug"].outcomes)
    return {
        "wall_ms": 1e3 * wall / examples,
        "wall_spread": None,
        "device_ms": None,
        "launches": len(taken) / examples,
        "busy": sum(taken) / wall,
        "synchronizations": None if waits is None else waits / examples,
    }


def _materials(setting: Setting, model: Any) -> tuple[Any, Dataset]:
    texts = [row["text"] for row in make_corpus(seed=0)["validation"][: 4 if setting.quick else 32]]
    words = sorted({word for text in texts for word in text.lower().split()})
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: i for i, word in enumerate([*specials, *words][: model.config.vocab_size])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.normalizer, inner.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, model_max_length=64, pad_token="[PAD]", unk_token="[UNK]"
    )
    # What the model says is taken for right: an example that it gets wrong is not attacked.
    inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(setting.device)
    with torch.no_grad():
        labels = model(**inputs).logits.argmax(-1).tolist()
    return tokenizer, Dataset.from_dict({"text": texts, "label": labels})
