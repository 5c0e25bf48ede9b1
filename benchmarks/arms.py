"""The trainings that the evidence compares: same data, same epochs, same optimiser, six ways."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, set_seed

from hf_robust_tickets import (
    AdversarialTrainer,
    AdversarialTrainingArguments,
    RobustTicket,
    RobustTicketArguments,
    RobustTicketTrainer,
    random_ticket,
)
from hf_robust_tickets.cli.train import accuracy
from hf_robust_tickets.demo.encoder import minilm_path

ARMS = ("dense", "early-bird", "random", "freelb-5", "freelb++-10", "early-bird+freelb-3")
TITLES = {
    "dense": "dense, plain fine-tuning",
    "freelb-5": "dense, FreeLB K=5",
    "freelb++-10": "dense, FreeLB++ K=10",
    "random": "random ticket, plain fine-tuning",
    "early-bird": "early-bird ticket, plain fine-tuning",
    "early-bird+freelb-3": "early-bird ticket, FreeLB K=3 fine-tuning",
}


@dataclass(frozen=True)
class Protocol:
    """What all arms share; part of every result, so that results of different protocols are never mixed."""

    epochs: float = 1.0
    batch_size: int = 32
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    max_length: int = 64
    step_size: float = 0.05
    plus_plus_step_size: float = 0.03
    start_step: float = 0.1
    search_epochs: float = 0.5
    search_start_step: float = 0.2
    gate_learning_rate: float = 1e-2
    ticket_interval: float = 0.025
    ticket_tolerance: float = 0.1
    round_to: int = 16
    development: int = 0
    recipes: tuple[str, ...] = ("deepwordbug", "pwws", "textfooler")
    num_examples: int = 100


def load_data(folder: Path, protocol: Protocol) -> tuple[Dataset, Dataset]:
    """Training and evaluation sentences; with `development`, both are taken from the training file."""
    files = {"train": str(folder / "sst2/train_sentences.parquet"), "test": str(folder / "sst2/validation.parquet")}
    train, test = (load_dataset("parquet", data_files=files, split=split) for split in ("train", "test"))
    if protocol.development:
        shuffled = train.shuffle(seed=1)
        test = shuffled.select(range(protocol.development))
        train = shuffled.select(range(protocol.development, len(shuffled)))
    return train, test


def train_arm(arm: str, seed: int, protocol: Protocol, data: Path, output: Path) -> dict[str, Any]:
    """Trains one arm, saves the model in `output`, and returns what was measured."""
    train, test = load_data(data, protocol)
    tokenizer = AutoTokenizer.from_pretrained(minilm_path())
    encoded = [_encode(split, tokenizer, protocol.max_length) for split in (train, test)]
    set_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(minilm_path(), num_labels=2)
    dense_parameters = _parameters(model)
    trainer = _trainer(arm, seed, protocol, model, output, *encoded, tokenizer)
    began, began_cpu = time.perf_counter(), time.process_time()
    trainer.train()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu
    clean = trainer.evaluate()["eval_accuracy"]
    trainer.save_model(str(output / "model"))
    result = {
        "clean": clean,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "parameters": _parameters(trainer.model),
        "dense_parameters": dense_parameters,
        "steps": trainer.state.global_step,
    }
    if isinstance(trainer, RobustTicketTrainer):
        result |= {"cost": trainer.cost, "ticket": trainer.ticket.summary(), "converged": trainer.converged}
        result["search_log"] = trainer.search_log
    else:
        result["cost"] = {"finetune": trainer.cost_meter.cost(trainer.state).as_dict()}
    return result


def count_search(result: dict[str, Any], early_bird: dict[str, Any]) -> None:
    """Adds the cost of a search to the result of an arm that was given the ticket which `early_bird` found."""
    search = early_bird["cost"]["search"]
    # One thread: a training's core seconds divide as its wall-clock seconds do.
    share = search["seconds"] / sum(phase["seconds"] for phase in early_bird["cost"].values())
    result["cost"] = {"search": search} | result["cost"]
    result["seconds"] += search["seconds"]
    result["search_cpu_seconds"] = share * early_bird["cpu_seconds"]
    result["cpu_seconds"] += result["search_cpu_seconds"]


def _trainer(arm: str, seed: int, protocol: Protocol, model: PreTrainedModel, output: Path, train, test, tokenizer):
    common = {
        "output_dir": str(output),
        "num_train_epochs": protocol.epochs,
        "per_device_train_batch_size": protocol.batch_size,
        "per_device_eval_batch_size": 128,
        "learning_rate": protocol.learning_rate,
        "weight_decay": protocol.weight_decay,
        "warmup_steps": 0.1,
        "train_sampling_strategy": "group_by_length",
        "save_strategy": "no",
        "logging_steps": 20,
        "seed": seed,
        "report_to": "none",
        "adversary_step_size": protocol.step_size,
        "adversary_step_unit": "absolute",
        "adversary_start_step": protocol.start_step,
    }
    partners = {
        "model": model,
        "train_dataset": train,
        "eval_dataset": test,
        "processing_class": tokenizer,
        "compute_metrics": accuracy,
    }
    if "random" in arm or "early-bird" in arm:
        finetuning = {"finetune_adversary": "none"}
        if arm == "early-bird+freelb-3":
            finetuning = {
                "finetune_adversary": "freelb",
                "finetune_adversary_kwargs": {
                    "steps": 3,
                    "step_size": protocol.step_size,
                    "step_unit": "absolute",
                    "start_step": protocol.start_step,
                },
            }
        args = RobustTicketArguments(
            **(common | {"adversary_start_step": protocol.search_start_step}),
            adversary_steps=5,
            ticket_score="gate",
            search_epochs=protocol.search_epochs,
            gate_learning_rate=protocol.gate_learning_rate,
            ticket_interval=protocol.ticket_interval,
            ticket_tolerance=protocol.ticket_tolerance,
            round_to=protocol.round_to,
            **finetuning,
        )
        ticket = None
        if arm == "random":
            ticket = random_ticket(model, seed=seed, round_to=protocol.round_to)
        elif arm == "early-bird+freelb-3":
            ticket = RobustTicket.load(output.parent / f"early-bird-{seed}" / "ticket.safetensors")
        return RobustTicketTrainer(args=args, ticket=ticket, **partners)
    name, _, steps = arm.partition("-")
    options = {"adversary": "none"} if arm == "dense" else {"adversary": name, "adversary_steps": int(steps)}
    if name == "freelb++":
        options["adversary_step_size"] = protocol.plus_plus_step_size
    return AdversarialTrainer(args=AdversarialTrainingArguments(**(common | options)), **partners)


def _encode(data: Dataset, tokenizer: Any, max_length: int) -> Dataset:
    def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {**tokenizer(batch["sentence"], truncation=True, max_length=max_length), "label": batch["label"]}

    return data.map(encode, batched=True, remove_columns=data.column_names)


def _parameters(model: PreTrainedModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
