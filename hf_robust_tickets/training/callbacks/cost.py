"""What a training phase costs: measured seconds and bytes beside theoretical operations, never mixed."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from transformers import TrainerState

from ..._memory import peak_memory_bytes, reset_peak_memory
from .base import StatefulCallback


@dataclass
class PhaseCost:
    """Cost of one phase.

    Attributes:
        seconds: Wall-clock time of the training loop, over all runs when it was resumed.
        steps: Optimiser steps.
        passes: Forward and backward passes over a micro-batch, those of the adversary counted.
        theoretical_flops: Floating-point operations by the Trainer's estimate (6 per weight and token, embeddings
            left out), all passes counted. Not a measurement.
        peak_memory_bytes: Most memory held: of the accelerator's allocator, or of the process on a CPU.
    """

    seconds: float = 0.0
    steps: int = 0
    passes: int = 0
    theoretical_flops: float = 0.0
    peak_memory_bytes: int = 0

    def as_dict(self) -> dict[str, float]:
        """The fields, as JSON scalars."""
        return asdict(self)


class CostCallback(StatefulCallback):
    """Measures the phase it trains along with; its counts travel in checkpoints.

    Attributes:
        passes: Forward and backward passes so far; the trainer counts them here.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Sets all counts to zero."""
        self.passes = 0
        self._seconds_before = 0.0
        self._began: float | None = None

    @property
    def seconds(self) -> float:
        """Wall-clock time of the phase so far."""
        return self._seconds_before + (0.0 if self._began is None else time.perf_counter() - self._began)

    def cost(self, state: TrainerState) -> PhaseCost:
        """The cost so far; `state` is that of the phase."""
        return PhaseCost(self.seconds, state.global_step, self.passes, state.total_flos, peak_memory_bytes())

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Starts the clock."""
        self.restore(state)
        reset_peak_memory()
        self._began = time.perf_counter()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Stops the clock."""
        self._seconds_before, self._began = self.seconds, None

    @property
    def progress(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"seconds": self.seconds, "passes": self.passes}

    @progress.setter
    def progress(self, value: dict[str, Any]) -> None:
        self._seconds_before, self.passes = value["seconds"], value["passes"]
