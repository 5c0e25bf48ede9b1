"""What a trainer knows of its masks, for the model card and for the cost of the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..jobs.folder import SEARCH
from .callback import SparseTrainingCallback

SUMMARY_FILE = "search.json"


def sparse_callback(trainer: Any) -> SparseTrainingCallback | None:
    """The callback whose masks the trained model has; None where there are none."""
    own = [getattr(trainer, "sparse", None), *trainer.callback_handler.callbacks]
    return next((each for each in own if isinstance(each, SparseTrainingCallback) and each.masks), None)


def search_summary(trainer: Any) -> dict[str, Any] | None:
    """What stage 1 of a `SparseTrainer` left behind: `method`, `adversary`, `log`, `converged`, `cost` and more."""
    path = Path(trainer.args.output_dir) / SEARCH / SUMMARY_FILE
    if not getattr(trainer, "has_two_stages", False) or not path.exists():
        return None
    return json.loads(path.read_text())


def sparse_facts(trainer: Any, cost: dict[str, Any], adversary: dict[str, Any] | None) -> dict[str, Any]:
    """Fields of `CardFacts` on masks, adversaries and cost.

    Args:
        trainer: A trainer that has trained.
        cost: Of its last stage.
        adversary: Of its last stage.
    """
    facts = {"adversaries": {"train": adversary}, "cost": {"train": cost}}
    callback, summary = sparse_callback(trainer), search_summary(trainer)
    if callback is None:
        return facts
    log, distances, converged = callback.log, callback.distances, callback.converged
    method = callback.method.describe()
    if summary is not None:
        method, log, distances = summary["method"], [*summary["log"], *log], summary["distances"]
        converged = summary["converged"]
        facts = {
            "adversaries": {"search": summary["adversary"], "train": adversary},
            "cost": {"search": summary["cost"], "train": cost},
        }
    sizes = {name: (int(mask.sum()), mask.numel()) for name, mask in callback.masks.items()}
    facts["sparse"] = {
        "method": method,
        "kept": sum(kept for kept, _ in sizes.values()),
        "weights": sum(size for _, size in sizes.values()),
        "layer_density": {name: kept / size for name, (kept, size) in sizes.items()},
        "updates": sum(entry["event"] == "update" for entry in log),
    }
    ticket = next((entry for entry in log if entry["event"] == "ticket"), None)
    if ticket is not None:
        found = {"converged": bool(converged), "epoch": ticket["epoch"], "step": ticket["step"]}
        facts["search"] = {**found, "tickets": len(distances)}
    return facts
