"""Small, fast and robust language models: early-bird tickets and adversarial training inside the Trainer.

Names are imported when they are first used, so that `import hf_robust_tickets` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

from ._kernels import keep_compiled_kernels
from ._version import __version__

keep_compiled_kernels()

_ROOM_OF = {
    "AdversarialTrainer": "training",
    "AdversarialTrainingArguments": "training",
    "AdversaryOptions": "training",
    "EarlyBirdCallback": "training",
    "SparseTrainingCallback": "training",
    "RobustTicketArguments": "training",
    "RobustSelectionCallback": "training",
    "RobustTicketTrainer": "training",
    "EarlyBirdDetector": "tickets",
    "RobustTicket": "tickets",
    "attach_gates": "tickets",
    "detach_gates": "tickets",
    "draw_ticket": "tickets",
    "export_dense": "tickets",
    "load_pruned": "tickets",
    "mask_distance": "tickets",
    "prune_": "tickets",
    "random_ticket": "tickets",
    "save_pruned": "tickets",
    "FlyingBird": "sparse",
    "FlyingBirdPlus": "sparse",
    "RobustBird": "sparse",
    "get_architecture": "architectures",
    "register_architecture": "architectures",
    "RobustnessReport": "evaluation",
    "evaluate_robustness": "evaluation",
    "evaluate_white_box": "evaluation",
}

__all__ = ["__version__", *sorted(_ROOM_OF)]


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_ROOM_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
