"""The trainings that the evidence on images compares: one network, one attack, dense and sparse in three ways."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import ClassLabel, Dataset, load_dataset
from torch import nn
from transformers import set_seed

from hf_robust_tickets import AdversarialTrainingArguments, evaluate_white_box
from hf_robust_tickets.adversaries import PixelPGD
from hf_robust_tickets.sparse import FlyingBird, FlyingBirdPlus, RobustBird, SparseMethod, count_flops, training_flops
from hf_robust_tickets.sparse.static import Dense
from hf_robust_tickets.training import RobustOverfittingCallback, SparseTrainer
from hf_robust_tickets.vision import (
    CIFAR10_MEAN,
    CIFAR10_STD,
    CifarResNetConfig,
    CifarResNetForImageClassification,
    RandomCropFlip,
    prepare_images,
    small_image_processor,
)

RADIUS = 8 / 255
DENSITIES = {"80": 0.2, "90": 0.1}
METHODS = {"robust-bird": "Robust Bird", "flying-bird": "Flying Bird", "flying-bird+": "Flying Bird+"}
ARMS = ("dense", *(f"{method}-{percent}" for percent in DENSITIES for method in METHODS))
TITLES = {"dense": "dense"} | {
    f"{method}-{percent}": f"{title}, {percent} %" for percent in DENSITIES for method, title in METHODS.items()
}
# Where the development images begin: the paper's 45,000 of the 50,000 are for training.
DEVELOPMENT = 45_000


@dataclass(frozen=True)
class ImageProtocol:
    """What all arms share; part of every result, so that results of different protocols are never mixed."""

    depth: int = 8
    width: int = 16
    train_images: int = 500
    development_images: int = 250
    test_images: int = 300
    final_test_images: int = 1000
    epochs: int = 80
    batch_size: int = 50
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    augment: int = 0
    attack_steps: int = 3
    attack_step_size: float = 4.0
    curve_steps: int = 10
    curve_every: int = 10
    period: int = 10
    search_interval: float = 2.0
    search_budget: float = 0.3


def load_images(folder: Path, protocol: ImageProtocol) -> dict[str, Dataset]:
    """Training, development and test images; rows go round the classes, so that the first N are balanced."""
    files = {split: str(folder / "cifar10" / f"{split}.parquet") for split in ("train", "test")}
    train, test = (load_dataset("parquet", data_files=files, split=split) for split in ("train", "test"))
    return {
        "train": train.select(range(protocol.train_images)),
        "validation": train.select(range(DEVELOPMENT, DEVELOPMENT + protocol.development_images)),
        "test": test.select(range(protocol.test_images)),
        "final test": test.select(range(protocol.final_test_images)),
    }


def train_image_arm(arm: str, seed: int, protocol: ImageProtocol, data: Path, output: Path) -> dict[str, Any]:
    """Trains one arm, saves the model in `output`, and returns what was measured."""
    images = load_images(data, protocol)
    label = next(f for f in images["train"].features.values() if isinstance(f, ClassLabel))
    set_seed(seed)
    widths = [protocol.width * 2**stage for stage in range(3)]
    config = CifarResNetConfig(depth=protocol.depth, widths=widths, num_labels=label.num_classes)
    model = CifarResNetForImageClassification(config).to(memory_format=torch.channels_last)
    processor = small_image_processor(image_mean=CIFAR10_MEAN, image_std=CIFAR10_STD)
    splits = {name: prepare_images(split, processor, model=model) for name, split in images.items()}
    watch = RobustOverfittingCallback(
        {
            "train": splits["train"].select(range(protocol.development_images)),
            "validation": splits["validation"],
            "test": splits["test"],
        },
        PixelPGD.from_processor(processor, steps=protocol.curve_steps + 1),
        every=protocol.curve_every,
        batch_size=125,
    )
    trainer = SparseTrainer(
        model=model,
        args=_arguments(arm, seed, protocol, output),
        adversary=PixelPGD.from_processor(
            processor, steps=protocol.attack_steps + 1, step_size=protocol.attack_step_size / 255
        ),
        method=method_of(arm, protocol),
        search_lr_scheduler_type=None,  # as the files of docs/evidence/vision were made
        train_dataset=_augmented(images["train"], processor, model, protocol),
        eval_dataset=splits["validation"],
        processing_class=processor,
        callbacks=[watch],
    )
    began, began_cpu = time.perf_counter(), time.process_time()
    trainer.train()
    result = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - began_cpu}
    trainer.save_model(str(output / "model"))
    watch = next(c for c in trainer.callback_handler.callbacks if isinstance(c, RobustOverfittingCallback))
    result |= {"records": watch.progress, "final": _final(trainer.model, splits["final test"], processor, seed)}
    return result | _sparsity(trainer, protocol, splits["train"])


def method_of(arm: str, protocol: ImageProtocol) -> SparseMethod:
    """The sparse method of an arm."""
    if arm == "dense":
        return Dense()
    name, _, percent = arm.rpartition("-")
    density = DENSITIES[percent]
    if name == "robust-bird":
        return RobustBird(density=density, interval=protocol.search_interval, budget=protocol.search_budget)
    kind = FlyingBirdPlus if name == "flying-bird+" else FlyingBird
    # The files of docs/evidence/vision were made so; the default keeps what is dropped and grown again at once.
    return kind(density=density, period=protocol.period, reset_regrown=True)


def _arguments(arm: str, seed: int, protocol: ImageProtocol, output: Path) -> AdversarialTrainingArguments:
    return AdversarialTrainingArguments(
        output_dir=str(output),
        num_train_epochs=protocol.epochs,
        per_device_train_batch_size=protocol.batch_size,
        per_device_eval_batch_size=125,
        learning_rate=protocol.learning_rate,
        lr_scheduler_type="cosine",
        optim="sgd",
        optim_args="momentum=0.9",
        weight_decay=protocol.weight_decay,
        max_grad_norm=0.0,
        # Flying Bird+ decides on the development split.
        eval_strategy="epoch" if arm.startswith("flying-bird+") else "no",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        report_to="none",
        seed=seed,
    )


def _augmented(images: Dataset, processor: Any, model: nn.Module, protocol: ImageProtocol) -> Dataset:
    augment = RandomCropFlip() if protocol.augment else None
    return prepare_images(images, processor, model=model, augment=augment)


def _final(model: nn.Module, test: Dataset, processor: Any, seed: int) -> dict[str, Any]:
    """PGD-20 on more images than the curves have."""
    result = evaluate_white_box(
        model.eval(),
        test,
        adversary=PixelPGD.from_processor(processor, steps=21),
        radii=[RADIUS],
        label_column="labels",
        batch_size=125,
        seed=seed,
        progress=False,
    )
    robust = result.robust_accuracy[RADIUS]
    return {"standard": result.clean_accuracy, "robust": robust, "warnings": list(result.warnings)}


def _sparsity(trainer: SparseTrainer, protocol: ImageProtocol, train: Dataset) -> dict[str, Any]:
    """Masks over time, and theoretical operations; those of Robust Bird's stage 1 are counted."""
    batch = {"pixel_values": train[: protocol.batch_size]["pixel_values"]}
    flops = count_flops(trainer.model, batch)
    passes = {"full_passes": 1.0, "input_passes": float(protocol.attack_steps)}
    steps = trainer.state.global_step
    operations = training_flops(flops, trainer.sparse.log, steps, **passes)
    found: dict[str, Any] = {"steps": steps, "log": trainer.sparse.log, "density": trainer.sparse.density}
    if trainer.search is not None:
        search_steps = trainer.search.log[-1]["step"]
        operations += search_steps * flops.step()
        found |= {"search_steps": search_steps, "converged": trainer.search.converged}
        found["distances"] = trainer.search.distances
    dense = steps * flops.step(None, **passes)
    last = trainer.sparse.log[-1]["layer_density"] if trainer.sparse.log else None
    found |= {"training_flops": operations, "dense_training_flops": dense}
    found |= {"inference_flops": flops.forward(last) / flops.examples, "protocol": asdict(protocol)}
    return found
