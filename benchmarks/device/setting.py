"""Where and on what is measured: the device, the models, their inputs, and groups of sides that take turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.device.profile import count_flops, count_synchronizations, profile_step
from benchmarks.device.timing import in_turn
from hf_robust_tickets import prune_, random_ticket

TINY = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "vocab_size": 200,
    "max_position_embeddings": 64,
}
DENSE = "dense"
# What is cut: heads and neurons, and the multiple that the neurons are rounded up to.
CUTS = {
    f"{name}, rounded to {multiple}": (heads, neurons, multiple)
    for name, heads, neurons in (("1/6 + 40 %", 1 / 6, 0.4), ("50 + 50 %", 0.5, 0.5))
    for multiple in (1, 16, 64)
}


class NotHere(Exception):
    """A group that cannot be measured on this machine; the message says why."""


@dataclass
class Setting:
    """What all groups share.

    Args:
        device: Where to compute.
        quick: A tiny model and tiny batches, to see that everything runs.
        rounds: Turns of each side.
    """

    device: torch.device
    quick: bool = False
    rounds: int = 7
    _models: dict[str, Any] = field(default_factory=dict)

    def new_model(self) -> BertForSequenceClassification:
        """BERT-base with random weights, without dropout; it is the same at every call."""
        torch.manual_seed(0)
        still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        return BertForSequenceClassification(BertConfig(**(TINY if self.quick else {}), **still)).to(self.device)

    def model(self, name: str) -> BertForSequenceClassification:
        """The dense model, or a pruned one by its name in `CUTS`; kept for later groups."""
        if name not in self._models:
            model = self.new_model()
            if name != DENSE:
                heads, neurons, multiple = CUTS[name]
                scopes = {"head_scope": "layer", "neuron_scope": "layer"}
                prune_(model, random_ticket(model, heads, neurons, round_to=multiple, **scopes))
            self._models[name] = model
        return self._models[name]

    def shape(self, batch: int, length: int) -> tuple[int, int]:
        """Batch and length as asked for, or tiny ones of the same order."""
        return (max(2, batch // 16), max(4, length // 8)) if self.quick else (batch, length)

    def inputs(self, batch: int, length: int) -> dict[str, torch.Tensor]:
        """Tokens without padding and labels, on the device."""
        batch, length = self.shape(batch, length)
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(5, 150 if self.quick else 30000, (batch, length), generator=generator)
        return {"input_ids": ids.to(self.device), "labels": (ids[:, 0] % 2).to(self.device)}

    def autocast(self) -> AbstractContextManager:
        # Weights that were cast are not remembered: a captured graph would keep those of another step.
        return torch.autocast(self.device.type, dtype=torch.bfloat16, cache_enabled=False)

    def compare(self, sides: Mapping[str, Callable[[], object]], flops: bool = True) -> dict[str, dict[str, Any]]:
        """Times, counts and ratios of sides that take turns; ratios are to the first of them.

        Args:
            sides: What to call, by name.
            flops: Whether operations can be counted: those of a compiled or captured step cannot.
        """
        times = in_turn(sides, self.device, self.rounds)
        results = {}
        for name, step in sides.items():
            result = {**times[name].summary(), **profile_step(step, self.device)}
            result["synchronizations"] = count_synchronizations(step, self.device)
            if flops:
                result["tflops"] = count_flops(step) / 1e9 / (result["device_ms"] or result["wall_ms"])
            results[name] = with_share(result)
        return add_ratios(results)


def with_share(result: dict[str, Any]) -> dict[str, Any]:
    """Adds `busy`: the share of the wall time in which the device computed."""
    return {**result, "busy": result["busy_ms"] / result["wall_ms"]}


def add_ratios(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Adds the ratios to the first side, by either clock."""
    first = next(iter(results.values()))
    for result in results.values():
        for name in ("wall", "device"):
            known = result[f"{name}_ms"] is not None
            result[f"{name}_ratio"] = result[f"{name}_ms"] / first[f"{name}_ms"] if known else None
    return results


@dataclass(frozen=True)
class Group:
    """Sides that are measured together.

    Args:
        key: Names it in the file of results.
        seconds: About how long it takes on an H100: what does not fit into the time left is not begun.
        run: Measures it: by side, what `Setting.compare` gives.
    """

    key: str
    seconds: float
    run: Callable[[Setting], dict[str, dict[str, Any]]]
