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
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import surgery  # noqa: E402
import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402
from transformers import (  # noqa: E402
    BertConfig,
    BertForSequenceClassification,
    ResNetConfig,
    ResNetForImageClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    logging,
)

from hf_robust_tickets import (  # noqa: E402
    AdversarialTrainer,
    AdversarialTrainingArguments,
    EarlyBirdCallback,
    FlyingBird,
    SparseTrainingCallback,
    attach_gates,
    prune_,
    random_ticket,
)
from hf_robust_tickets._memory import peak_memory_bytes, reset_peak_memory  # noqa: E402
from hf_robust_tickets.adversaries import PGD, FreeLB  # noqa: E402
from hf_robust_tickets.reporting.tables import text_table  # noqa: E402
from hf_robust_tickets.sparse import RandomMask, save_masks  # noqa: E402
from hf_robust_tickets.training import GatedTrainer  # noqa: E402

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


def resnet_18() -> ResNetForImageClassification:
    torch.manual_seed(0)
    return ResNetForImageClassification(
        ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic", num_labels=10)
    )


def images(batch: int, size: int, steps: int) -> Dataset:
    pixels = torch.randn(batch * steps, 3, size, size, generator=torch.Generator().manual_seed(0))
    data = Dataset.from_dict({"pixel_values": pixels.numpy(), "labels": [i % 10 for i in range(batch * steps)]})
    return data.with_format("torch")


def stepper(kind: type[Trainer], model: Any, *, batch: int = 32, length: int = 32, **options: Any) -> Callable:
    """A function that trains for a few steps and gives the seconds of each."""
    arguments = TrainingArguments if kind is Trainer else AdversarialTrainingArguments
    callbacks, more = options.pop("callbacks", []), options.pop("options", {})
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
            **more,
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
    return [_row("AdversarialTrainer(adversary=None) step / Trainer step", value, 1.02)]


def freelb(rounds: int, passes: int = 5) -> list[dict[str, Any]]:
    model = bert(SMALL)
    attacked = stepper(AdversarialTrainer, model, adversary=FreeLB(steps=passes))
    value = ratio(attacked, stepper(Trainer, model), rounds) / passes
    return [_row(f"FreeLB-{passes} step / {passes} x Trainer step", value, 1.05)]


def pgd(rounds: int) -> list[dict[str, Any]]:
    # A PGD step of 6 passes and one of 2 differ by 4 passes that need the gradient of delta alone.
    model = bert(SMALL)
    plain = stepper(Trainer, model)
    long = ratio(stepper(AdversarialTrainer, model, adversary=PGD(steps=6)), plain, rounds)
    short = ratio(stepper(AdversarialTrainer, model, adversary=PGD(steps=2)), plain, rounds)
    return [_row("PGD pass without weight gradients / full pass", (long - short) / 4, 0.75)]


def gates(rounds: int) -> list[dict[str, Any]]:
    gated, bare = bert(SMALL), bert(SMALL)
    attach_gates(gated)

    # The default of 0.05 epoch is a ticket in every eleventh step of SST-2's 217: one ticket in 12 steps.
    def search(steps: int) -> list[float]:
        watch = EarlyBirdCallback(interval=0.9, patience=100)
        return stepper(GatedTrainer, gated, adversary=FreeLB(steps=2), callbacks=[watch])(steps)

    bare_search = stepper(AdversarialTrainer, bare, adversary=FreeLB(steps=2))
    value = ratio(search, bare_search, max(1, rounds // 2), steps=11, centre=statistics.mean)
    return [_row("search step (FreeLB-2) with gates and callback / without, mean", value, 1.03)]


def hidden_layer(rounds: int) -> list[dict[str, Any]]:
    # Layer 5 of 6: one pass through the layers below, three through the one above.
    model = bert(SMALL)
    attacked = stepper(AdversarialTrainer, model, adversary=FreeLB(steps=3), options={"adversary_layer": 5})
    value = ratio(attacked, stepper(Trainer, model), rounds)
    return [_row("FreeLB-3 step on the output of layer 5 of 6 / Trainer step", value, 1.6)]


def memory(rounds: int) -> list[dict[str, Any]]:
    peaks = {}
    for passes in (0, 2, 5, 10):
        command = [sys.executable, __file__, "--measure-memory", str(passes)]
        peaks[passes] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
    return [
        _row("peak memory of training, FreeLB-5 / Trainer", peaks[5] / peaks[0], 1.15),
        _row("peak memory of training, FreeLB-10 / FreeLB-2", peaks[10] / peaks[2], 1.02),
    ]


def measure_memory(passes: int) -> None:
    """Bytes that training with FreeLB (0 passes: without) adds to a process which has imported everything."""
    reset_peak_memory()
    before = peak_memory_bytes()
    model = bert(SMALL)
    adversary = {"adversary": FreeLB(steps=passes)} if passes else {}
    stepper(AdversarialTrainer if adversary else Trainer, model, length=64, **adversary)(4)
    print(peak_memory_bytes() - before)


def ddp(rounds: int) -> list[dict[str, Any]]:
    """What two ranks tell each other in a step, counted: seconds on a shared CPU say nothing about a network."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", __file__]
    done = subprocess.run([*command, "--measure-ddp"], check=True, capture_output=True, text=True)
    said = next(line for line in done.stdout.splitlines() if line.startswith("DDP"))
    plain_calls, plain_bytes, calls, sent = (float(word) for word in said.split()[1:])
    return [
        _row("DDP, 2 ranks: all-reduce calls of a FreeLB-3 step / plain step", calls / plain_calls, 1.05),
        _row("DDP, 2 ranks: bytes all-reduced in a FreeLB-3 step / plain step", sent / plain_bytes, 1.05),
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


def pruned(rounds: int) -> list[dict[str, Any]]:
    dense, small = bert(BASE), bert(BASE)
    prune_(small, random_ticket(small, 1 / 6, 0.4, head_scope="layer", neuron_scope="layer", round_to=64))
    ids = torch.randint(1000, 30000, (32, 128), generator=torch.Generator().manual_seed(0))
    flops = _flops(small, ids) / _flops(dense, ids)
    forward = ratio(_forward(small, ids), _forward(dense, ids), rounds)
    large = {"batch": 32, "length": 128}
    step = ratio(stepper(Trainer, small, **large), stepper(Trainer, dense, **large), max(2, rounds // 2), steps=1)
    return [
        _row(f"pruned / dense BERT-base, 32 x 128, forward (FLOPs ratio {flops:.2f})", forward, 1.10 * flops),
        _row(f"pruned / dense BERT-base, 32 x 128, training step (FLOPs ratio {flops:.2f})", step, 1.25 * flops),
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
        rows.append(_row(title, value, 1 / 11))
    return rows


def _shapes() -> list[tuple[str, Any, dict[str, Any]]]:
    pixels = {"batch": 64, "length": 32, "make_data": images}
    return [("MiniLM shape, 32 x 32", bert(SMALL), {}), ("ResNet-18, 64 images of 32 x 32", resnet_18(), pixels)]


def masked(rounds: int) -> list[dict[str, Any]]:
    rows = []
    for title, model, options in _shapes():

        def sparse(steps: int, model: Any = model, options: dict[str, Any] = options) -> list[float]:
            return stepper(Trainer, model, callbacks=[SparseTrainingCallback(RandomMask(0.2))], **options)(steps)

        # The products with the masks are about a hundredth of a step: only the fastest steps show it.
        value = ratio(sparse, stepper(Trainer, model, **options), rounds, steps=6, centre=min)
        rows.append(_row(f"masked step / dense step, fastest, {title}", value, 1.03))
    return rows


def flying_bird(rounds: int, period: int = 900) -> list[dict[str, Any]]:
    """Every second step updates the masks here; the ratio is for one update in 900 steps, the default."""
    rows = []
    for title, model, options in _shapes():
        updates, others = [], []
        for _ in range(rounds):
            moving = SparseTrainingCallback(FlyingBird(0.2, period=2))
            times = stepper(Trainer, model, callbacks=[moving], **options)(7)
            updates += times[0::2]
            others += times[1::2]
        extra = statistics.median(updates) / statistics.median(others) - 1
        title = f"Flying Bird, update every {period} steps / masked step, {title} (an update costs {extra:.2f} steps)"
        rows.append(_row(title, 1 + extra / period, 1.02))
    return rows


def mask_memory(rounds: int) -> list[dict[str, Any]]:
    model = bert(SMALL)
    callback = SparseTrainingCallback(RandomMask(0.2))
    stepper(Trainer, model, callbacks=[callback])(2)
    weights = 4 * sum(mask.numel() for mask in callback.masks.values())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "masks.safetensors"
        save_masks(callback.masks, path)
        file = path.stat().st_size / weights
    packed = sum(len(item["bits"]) for item in callback.progress["run"]["masks"].values()) / weights
    live = sum(mask.numel() * mask.element_size() for mask in callback.masks.values()) / weights
    return [
        _row("file of masks / float32 weights", file, 1.01 / 32, digits=4),
        _row("masks in a Trainer checkpoint (density 0.2) / float32 weights", packed, 1 / 32, digits=4),
        _row("masks in training / float32 weights", live, 1 / 4, digits=4),
    ]


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


def _row(what: str, value: float, limit: float, digits: int = 3) -> dict[str, Any]:
    missed = "" if value <= limit else "missed"
    return {"what": what, "ratio": f"{value:.{digits}f}", "at most": f"{limit:.{digits}f}", "": missed}


SECTIONS = {
    "plain_step": plain_step,
    "freelb": freelb,
    "pgd": pgd,
    "hidden_layer": hidden_layer,
    "gates": gates,
    "ddp": ddp,
    "memory": memory,
    "pruned": pruned,
    "job": job,
    "masked": masked,
    "flying_bird": flying_bird,
    "mask_memory": mask_memory,
    "widths": surgery.widths,
    "cutting": surgery.cutting,
    "loading": surgery.loading,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure-memory", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--measure-ddp", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.set_verbosity_error()
    if options.measure_memory is not None or options.measure_ddp:
        measure_ddp() if options.measure_ddp else measure_memory(options.measure_memory)
        return
    rows = []
    for name in options.only:
        print(f"measuring {name} ...", flush=True)
        rows.extend(SECTIONS[name](options.rounds))
    print(f"\n{torch.get_num_threads()} threads, torch {torch.__version__}, medians, {options.rounds} rounds\n")
    print(text_table(rows))


if __name__ == "__main__":
    main()
