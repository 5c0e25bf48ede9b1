"""The trainings that the evidence of the search compares: one score after another, beside random tickets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.sentences import Partners, SentenceProtocol, common_arguments, run
from hf_robust_tickets import (
    AdversarialTrainer,
    AdversarialTrainingArguments,
    RobustTicket,
    RobustTicketArguments,
    RobustTicketTrainer,
    random_ticket,
)

SCORES = ("taylor", "adversarial-taylor", "gate")
# Random tickets of the size of the first score's: its own counts per layer, and equal parameters wherever they are.
CONTROLS = {"random-counts": "counts", "random-parameters": "parameters"}
SPARSITIES = {"50": (0.5, 0.5), "40": (1 / 6, 0.4), "70": (0.7, 0.7)}
# First-order scores read earlier, as they were by default, or from a fixed number of batches: title and options.
_EARLY, _ALL = {"score_warmup": 24}, {"ticket_tolerance": 1e-9}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "taylor-24": ("first-order, plain loss, after 24 plain steps", _EARLY),
    "taylor-24-all": ("the same, all 24 batches", {**_EARLY, **_ALL}),
    "taylor-all": ("first-order, plain loss, all 24 batches", _ALL),
    "adversarial-taylor-24": (
        "first-order, under attack, after 24 plain steps",
        {**_EARLY, "ticket_score": "adversarial-taylor"},
    ),
}
ARMS = ("dense", *(f"{name}@{size}" for size in SPARSITIES for name in (*SCORES, *CONTROLS)))
TRIED = tuple(f"{name}@50" for name in VARIANTS)


@dataclass(frozen=True)
class SearchProtocol(SentenceProtocol):
    """The protocol of the search: one epoch, whose search and cut differ."""

    adversary_steps: int = 5
    step_size: float = 0.05
    gate_budget: float = 0.5
    gate_interval: float = 0.025
    num_examples: int = 100
    num_examples_other_cuts: int = 40

    def examples(self, arm: str) -> int:
        """How many sentences an arm is attacked with: the cut that is compared with dense models gets most."""
        return self.num_examples if arm == "dense" or arm.endswith("@50") else self.num_examples_other_cuts


def train_arm(arm: str, seed: int, protocol: SearchProtocol, models: Path) -> dict[str, Any]:
    """Trains one arm, saves the model in `models/ARM-SEED/model`, and returns what was measured.

    A control needs the first score's ticket of the same sparsity and seed in `models`.
    """
    partners, output = Partners.load(seed, protocol), models / f"{arm}-{seed}"
    trainer = _trainer(arm, seed, protocol, partners, models)
    result = run(trainer, arm, seed, protocol, partners, output)
    if isinstance(trainer, RobustTicketTrainer):
        result["masks"] = {"heads": _texts(trainer.ticket.heads), "neurons": _texts(trainer.ticket.neurons)}
        result["search_log"] = trainer.search_log
    return result


def _trainer(arm: str, seed: int, protocol: SearchProtocol, partners: Partners, models: Path) -> AdversarialTrainer:
    common = common_arguments(models / f"{arm}-{seed}", seed, protocol)
    if arm == "dense":
        args = AdversarialTrainingArguments(**common, adversary="none")
        return AdversarialTrainer(args=args, **partners.keywords())
    name, _, size = arm.partition("@")
    head_sparsity, neuron_sparsity = SPARSITIES[size]
    _, variant = VARIANTS.get(name, ("", {}))
    args = RobustTicketArguments(
        **{**common, "ticket_score": name if name in SCORES else SCORES[0], **variant},
        head_sparsity=head_sparsity,
        neuron_sparsity=neuron_sparsity,
        adversary_steps=protocol.adversary_steps,
        adversary_step_size=protocol.step_size,
        adversary_step_unit="absolute",
        search_epochs=protocol.gate_budget,
        ticket_interval=protocol.gate_interval,
        # The cut is what the table says; a control has the ticket's own counts.
        round_to=1,
        finetune_adversary="none",
    )
    ticket = None
    if name in CONTROLS:
        like = RobustTicket.load(models / f"{SCORES[0]}@{size}-{seed}" / "ticket.safetensors")
        ticket = random_ticket(partners.model, like=like, match=CONTROLS[name], seed=seed)
    return RobustTicketTrainer(args=args, ticket=ticket, **partners.keywords())


def _texts(masks: Sequence[Tensor]) -> list[str]:
    """A mask as a text of 0 and 1 per layer: tickets of different runs are compared by it."""
    return ["".join(map(str, mask.int().tolist())) for mask in masks]
