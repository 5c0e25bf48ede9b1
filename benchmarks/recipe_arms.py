"""The trainings that the evidence of the recipe compares: dense and pruned, plain and robust, for the same epochs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.sentences import Partners, SentenceProtocol, common_arguments, run
from hf_robust_tickets import (
    AdversarialTrainer,
    AdversarialTrainingArguments,
    RobustTicketArguments,
    RobustTicketTrainer,
)

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
    "ticket+words-40": ("half, words replaced and misspelt, rate 0.4", {**HALF, **WORDS, "augment_rate": 0.4}),
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
class RecipeProtocol(SentenceProtocol):
    """The protocol of the recipe: three epochs; trials are attacked on development data, the headline on test data."""

    epochs: float = 3.0
    num_examples: int = 500
    trial_recipes: tuple[str, ...] = ("deepwordbug", "pwws")
    trial_examples: int = 100


def train_arm(arm: str, seed: int, protocol: RecipeProtocol, data: Path, models: Path) -> dict[str, Any]:
    """Trains one arm, saves the model of the last epoch in `models/ARM-SEED/model`, and returns what was measured."""
    partners, output = Partners.load(seed, protocol, data), models / f"{arm}-{seed}"
    options = common_arguments(output, seed, protocol) | ARMS[arm]
    if NEIGHBOURS in options.get("augment_with", ()):
        options["augment_with"] = [str(data / s) if s == NEIGHBOURS else s for s in options["augment_with"]]
    if arm in PRUNED:
        trainer = RobustTicketTrainer(args=RobustTicketArguments(**options), **partners.keywords())
    else:
        trainer = AdversarialTrainer(args=AdversarialTrainingArguments(**options), **partners.keywords())
    return run(trainer, arm, seed, protocol, partners, output) | {"options": ARMS[arm], "trial": {}}
