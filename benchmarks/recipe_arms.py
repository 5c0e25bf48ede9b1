"""The trainings that the evidence of the recipe compares: dense and pruned, plain and robust, for the same epochs."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import AutoModelForSequenceClassification, AutoTokenizer, set_seed

from benchmarks.encoders import encoder_path
from benchmarks.search_arms import encode, load_splits
from hf_robust_tickets import (
    AdversarialTrainer,
    AdversarialTrainingArguments,
    RobustTicketArguments,
    RobustTicketTrainer,
)
from hf_robust_tickets.cli.train import accuracy

HALF = {"head_sparsity": 0.5, "neuron_sparsity": 0.5, "round_to": 1}
# The list of neighbours that the evidence's attack resources hold; the path is that of the data folder.
NEIGHBOURS = "attack_resources/counterfitted_neighbors.parquet"
WORDS = {"augment_rate": 0.2, "augment_with": ["wordnet", "characters"]}
FREELB_2 = {"finetune_adversary": "freelb", "finetune_adversary_kwargs": {"steps": 2, "step_size": 0.02, "every": 2}}
# Options of each training beside the protocol's, and its name on the page.
DENSE: dict[str, tuple[str, dict[str, Any]]] = {
    "dense": ("dense, plain", {"adversary": "none"}),
    "dense+words": ("dense, words replaced and misspelt", {"adversary": "none", **WORDS}),
    "freelb-5": (
        "dense, FreeLB K=5",
        {"adversary": "freelb", "adversary_steps": 5, "adversary_step_size": 0.05, "adversary_step_unit": "absolute"},
    ),
    "freelb-10": (
        "dense, FreeLB K=10",
        {"adversary": "freelb", "adversary_steps": 10, "adversary_step_size": 0.05, "adversary_step_unit": "absolute"},
    ),
}
PRUNED: dict[str, tuple[str, dict[str, Any]]] = {
    "ticket": ("half, plain", HALF),
    "ticket+refit": ("half, refitted", {**HALF, "refit_examples": 256}),
    "ticket+words": ("half, words replaced and misspelt", {**HALF, **WORDS}),
    "ticket+words-40": ("the same, rate 0.4", {**HALF, **WORDS, "augment_rate": 0.4}),
    "ticket+neighbours": (
        "half, words replaced (neighbours too) and misspelt",
        {**HALF, **WORDS, "augment_with": ["wordnet", "characters", NEIGHBOURS]},
    ),
    "ticket+freelb-2": ("half, FreeLB K=2 in every second step", {**HALF, **FREELB_2}),
    "ticket+words+freelb-2": ("half, words and FreeLB K=2 in every second step", {**HALF, **WORDS, **FREELB_2}),
    "ticket+freelb-2-far": (
        "half, FreeLB K=2 in every second step, twice as far",
        {
            **HALF,
            "finetune_adversary": "freelb",
            "finetune_adversary_kwargs": {"steps": 2, "step_size": 0.04, "every": 2},
        },
    ),
    "ticket+dirichlet": ("half, embeddings mixed with neighbours'", {**HALF, "dirichlet_neighbours": "wordnet"}),
    "ticket+words-60": ("half, words replaced and misspelt, rate 0.6", {**HALF, **WORDS, "augment_rate": 0.6}),
    "ticket+words+average": ("half, words, the weights' average", {**HALF, **WORDS, "average_weights_from": 0.5}),
}
ARMS = {arm: options for arm, (_, options) in (DENSE | PRUNED).items()}
TITLES = {arm: title for arm, (title, _) in (DENSE | PRUNED).items()}
HEADLINE = ("dense", "freelb-5", "ticket", "ticket+words")


@dataclass(frozen=True)
class RecipeProtocol:
    """What all arms share; part of every result, so that results of different protocols are never mixed."""

    encoder: str = "minilm"
    data: str = "train_sentences"
    epochs: float = 3.0
    batch_size: int = 32
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    max_length: int = 64
    bf16: bool = True
    development: int = 692
    recipes: tuple[str, ...] = ("deepwordbug", "pwws", "textfooler")
    num_examples: int = 500
    trial_recipes: tuple[str, ...] = ("deepwordbug", "pwws")
    trial_examples: int = 100


def train_arm(arm: str, seed: int, protocol: RecipeProtocol, data: Path, models: Path) -> dict[str, Any]:
    """Trains one arm, saves the model of the last epoch in `models/ARM-SEED/model`, and returns what was measured."""
    splits, folder = load_splits(data, protocol), encoder_path(protocol.encoder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = {name: encode(split, tokenizer, protocol.max_length) for name, split in splits.items()}
    options = dict(ARMS[arm])
    if NEIGHBOURS in options.get("augment_with", ()):
        options["augment_with"] = [str(data / s) if s == NEIGHBOURS else s for s in options["augment_with"]]
    set_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    output = models / f"{arm}-{seed}"
    kind, arguments = (
        (RobustTicketTrainer, RobustTicketArguments)
        if arm in PRUNED
        else (AdversarialTrainer, AdversarialTrainingArguments)
    )
    trainer = kind(
        model=model,
        args=arguments(**_common(output, seed, protocol), **options),
        train_dataset=encoded["train"],
        eval_dataset=encoded["development"],
        processing_class=tokenizer,
        compute_metrics=accuracy,
    )
    began, seconds = time.process_time(), time.perf_counter()
    trainer.train()
    result = {
        "arm": arm,
        "seed": seed,
        "protocol": asdict(protocol),
        "options": ARMS[arm],
        "core_seconds": time.process_time() - began,
        "seconds": time.perf_counter() - seconds,
        "development": trainer.evaluate(encoded["development"])["eval_accuracy"],
        "test": trainer.evaluate(encoded["test"])["eval_accuracy"],
        "steps": trainer.state.global_step,
        "cost": trainer.cost,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "trial": {},
        "attacks": {},
    }
    trainer.save_model(str(output / "model"))
    if isinstance(trainer, RobustTicketTrainer):
        result |= {"ticket": trainer.ticket.summary(), "converged": trainer.converged}
    return result


def _common(output: Path, seed: int, protocol: RecipeProtocol) -> dict[str, Any]:
    return {
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
        "logging_steps": 50,
        "disable_tqdm": True,
        "seed": seed,
        "report_to": "none",
    }
