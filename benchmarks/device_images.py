"""Sparse adversarial training on CIFAR-10 in a quarter of an hour of one accelerator: as many epochs as fit.

    python benchmarks/device_images.py                              # ResNet-18, PGD-10, four arms, 900 s
    python benchmarks/device_images.py --budget 3600 --arms dense flying-bird
    python benchmarks/device_images.py --device cpu --quick         # a tiny network, to see that all of it runs

The protocol is that of Chen et al., "Sparsity Winning Twice" (ICLR 2022), shortened: linf 8/255, PGD-10 with steps of
2/255, SGD 0.1, momentum 0.9, weight decay 5e-4, batches of 128, rates divided by ten at a half and three quarters,
45,000 images; 80 % of the weights are masked. Masks are updated as often per training as there; Robust Bird looks at
its mask forty times per training, as docs/results_vision.md does. Every arm is written to the file as soon as it is
there; a second run goes on with the others. The data is looked for in $ROBUST_TICKETS_DATA, and in shared/data beside
the checkout.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import transformers  # noqa: E402
from datasets import Dataset, load_dataset  # noqa: E402

from benchmarks.accelerator import find_device  # noqa: E402
from benchmarks.device.race import about, epochs_that_fit, open_race, run_arms, tell  # noqa: E402
from benchmarks.storage import data_folder  # noqa: E402
from hf_robust_tickets import AdversarialTrainingArguments, evaluate_white_box  # noqa: E402
from hf_robust_tickets.adversaries import PixelPGD  # noqa: E402
from hf_robust_tickets.sparse import FlyingBird, FlyingBirdPlus, RobustBird, SparseMethod  # noqa: E402
from hf_robust_tickets.sparse.static import Dense  # noqa: E402
from hf_robust_tickets.training import SparseTrainer  # noqa: E402
from hf_robust_tickets.vision import (  # noqa: E402
    CIFAR10_MEAN,
    CIFAR10_STD,
    RandomCropFlip,
    SmallImageResNetConfig,
    SmallImageResNetForImageClassification,
    prepare_images,
    small_image_processor,
)

RADIUS, DENSITY, WHOLE_EPOCHS = 8 / 255, 0.2, 200
# Epochs of each arm, in those of the dense one. Half of Robust Bird's may be plain, which is left out of account.
COSTS = {"dense": 1.0, "flying-bird": 1.0, "flying-bird+": 1.0, "robust-bird": 1.0}
# Robust accuracy, best and last, in per cent: their table 1, CIFAR-10, ResNet-18 at 80 %.
PUBLISHED = {
    "dense": "51.10 / 43.61",
    "flying-bird": "51.62 / 46.37",
    "flying-bird+": "51.70 / 47.51",
    "robust-bird": "50.18 / 46.10",
}


@dataclass(frozen=True)
class Protocol:
    """What all arms share."""

    device: str
    quick: bool
    batch_size: int = 128
    attack_steps: int = 10
    train_images: int = 45_000
    test_images: int = 2000
    seed: int = 0


def load(protocol: Protocol) -> dict[str, Dataset]:
    """Images to train on, to decide by and to report on, as the model reads them but not augmented."""
    if protocol.quick:
        generator = torch.Generator().manual_seed(0)
        mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (CIFAR10_MEAN, CIFAR10_STD))
        pixels = (torch.rand(96, 3, 32, 32, generator=generator) - mean) / std
        rows = Dataset.from_dict({"pixel_values": pixels.tolist(), "labels": [i % 10 for i in range(96)]})
        rows = rows.with_format("torch")
        return {"train": rows.select(range(64)), "validation": rows.select(range(64, 80)),
                "test": rows.select(range(80, 96))}  # fmt: skip
    files = {split: str(data_folder("cifar10") / "cifar10" / f"{split}.parquet") for split in ("train", "test")}
    train, test = (load_dataset("parquet", data_files=files, split=split) for split in ("train", "test"))
    model = new_model(protocol)
    images = {
        "train": train.select(range(protocol.train_images)),
        "validation": train.select(range(45_000, 47_000)),
        "test": test.select(range(protocol.test_images)),
    }
    augment = {"train": RandomCropFlip()}
    return {
        name: prepare_images(split, processor(), model=model, augment=augment.get(name))
        for name, split in images.items()
    }


def processor() -> Any:
    """Normalises as CIFAR-10's releases do."""
    return small_image_processor(image_mean=CIFAR10_MEAN, image_std=CIFAR10_STD)


def new_model(protocol: Protocol) -> SmallImageResNetForImageClassification:
    """ResNet-18, or a tiny relative, channels last; it is the same at every call."""
    transformers.set_seed(protocol.seed)
    sizes = {"widths": (8, 8, 16, 16), "depths": (1, 1, 1, 1)} if protocol.quick else {}
    config = SmallImageResNetConfig(num_labels=10, **sizes)
    return SmallImageResNetForImageClassification(config).to(memory_format=torch.channels_last)


def method_of(arm: str, epochs: float, steps: int) -> SparseMethod:
    """The sparse method of an arm, with as many updates per training as in the paper's 200 epochs."""
    if arm == "dense":
        return Dense()
    if arm == "robust-bird":
        return RobustBird(density=DENSITY, interval=max(epochs / 40, epochs / steps), budget=0.5)
    kind = FlyingBirdPlus if arm == "flying-bird+" else FlyingBird
    return kind(density=DENSITY, period=max(1, round(steps * 900 / (WHOLE_EPOCHS * 352))))


def make_trainer(arm: str, epochs: float, protocol: Protocol, data: dict[str, Dataset], output: str) -> SparseTrainer:
    """One arm, ready to train for so many epochs."""
    steps = max(2, round(epochs * -(-len(data["train"]) // protocol.batch_size)))
    device = find_device(protocol.device)
    args = AdversarialTrainingArguments(
        output_dir=output,
        max_steps=steps,
        per_device_train_batch_size=protocol.batch_size,
        per_device_eval_batch_size=500,
        learning_rate=0.1,
        lr_scheduler_type="constant",
        optim="sgd",
        optim_args="momentum=0.9",
        weight_decay=5e-4,
        max_grad_norm=0.0,
        bf16=device.type == "cuda",
        use_cpu=device.type == "cpu",
        eval_strategy="epoch" if arm == "flying-bird+" else "no",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=0 if protocol.quick else 8,
        report_to="none",
        seed=protocol.seed,
    )
    adversary = PixelPGD.from_processor(processor(), steps=protocol.attack_steps + 1, step_size=2 / 255)
    return SparseTrainer(
        model=new_model(protocol),
        args=args,
        adversary=adversary,
        method=method_of(arm, epochs, steps),
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        processing_class=processor(),
        callbacks=[Decay()],
    )


class Decay(transformers.TrainerCallback):
    """Divides the rate by ten after a half and after three quarters of all steps."""

    def on_step_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
        done = state.global_step / max(1, state.max_steps)
        for group in optimizer.param_groups:
            group["lr"] = args.learning_rate * 0.1 ** ((done >= 0.5) + (done >= 0.75))


def train_arm(arm: str, epochs: float, protocol: Protocol, data: dict[str, Dataset]) -> dict[str, Any]:
    """Trains an arm and attacks it with PGD-20."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(arm, epochs, protocol, data, folder)
        began = time.perf_counter()
        trainer.train()
        trained = time.perf_counter() - began
        result = evaluate_white_box(
            trainer.model.eval(),
            data["test"],
            adversary=PixelPGD.from_processor(processor(), steps=21),
            radii=[RADIUS],
            label_column="labels",
            batch_size=500,
            progress=False,
        )
    return {
        "steps": trainer.state.global_step,
        "trained": trained,
        "density": float(trainer.sparse.density),
        "standard": result.clean_accuracy,
        "robust": result.robust_accuracy[RADIUS],
        "published robust, best / last": PUBLISHED[arm],
    }


def seconds_per_epoch(protocol: Protocol, data: dict[str, Dataset]) -> float:
    """Of the dense arm, from steps after the first ones."""
    steps = -(-len(data["train"]) // protocol.batch_size)

    class Clock(transformers.TrainerCallback):
        times: list[float] = []  # noqa: RUF012

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            if torch.cuda.is_available() and protocol.device != "cpu":
                torch.cuda.synchronize()
            self.times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        warm, measured = (1, 2) if protocol.quick else (5, 15)
        trainer = make_trainer("dense", (warm + measured) / steps, protocol, data, folder)
        trainer.add_callback(clock := Clock())
        trainer.train()
    counted = clock.times[min(warm, len(clock.times) - 2) :]
    return steps * (counted[-1] - counted[0]) / (len(counted) - 1)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:1, cpu")
    parser.add_argument("--budget", type=float, default=900.0, help="seconds for all arms")
    parser.add_argument("--arms", nargs="+", default=list(COSTS), choices=COSTS)
    parser.add_argument("--quick", action="store_true", help="a tiny network and random pixels")
    parser.add_argument("--output", type=Path, default=Path("device_images.json"), help="the file of results")
    parser.add_argument("--fresh", action="store_true", help="forget what the file holds")
    options = parser.parse_args(arguments)
    device = find_device(options.device)
    quick = {"batch_size": 16, "attack_steps": 2, "train_images": 64, "test_images": 16} if options.quick else {}
    protocol = Protocol(device=str(device), quick=options.quick, **quick)
    costs = {arm: COSTS[arm] for arm in options.arms}
    found = open_race(options.output, asdict(protocol) | {"machine": about(device)}, options.fresh)
    data = load(protocol)
    most = 2.0 if options.quick else WHOLE_EPOCHS
    epochs = epochs_that_fit(
        found, options.output, options.budget, costs, lambda: seconds_per_epoch(protocol, data), most
    )
    run_arms(found, options.output, options.budget, costs, lambda arm: train_arm(arm, epochs, protocol, data))
    columns = ["steps", "trained", "density", "standard", "robust", "published robust, best / last"]
    print(f"\n{about(device)}\n\n{tell(found, costs, WHOLE_EPOCHS, columns)}")


if __name__ == "__main__":
    main()
