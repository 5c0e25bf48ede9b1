"""Speed and memory of the search by a first-order score: sections of `bench.py`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from transformers import Trainer, logging

from benchmarks.steps import SMALL, Clock, bert, ratio, row, sentences, stepper
from hf_robust_tickets import RobustTicketArguments, RobustTicketTrainer
from hf_robust_tickets._memory import peak_memory_bytes, reset_peak_memory


def scoring(rounds: int) -> list[dict[str, Any]]:
    """A batch that is scored beside a plain step, tickets of both halves drawn after every second one included."""
    value = ratio(
        lambda steps: search_steps(warmup=0, batches=steps + steps % 2), stepper(Trainer, bert(SMALL)), rounds, steps=6
    )
    return [row("scored batch of a first-order search / Trainer step", value, 1.1)]


def search_memory(rounds: int) -> list[dict[str, Any]]:
    """Bytes that the search (a plain step, then scored batches) and plain training add to their processes."""
    peaks: dict[str, float] = {}
    for side in ("search", "plain"):
        said = subprocess.run([sys.executable, __file__, side], check=True, capture_output=True, text=True).stdout
        peaks[side] = float(said.split()[-1])
    return [row("peak memory of a first-order search / plain training", peaks["search"] / peaks["plain"], 1.1)]


def search_steps(warmup: int, batches: int, length: int = 32) -> list[float]:
    """Seconds of the steps of a search but the first, which allocates."""
    with tempfile.TemporaryDirectory() as folder:
        args = RobustTicketArguments(
            output_dir=folder,
            per_device_train_batch_size=32,
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            report_to="none",
            ticket_score="taylor",
            score_warmup=warmup,
            score_batches=batches,
            search_epochs=1,
            ticket_tolerance=1e-6,
        )
        data = sentences(32, length, warmup + batches)
        trainer = RobustTicketTrainer(model=bert(SMALL), args=args, train_dataset=data)
        clock = Clock()
        trainer._search_callbacks.append(clock)
        trainer.search()
    return clock.steps[1:]


def _measure(side: str) -> None:
    runs: dict[str, Callable[[], Any]] = {
        "search": lambda: search_steps(warmup=2, batches=4, length=64),
        "plain": lambda: stepper(Trainer, bert(SMALL), length=64)(6),
    }
    reset_peak_memory()
    before = peak_memory_bytes()
    runs[side]()
    print(peak_memory_bytes() - before)


if __name__ == "__main__":
    logging.set_verbosity_error()
    _measure(sys.argv[1])
