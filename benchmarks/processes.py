"""What needs processes of its own: peak memory, and the talk between two ranks; sections of `bench.py`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from transformers import Trainer, TrainerCallback, logging

from benchmarks.steps import SMALL, bert, row, sentences, stepper
from hf_robust_tickets import AdversarialTrainer, AdversarialTrainingArguments
from hf_robust_tickets._memory import peak_memory_bytes, reset_peak_memory
from hf_robust_tickets.adversaries import FreeLB


def memory(rounds: int) -> list[dict[str, Any]]:
    """A later pass meets the gradients of the earlier ones, as a second micro-batch does in any training."""
    peaks = {}
    for passes, accumulation in ((0, 1), (0, 2), (2, 1), (5, 1), (10, 1)):
        command = [sys.executable, __file__, "memory", str(passes), str(accumulation)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peaks[passes, accumulation] = float(said.split()[-1])
    return [
        row("peak memory of training, FreeLB-5 / Trainer", peaks[5, 1] / peaks[0, 1], 1.15),
        row("the same / Trainer that accumulates two micro-batches", peaks[5, 1] / peaks[0, 2], 1.15),
        row("peak memory of training, FreeLB-10 / FreeLB-2", peaks[10, 1] / peaks[2, 1], 1.02),
    ]


def measure_memory(passes: int, accumulation: int) -> None:
    """Bytes that training with FreeLB (0 passes: without) adds to a process which has imported everything."""
    reset_peak_memory()
    before = peak_memory_bytes()
    model = bert(SMALL)
    adversary = {"adversary": FreeLB(steps=passes)} if passes else {}
    kind = AdversarialTrainer if adversary else Trainer
    stepper(kind, model, length=64, options={"gradient_accumulation_steps": accumulation}, **adversary)(4)
    print(peak_memory_bytes() - before)


def ddp(rounds: int) -> list[dict[str, Any]]:
    """What two ranks tell each other in a step, counted: seconds on a shared CPU say nothing about a network."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", __file__]
    done = subprocess.run([*command, "ddp"], check=True, capture_output=True, text=True)
    said = next(line for line in done.stdout.splitlines() if line.startswith("DDP"))
    plain_calls, plain_bytes, calls, sent = (float(word) for word in said.split()[1:])
    return [
        row("DDP, 2 ranks: all-reduce calls of a FreeLB-3 step / plain step", calls / plain_calls, 1.05),
        row("DDP, 2 ranks: bytes all-reduced in a FreeLB-3 step / plain step", sent / plain_bytes, 1.05),
    ]


class Traffic(TrainerCallback):
    """All-reduce calls and bytes of DDP, per step."""

    def __init__(self) -> None:
        self.calls = self.sent = self.steps = 0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        # Not a method: DDP reads the annotations of a hook, which are strings here.
        self.trainer.model_wrapped.register_comm_hook(self, lambda watch, bucket: watch._count(bucket))

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.steps += 1

    def per_step(self) -> tuple[float, float]:
        return self.calls / self.steps, self.sent / self.steps

    def _count(self, bucket: Any) -> Any:
        self.calls += 1
        self.sent += bucket.buffer().numel() * bucket.buffer().element_size()
        return allreduce_hook(None, bucket)


def measure_ddp() -> None:
    """Run on each of two ranks."""
    said: list[float] = []
    for adversary in (None, FreeLB(steps=3)):
        watch = Traffic()
        args = AdversarialTrainingArguments(
            output_dir=tempfile.gettempdir(), max_steps=3, per_device_train_batch_size=4, save_strategy="no",
            disable_tqdm=True, report_to="none", use_cpu=True, ddp_backend="gloo",
        )  # fmt: skip
        trainer = AdversarialTrainer(
            bert(SMALL), args, adversary=adversary, train_dataset=sentences(8, 32, 3), callbacks=[watch]
        )
        watch.trainer = trainer
        trainer.train()
        said += watch.per_step()
    if trainer.is_world_process_zero():
        print("DDP", *said)


if __name__ == "__main__":
    logging.set_verbosity_error()
    measure_ddp() if sys.argv[1] == "ddp" else measure_memory(*map(int, sys.argv[2:]))
