"""Speed of what is done to weights and data around a training: sections of `bench.py`."""

from __future__ import annotations

import copy
import statistics
import time
from typing import Any

import torch

from benchmarks.steps import BASE, bert, row
from hf_robust_tickets import prune_, random_ticket
from hf_robust_tickets.tickets import refit


def refit_passes(rounds: int, sentences: int = 64, length: int = 32) -> list[dict[str, Any]]:
    """A refit in units of forward passes of the dense model over its sentences.

    Passes and sums grow with the sentences and solving does not: with 2,560 of them the ratio is no larger.
    """
    dense = bert(BASE).eval()
    ids = torch.randint(1000, 30000, (sentences, length), generator=torch.Generator().manual_seed(0))
    batches = [{"input_ids": part} for part in ids.split(32)]
    small = copy.deepcopy(dense)
    prune_(small, random_ticket(small, 0.5, 0.5, head_scope="layer", neuron_scope="layer"))
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(max(1, rounds // 3)):
        began = time.perf_counter()
        with torch.no_grad():
            for batch in batches:
                dense(**batch)
        middle = time.perf_counter()
        refit(copy.deepcopy(small), dense, batches)
        times[0].append(time.perf_counter() - middle)
        times[1].append(middle - began)
    value = statistics.median(times[0]) / statistics.median(times[1])
    return [row(f"refit of half of BERT-base / forward pass of its {sentences} x {length} tokens", value, 60.0)]
