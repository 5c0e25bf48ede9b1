"""Training in bfloat16 on a CPU, batches of many lengths: what kept kernels save; a section of `bench.py`."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.steps import SMALL, bert, row
from hf_robust_tickets import prune_, random_ticket
from hf_robust_tickets._kernels import VARIABLE

LENGTHS, BATCH = range(6, 50), 32


def lengths(rounds: int) -> list[dict[str, Any]]:
    """Half and the whole of a BERT of MiniLM's shape, each with this package's number of kernels and oneDNN's."""
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(max(1, rounds // 2)):
        for side in (("half", "package"), ("dense", "package"), ("half", "1024"), ("dense", "1024")):
            found.setdefault(side, []).append(_measured(*side))
    seconds = {side: statistics.median(each) for side, each in found.items()}
    half, dense = seconds["half", "package"], seconds["dense", "package"]
    return [
        row("half / dense, bfloat16 training step over 44 lengths, core seconds", half / dense, 0.8),
        row("half, 16,384 kernels kept / oneDNN's 1,024", half / seconds["half", "1024"], 0.85),
        row("dense, 16,384 kernels kept / oneDNN's 1,024", dense / seconds["dense", "1024"], 1.05),
    ]


def _measured(model: str, kernels: str) -> float:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if kernels != "package":
        environment[VARIABLE] = kernels
    command = [sys.executable, __file__, model]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def measure(kind: str) -> float:
    """Core seconds of forward and backward passes over all lengths, when each has been met once."""
    model = bert(SMALL).train()
    if kind == "half":
        prune_(model, random_ticket(model, 0.5, 0.5, round_to=1))
    order = list(LENGTHS)
    random.Random(0).shuffle(order)
    for _ in range(2):
        began = time.process_time()
        for length in order:
            ids = torch.randint(1000, 30000, (BATCH, length))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model(input_ids=ids, labels=torch.arange(BATCH) % 2).loss
            loss.backward()
            model.zero_grad()
        spent = time.process_time() - began
    return spent


if __name__ == "__main__":
    print(measure(sys.argv[1]))
