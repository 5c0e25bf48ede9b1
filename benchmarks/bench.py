"""Speed and memory as ratios: both sides in one run, in turn, medians. `make bench` prints the table.

    python benchmarks/bench.py                       # everything, some minutes on two cores
    python benchmarks/bench.py --only freelb pgd     # some rows
    python benchmarks/bench.py --rounds 9            # steadier

A step is what the Trainer does from `on_step_begin` to `on_step_end`: forward, backward, clipping, optimiser.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402
from transformers import (  # noqa: E402
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    logging,
)

from hf_robust_tickets import (  # noqa: E402
    AdversarialTrainer,
    AdversarialTrainingArguments,
    EarlyBirdCallback,
    attach_gates,
    prune_,
    random_ticket,
)
from hf_robust_tickets.adversaries import PGD, FreeLB  # noqa: E402
from hf_robust_tickets.reporting.tables import text_table  # noqa: E402
from hf_robust_tickets.training import GatedTrainer  # noqa: E402
from hf_robust_tickets.training.cost import peak_memory_bytes, reset_peak_memory  # noqa: E402

SMALL = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
BASE: dict[str, int] = {}


class Clock(TrainerCallback):
    """Seconds of each step."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self._began = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.steps.append(time.perf_counter() - self._began)


def bert(shape: dict[str, int]) -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**shape))


def sentences(batch: int, length: int, steps: int) -> Dataset:
    ids = torch.randint(1000, 30000, (batch * steps, length), generator=torch.Generator().manual_seed(0))
    return Dataset.from_dict({"input_ids": ids.tolist(), "labels": [i % 2 for i in range(batch * steps)]})


def stepper(kind: type[Trainer], model: Any, *, batch: int = 32, length: int = 32, **options: Any) -> Callable:
    """A function that trains for a few steps and gives the seconds of each."""
    arguments = TrainingArguments if kind is Trainer else AdversarialTrainingArguments
    callbacks = options.pop("callbacks", [])
    make_data = options.pop("make_data", sentences)

    def run(steps: int) -> list[float]:
        clock = Clock()
        args = arguments(
            output_dir=tempfile.gettempdir(),
            max_steps=steps,
            per_device_train_batch_size=batch,
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            report_to="none",
        )
        data = make_data(batch, length, steps)
        trainer = kind(model=model, args=args, train_dataset=data, callbacks=[*callbacks, clock], **options)
        trainer.train()
        return clock.steps[1:]

    return run


def ratio(
    first: Callable, second: Callable, rounds: int, steps: int = 3, centre: Callable = statistics.median
) -> float:
    """Median (or another centre) of the first's steps over that of the second's, the two taken in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds):
        order = (0, 1) if i % 2 == 0 else (1, 0)
        for side in order:
            times[side].extend((first, second)[side](steps + 1))
    return centre(times[0]) / centre(times[1])


def plain_step(rounds: int) -> list[dict[str, Any]]:
    model = bert(SMALL)
    value = ratio(stepper(AdversarialTrainer, model, adversary=None), stepper(Trainer, model), rounds, steps=6)
    return [row("AdversarialTrainer(adversary=None) step / Trainer step", value, 1.02)]


def freelb(rounds: int, passes: int = 5) -> list[dict[str, Any]]:
    model = bert(SMALL)
    attacked = stepper(AdversarialTrainer, model, adversary=FreeLB(steps=passes))
    value = ratio(attacked, stepper(Trainer, model), rounds) / passes
    return [row(f"FreeLB-{passes} step / {passes} x Trainer step", value, 1.05)]


def pgd(rounds: int) -> list[dict[str, Any]]:
    # A PGD step of 6 passes and one of 2 differ by 4 passes that need the gradient of delta alone.
    model = bert(SMALL)
    plain = stepper(Trainer, model)
    long = ratio(stepper(AdversarialTrainer, model, adversary=PGD(steps=6)), plain, rounds)
    short = ratio(stepper(AdversarialTrainer, model, adversary=PGD(steps=2)), plain, rounds)
    return [row("PGD pass without weight gradients / full pass", (long - short) / 4, 0.75)]


def gates(rounds: int) -> list[dict[str, Any]]:
    gated, bare = bert(SMALL), bert(SMALL)
    attach_gates(gated)

    # The default of 0.05 epoch is a ticket in every eleventh step of SST-2's 217: one ticket in 12 steps.
    def search(steps: int) -> list[float]:
        watch = EarlyBirdCallback(interval=0.9, patience=100)
        return stepper(GatedTrainer, gated, adversary=FreeLB(steps=2), callbacks=[watch])(steps)

    bare_search = stepper(AdversarialTrainer, bare, adversary=FreeLB(steps=2))
    value = ratio(search, bare_search, max(1, rounds // 2), steps=11, centre=statistics.mean)
    return [row("search step (FreeLB-2) with gates and callback / without, mean", value, 1.03)]


def memory(rounds: int) -> list[dict[str, Any]]:
    peaks = {}
    for name in ("trainer", "freelb"):
        command = [sys.executable, __file__, "--measure-memory", name]
        peaks[name] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
    return [row("peak memory of training, FreeLB-5 / Trainer", peaks["freelb"] / peaks["trainer"], 1.15)]


def measure_memory(name: str) -> None:
    """Bytes that training adds to a process which has imported everything."""
    reset_peak_memory()
    before = peak_memory_bytes()
    model = bert(SMALL)
    adversary = {"adversary": FreeLB()} if name == "freelb" else {}
    stepper(AdversarialTrainer if adversary else Trainer, model, length=64, **adversary)(4)
    print(peak_memory_bytes() - before)


def pruned(rounds: int) -> list[dict[str, Any]]:
    dense, small = bert(BASE), bert(BASE)
    prune_(small, random_ticket(small, 1 / 6, 0.4, head_scope="layer", neuron_scope="layer", round_to=64))
    ids = torch.randint(1000, 30000, (32, 128), generator=torch.Generator().manual_seed(0))
    flops = _flops(small, ids) / _flops(dense, ids)
    forward = ratio(_forward(small, ids), _forward(dense, ids), rounds)
    large = {"batch": 32, "length": 128}
    step = ratio(stepper(Trainer, small, **large), stepper(Trainer, dense, **large), max(2, rounds // 2), steps=1)
    return [
        row(f"pruned / dense BERT-base, 32 x 128, forward (FLOPs ratio {flops:.2f})", forward, 1.10 * flops),
        row(f"pruned / dense BERT-base, 32 x 128, training step (FLOPs ratio {flops:.2f})", step, 1.25 * flops),
    ]


def job(rounds: int) -> list[dict[str, Any]]:
    """Whole job against dense FreeLB-10 over ten epochs, from step times; patience 5 needs 0.3 epoch at least."""
    model, small = bert(SMALL), bert(SMALL)
    prune_(small, random_ticket(small, 1 / 6, 0.4, round_to=16))
    plain = stepper(Trainer, model)
    freelb_10 = ratio(stepper(AdversarialTrainer, model, adversary=FreeLB(steps=10)), plain, rounds)
    freelb_5 = ratio(stepper(AdversarialTrainer, model, adversary=FreeLB(steps=5)), plain, rounds)
    tuned = ratio(stepper(Trainer, small), plain, rounds)
    rows = []
    for epochs in (0.3, 0.5):
        value = (epochs * freelb_5 + 10 * tuned) / (10 * freelb_10)
        title = f"job with {epochs} epoch of FreeLB-5 search / dense FreeLB-10, 10 epochs (extrapolated from steps)"
        rows.append(row(title, value, 1 / 11))
    return rows


def _flops(model: Any, ids: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(input_ids=ids)
    return counter.get_total_flops()


def _forward(model: Any, ids: torch.Tensor) -> Callable:
    def run(steps: int) -> list[float]:
        times = []
        with torch.no_grad():
            model.eval()
            for _ in range(steps):
                began = time.perf_counter()
                model(input_ids=ids)
                times.append(time.perf_counter() - began)
        return times[1:]

    return run


def row(what: str, value: float, limit: float, digits: int = 3) -> dict[str, Any]:
    missed = "" if value <= limit else "missed"
    return {"what": what, "ratio": f"{value:.{digits}f}", "at most": f"{limit:.{digits}f}", "": missed}


SECTIONS = {
    "plain_step": plain_step,
    "freelb": freelb,
    "pgd": pgd,
    "gates": gates,
    "memory": memory,
    "pruned": pruned,
    "job": job,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure-memory", choices=("trainer", "freelb"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.set_verbosity_error()
    if options.measure_memory:
        measure_memory(options.measure_memory)
        return
    rows = []
    for name in options.only:
        print(f"measuring {name} ...", flush=True)
        rows.extend(SECTIONS[name](options.rounds))
    print(f"\n{torch.get_num_threads()} threads, torch {torch.__version__}, medians, {options.rounds} rounds\n")
    print(text_table(rows))


if __name__ == "__main__":
    main()
