"""The trainings that the evidence of the recipe compares: dense and pruned, plain and robust, for the same epochs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.sentences import Partners, SentenceProtocol, common_arguments, run
from benchmarks.storage import data_folder
from hf_robust_tickets import (
    AdversarialTrainer,
    AdversarialTrainingArguments,
    RobustTicketArguments,
    RobustTicketTrainer,
)

HALF = {"head_sparsity": 0.5, "neuron_sparsity": 0.5, "round_to": 1, "finetune_adversary": "none"}
# The list of neighbours that the evidence's attack resources hold; the path is that of the data folder.
NEIGHBOURS = "attack_resources/counterfitted_neighbors.parquet"
WORDS = {"augment_rate": 0.2, "augment_with": ["wordnet", "characters"]}
# From the second of three epochs on: earlier, perturbations as large as these end in chance accuracy.
LATE = {"start_step": 1 / 3}
FREELB_2 = {"finetune_adversary": "freelb", "finetune_adversary_kwargs": {"steps": 2, "step_size": 0.02, "every": 2}}
# Options of each training beside the protocol's, and its name on the page.
DENSE: dict[str, tuple[str, dict[str, Any]]] = {
    "dense": ("dense, plain", {"adversary": "none"}),
    "dense+words": ("dense, words replaced and misspelt", {"adversary": "none", **WORDS}),
    "freelb-5": (
        "dense, FreeLB K=5",
        {"adversary": "freelb", "adversary_steps": 5, "adversary_step_size": 0.05, "adversary_step_unit": "absolute"},
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


def _late(name: str, **options: Any) -> dict[str, Any]:
    return {**HALF, "finetune_adversary": name, "finetune_adversary_kwargs": {**options, **LATE}}


ALTERNATE = _late("hotflip", step_size=0.12, rate=0.05, every=2, clean_share=0.0)
MISSPELT = {"augment_rate": 0.15, "augment_with": ["characters"]}
PRUNED |= {
    "ticket+hotflip": ("half, HotFlip, 30 % of the tokens, step 0.06", _late("hotflip", step_size=0.06)),
    "ticket+hotflip-4": ("half, HotFlip, step 0.04", _late("hotflip", step_size=0.04)),
    "ticket+hotflip-2": ("half, HotFlip, step 0.02", _late("hotflip", step_size=0.02)),
    "ticket+hotflip-4+characters": (
        "half, HotFlip, step 0.04, misspelt",
        {**_late("hotflip", step_size=0.04), **MISSPELT},
    ),
    "ticket+hotflip-4+characters+frozen": (
        "half, HotFlip, step 0.04, misspelt, frozen embeddings",
        {**_late("hotflip", step_size=0.04), **MISSPELT, "freeze_embeddings": True},
    ),
    "ticket+hotflip-half-sure": (
        "half, HotFlip, whole for what is half certain",
        _late("hotflip", step_size=0.06, adaptive=0.5),
    ),
    "ticket+hotflip-10": ("half, HotFlip, step 0.10", _late("hotflip", step_size=0.10)),
    "ticket+hotflip-10-half": (
        "half, HotFlip, step 0.10, half of the tokens",
        _late("hotflip", step_size=0.10, rate=0.5),
    ),
    "ticket+hotflip-15": ("half, HotFlip, step 0.15", _late("hotflip", step_size=0.15)),
    "ticket+hotflip-rising": (
        "half, HotFlip as strong for every example, rising over the second epoch",
        _late("hotflip", step_size=0.06, adaptive=0, warmup=1 / 3),
    ),
    "ticket+late-2-8": ("half, FreeLB K=2 from the second epoch, step 0.08", _late("freelb", steps=2, step_size=0.08)),
    "ticket+late-2-12": ("half, FreeLB K=2, step 0.12", _late("freelb", steps=2, step_size=0.12)),
    "ticket+late-2-8+frozen": (
        "half, FreeLB K=2, step 0.08, frozen embeddings",
        {**_late("freelb", steps=2, step_size=0.08), "freeze_embeddings": True},
    ),
    "ticket+late-3-3": ("half, FreeLB K=3, step 0.03", _late("freelb", steps=3, step_size=0.03)),
    "ticket+late-3-6": ("half, FreeLB K=3, step 0.06", _late("freelb", steps=3, step_size=0.06)),
    "ticket+late-2-6+characters": (
        "half, FreeLB K=2, step 0.06, misspelt",
        {**_late("freelb", steps=2, step_size=0.06), **MISSPELT, "augment_rate": 0.2},
    ),
    "ticket+rising-2-6": (
        "half, FreeLB K=2, step rising to 0.06 over the first epoch",
        {
            **HALF,
            "finetune_adversary": "freelb",
            "finetune_adversary_kwargs": {"steps": 2, "step_size": 0.06, "warmup": 0.3},
        },
    ),
}
PRUNED |= {
    "ticket+hotflip-all": ("half, HotFlip, all of the tokens", _late("hotflip", step_size=0.06, rate=1.0)),
    # Rounded up, the smallest rate is one token of a sentence: what is left is the step along the gradient.
    "ticket+hotflip-one": ("half, HotFlip, one token, step 0.08", _late("hotflip", step_size=0.08, rate=0.001)),
    "ticket+hotflip-one-12": ("half, HotFlip, one token, step 0.12", _late("hotflip", step_size=0.12, rate=0.001)),
    "ticket+fgm-12": ("half, FGM, step 0.12", _late("fgm", step_size=0.12, adaptive=1)),
    "ticket+fgm-12-second": (
        "half, FGM in every second step, step 0.12",
        _late("fgm", step_size=0.12, adaptive=1, every=2),
    ),
    "ticket+hotflip-alternate": (
        "half, HotFlip, few tokens, step 0.12, alone in every second step",
        ALTERNATE,
    ),
    "ticket+hotflip-alternate+frozen": (
        "half, HotFlip, few tokens, step 0.12, alone in every second step, frozen embeddings",
        {**ALTERNATE, "freeze_embeddings": True},
    ),
    "ticket+hotflip-alternate-18": (
        "half, HotFlip, few tokens, step 0.18, alone in every second step",
        _late("hotflip", step_size=0.18, rate=0.05, every=2, clean_share=0.0),
    ),
    "ticket+hotflip-few": ("half, default recipe", _late("hotflip", step_size=0.12, rate=0.05)),
    "ticket+hotflip+words": (
        "half, HotFlip, words replaced",
        {**_late("hotflip", step_size=0.06), "augment_rate": 0.4, "augment_with": ["wordnet"]},
    ),
}
# On tickets whose score was read after 24 plain steps, as it was by default.
EARLY = {"score_warmup": 24}
PRUNED |= {
    "ticket-24": ("half (read early), plain", {**HALF, **EARLY}),
    "ticket-24+hotflip": ("half (read early), HotFlip", {**_late("hotflip", step_size=0.06), **EARLY}),
    "ticket-24+hotflip-unfitted": (
        "half (read early), HotFlip as strong for every example",
        {**_late("hotflip", step_size=0.06, adaptive=0), **EARLY},
    ),
}
ARMS = {arm: options for arm, (_, options) in (DENSE | PRUNED).items()}
TITLES = {arm: title for arm, (title, _) in (DENSE | PRUNED).items()}
HEADLINE = ("dense", "freelb-5", "ticket", "ticket+hotflip-few")
# Attacked on the test data too, and not in the figure: what the default was, and which part of it matters.
TABLED = (*HEADLINE, "ticket+hotflip", "ticket-24", "ticket-24+hotflip", "ticket-24+hotflip-unfitted")


@dataclass(frozen=True)
class RecipeProtocol(SentenceProtocol):
    """The protocol of the recipe: three epochs; trials are attacked on development data, the headline on test data.

    Calibrated attacks cost twice as much; `robust-tickets gate` runs them for the models that it compares.
    """

    epochs: float = 3.0
    num_examples: int = 100
    calibrate: bool = False
    trial_recipes: tuple[str, ...] = ("deepwordbug", "pwws")
    trial_examples: int = 100


def train_arm(arm: str, seed: int, protocol: RecipeProtocol, models: Path) -> dict[str, Any]:
    """Trains one arm, saves the model of the last epoch in `models/ARM-SEED/model`, and returns what was measured."""
    partners, output = Partners.load(seed, protocol), models / f"{arm}-{seed}"
    options = common_arguments(output, seed, protocol) | ARMS[arm]
    if NEIGHBOURS in options.get("augment_with", ()):
        data = data_folder(Path(NEIGHBOURS).parent.name)
        options["augment_with"] = [str(data / s) if s == NEIGHBOURS else s for s in options["augment_with"]]
    if arm in PRUNED:
        trainer = RobustTicketTrainer(args=RobustTicketArguments(**options), **partners.keywords())
    else:
        trainer = AdversarialTrainer(args=AdversarialTrainingArguments(**options), **partners.keywords())
    return run(trainer, arm, seed, protocol, partners, output) | {"options": ARMS[arm], "trial": {}}
