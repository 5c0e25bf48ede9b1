"""The trainings that the evidence of the search compares: one score after another, beside random tickets."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, set_seed

from benchmarks.encoders import encoder_path
from hf_robust_tickets import (
    AdversarialTrainer,
    AdversarialTrainingArguments,
    RobustTicket,
    RobustTicketArguments,
    RobustTicketTrainer,
    random_ticket,
)
from hf_robust_tickets.cli.train import accuracy

SCORES = ("taylor", "adversarial-taylor", "gate")
# Random tickets of the size of the first score's: its own counts per layer, and equal parameters wherever they are.
CONTROLS = {"random-counts": "counts", "random-parameters": "parameters"}
SPARSITIES = {"50": (0.5, 0.5), "40": (1 / 6, 0.4), "70": (0.7, 0.7)}
ARMS = ("dense", *(f"{name}@{size}" for size in SPARSITIES for name in (*SCORES, *CONTROLS)))


@dataclass(frozen=True)
class SearchProtocol:
    """What all arms share; part of every result, so that results of different protocols are never mixed."""

    encoder: str = "minilm"
    data: str = "train_sentences"
    epochs: float = 1.0
    batch_size: int = 32
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    max_length: int = 64
    bf16: bool = True
    adversary_steps: int = 5
    step_size: float = 0.05
    gate_budget: float = 0.5
    gate_interval: float = 0.025
    development: int = 692
    recipes: tuple[str, ...] = ("deepwordbug", "pwws", "textfooler")
    num_examples: int = 100
    num_examples_other_cuts: int = 40

    def examples(self, arm: str) -> int:
        """How many sentences an arm is attacked with: the cut that is compared with dense models gets most."""
        return self.num_examples if arm == "dense" or arm.endswith("@50") else self.num_examples_other_cuts


def load_splits(folder: Path, protocol: SearchProtocol) -> dict[str, Dataset]:
    """`train`; `development`, held out of the same file, which may choose; `test`, which only reports."""
    files = {"train": f"{folder}/sst2/{protocol.data}.parquet", "test": f"{folder}/sst2/validation.parquet"}
    train, test = (load_dataset("parquet", data_files=files, split=split) for split in ("train", "test"))
    shuffled = train.shuffle(seed=1)
    held_out, rest = range(protocol.development), range(protocol.development, len(shuffled))
    return {"train": shuffled.select(rest), "development": shuffled.select(held_out), "test": test}


def train_arm(arm: str, seed: int, protocol: SearchProtocol, data: Path, models: Path) -> dict[str, Any]:
    """Trains one arm, saves the model in `models/ARM-SEED/model`, and returns what was measured.

    A control needs the first score's ticket of the same sparsity and seed in `models`.
    """
    splits, folder = load_splits(data, protocol), encoder_path(protocol.encoder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = {name: encode(split, tokenizer, protocol.max_length) for name, split in splits.items()}
    set_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    output = models / f"{arm}-{seed}"
    partners = {
        "model": model,
        "train_dataset": encoded["train"],
        "eval_dataset": encoded["development"],
        "processing_class": tokenizer,
        "compute_metrics": accuracy,
    }
    trainer = _trainer(arm, seed, protocol, model, output, models, partners)
    began = time.process_time()
    trainer.train()
    result = {
        "arm": arm,
        "seed": seed,
        "protocol": asdict(protocol),
        "core_seconds": time.process_time() - began,
        "development": trainer.evaluate(encoded["development"])["eval_accuracy"],
        "test": trainer.evaluate(encoded["test"])["eval_accuracy"],
        "steps": trainer.state.global_step,
        "cost": trainer.cost,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "attacks": {},
    }
    trainer.save_model(str(output / "model"))
    if isinstance(trainer, RobustTicketTrainer):
        result |= {"ticket": trainer.ticket.summary(), "converged": trainer.converged}
        result["masks"] = {"heads": _texts(trainer.ticket.heads), "neurons": _texts(trainer.ticket.neurons)}
        result["search_log"] = trainer.search_log
    return result


def _trainer(
    arm: str,
    seed: int,
    protocol: SearchProtocol,
    model: PreTrainedModel,
    output: Path,
    models: Path,
    partners: dict[str, Any],
) -> AdversarialTrainer:
    common = {
        "output_dir": str(output),
        "num_train_epochs": protocol.epochs,
        "per_device_train_batch_size": protocol.batch_size,
        "per_device_eval_batch_size": 128,
        "learning_rate": protocol.learning_rate,
        "weight_decay": protocol.weight_decay,
        "warmup_steps": 0.1,
        "train_sampling_strategy": "group_by_length",
        "bf16": protocol.bf16,
        "use_cpu": True,
        "save_strategy": "no",
        "logging_steps": 20,
        "disable_tqdm": True,
        "seed": seed,
        "report_to": "none",
    }
    if arm == "dense":
        return AdversarialTrainer(args=AdversarialTrainingArguments(**common, adversary="none"), **partners)
    name, _, size = arm.partition("@")
    head_sparsity, neuron_sparsity = SPARSITIES[size]
    args = RobustTicketArguments(
        **common,
        ticket_score=name if name in SCORES else SCORES[0],
        head_sparsity=head_sparsity,
        neuron_sparsity=neuron_sparsity,
        adversary_steps=protocol.adversary_steps,
        adversary_step_size=protocol.step_size,
        adversary_step_unit="absolute",
        search_epochs=protocol.gate_budget,
        ticket_interval=protocol.gate_interval,
        # The cut is what the table says; a control has the ticket's own counts.
        round_to=1,
    )
    ticket = None
    if name in CONTROLS:
        like = RobustTicket.load(models / f"{SCORES[0]}@{size}-{seed}" / "ticket.safetensors")
        ticket = random_ticket(model, like=like, match=CONTROLS[name], seed=seed)
    return RobustTicketTrainer(args=args, ticket=ticket, **partners)


def _texts(masks: Sequence[Tensor]) -> list[str]:
    """A mask as a text of 0 and 1 per layer: tickets of different runs are compared by it."""
    return ["".join(map(str, mask.int().tolist())) for mask in masks]


def encode(data: Dataset, tokenizer: Any, max_length: int) -> Dataset:
    def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {**tokenizer(batch["sentence"], truncation=True, max_length=max_length), "label": batch["label"]}

    return data.map(encode, batched=True, remove_columns=data.column_names)
