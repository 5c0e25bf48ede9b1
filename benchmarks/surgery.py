"""Speed of pruned models, of cutting and of loading: sections of `bench.py`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification

from hf_robust_tickets import load_pruned, prune_, random_ticket, save_pruned
from hf_robust_tickets._memory import peak_memory_bytes, reset_peak_memory
from hf_robust_tickets.evaluation.efficiency.speed import alternate, count_flops, make_inputs

LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
SHAPES = ((1, 32), (8, 128), (32, 128))


def _bert(shape: dict[str, int], device: str = "cpu") -> BertForSequenceClassification:
    torch.manual_seed(0)
    with torch.device(device):
        return BertForSequenceClassification(BertConfig(**shape)).eval()


def _halved(model: Any) -> Any:
    return prune_(model, random_ticket(model, 0.5, 0.5, head_scope="layer", neuron_scope="layer"))


def widths(rounds: int) -> list[dict[str, Any]]:
    """BERT-base with half of the heads and half of the neurons of every layer."""
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        small, dense = _halved(_bert({})).to(dtype), _bert({}).to(dtype)
        for batch, length in SHAPES:
            inputs = make_inputs(dense, batch, length)
            flops = count_flops(small, inputs) / count_flops(dense, inputs)
            seconds, dense_seconds = alternate(small, dense, inputs, rounds)
            name = f"half of BERT-base / dense, {batch} x {length}, {str(dtype)[6:]} (FLOPs ratio {flops:.2f})"
            limit = flops * (1.25 if batch == 1 else 1.10)
            rows.append(_row(name, seconds / dense_seconds, limit))
    return rows


def cutting(rounds: int) -> list[dict[str, Any]]:
    """`prune_` on a BERT-large-shaped model, in seconds."""
    seconds = []
    for _ in range(max(1, rounds // 2)):
        model = _bert(LARGE, "meta").to_empty(device="cpu")
        ticket = random_ticket(model)
        began = time.perf_counter()
        prune_(model, ticket)
        seconds.append(time.perf_counter() - began)
    return [_row("prune_ on BERT-large, seconds, the best", min(seconds), 2.0)]


def loading(rounds: int) -> list[dict[str, Any]]:
    """`load_pruned` against `from_pretrained` of the dense model, in fresh processes."""
    with tempfile.TemporaryDirectory() as folder:
        dense = _bert({})
        dense.save_pretrained(Path(folder, "dense"))
        save_pruned(prune_(dense, random_ticket(dense)), Path(folder, "pruned"))
        found: dict[str, list[tuple[float, int]]] = {"pruned": [], "dense": []}
        for i in range(rounds):
            for kind in ("pruned", "dense") if i % 2 == 0 else ("dense", "pruned"):
                command = [sys.executable, __file__, str(Path(folder, kind))]
                seconds, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-2:]
                found[kind].append((float(seconds), int(peak)))
    seconds, peaks = (
        {kind: statistics.median(pair[i] for pair in pairs) for kind, pairs in found.items()} for i in range(2)
    )
    return [
        _row("load_pruned / from_pretrained of dense BERT-base, time", seconds["pruned"] / seconds["dense"], 1.10),
        _row("load_pruned / from_pretrained of dense BERT-base, peak memory", peaks["pruned"] / peaks["dense"], 1.05),
    ]


def _measure_loading(folder: str) -> tuple[float, int]:
    """Seconds and bytes that loading adds to a process that has imported everything and loaded a small model."""
    load: Callable = load_pruned if Path(folder).name == "pruned" else BertForSequenceClassification.from_pretrained
    with tempfile.TemporaryDirectory() as warm:
        small = _bert({"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32})
        if load is load_pruned:
            _halved(small)
        small.save_pretrained(warm)
        load(warm)
    reset_peak_memory()
    before = peak_memory_bytes()
    began = time.perf_counter()
    model = load(folder)
    seconds = time.perf_counter() - began
    sum(float(parameter.sum()) for parameter in model.parameters())  # weights that are mapped from disk are read now
    return seconds, peak_memory_bytes() - before


def _row(what: str, value: float, limit: float) -> dict[str, Any]:
    return {"what": what, "ratio": f"{value:.3f}", "at most": f"{limit:.3f}", "": "" if value <= limit else "missed"}


if __name__ == "__main__":
    print(*_measure_loading(sys.argv[1]))
