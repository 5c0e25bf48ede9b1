"""What a training phase costs: measured seconds and bytes beside theoretical operations, never mixed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.trainer_utils import TrainOutput

from ..._files import write_json
from ..._memory import peak_memory_bytes, reset_peak_memory

if TYPE_CHECKING:
    from ..steps.runner import StepRunner

COST_FILE = "training_cost.json"
"""In a checkpoint: apart from the Trainer's own state, in which nothing differs between two equal runs."""


@dataclass
class PhaseCost:
    """Cost of one phase.

    Attributes:
        seconds: Wall-clock time from the first training step, over all runs when it was resumed.
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


def with_all_phases(output: TrainOutput, costs: Mapping[str, Mapping[str, float]]) -> TrainOutput:
    """What `train()` returns of a job of several phases: the metrics of the last, with the cost of all.

    Args:
        output: That of the last phase.
        costs: Phase -> the fields of its `PhaseCost`.

    Returns:
        The same, of whose metrics `train_runtime` and `total_flos` are sums; `<phase>_runtime`, `<phase>_steps` and
        `<phase>_total_flos` are beside them. Samples and steps per second stay those of the last phase.
    """
    metrics = dict(output.metrics)
    for phase, cost in costs.items():
        metrics[f"{phase}_runtime"] = round(cost["seconds"], 4)
        if "steps" in cost:
            metrics[f"{phase}_steps"], metrics[f"{phase}_total_flos"] = cost["steps"], cost["theoretical_flops"]
    metrics["train_runtime"] = round(sum(cost["seconds"] for cost in costs.values()), 4)
    metrics["total_flos"] = sum(cost.get("theoretical_flops", 0.0) for cost in costs.values())
    return output._replace(metrics=metrics)


class CostMeter:
    """Measures a training phase; what it has measured travels in checkpoints, in a file of its own.

    Args:
        runner: Counts the passes.
    """

    def __init__(self, runner: StepRunner) -> None:
        self._runner = runner
        self._seconds_before = 0.0
        self._began: float | None = None

    @property
    def passes(self) -> int:
        """Forward and backward passes so far."""
        return self._runner.passes

    @property
    def seconds(self) -> float:
        """Wall-clock time of the phase so far."""
        return self._seconds_before + (0.0 if self._began is None else time.perf_counter() - self._began)

    @property
    def has_begun(self) -> bool:
        """Whether the phase has trained."""
        return self._began is not None or self._seconds_before > 0

    def cost(self, state: Any) -> PhaseCost:
        """The cost so far; `state` is the `TrainerState` of the phase."""
        return PhaseCost(self.seconds, state.global_step, self.passes, state.total_flos, peak_memory_bytes())

    def reset(self) -> None:
        """Sets all counts to zero: a phase begins."""
        self._runner.passes = 0
        self._seconds_before, self._began = 0.0, None

    def start(self) -> None:
        """Starts the clock, unless it runs."""
        if self._began is None:
            reset_peak_memory()
            self._began = time.perf_counter()

    def stop(self) -> None:
        """Stops the clock."""
        self._seconds_before, self._began = self.seconds, None

    def save(self, folder: Path) -> None:
        """Writes the counts into a checkpoint."""
        write_json(folder / COST_FILE, {"seconds": self.seconds, "passes": self.passes})

    def load(self, folder: Path) -> None:
        """Goes on from the counts of a checkpoint; one of a stock `Trainer` has none."""
        if (folder / COST_FILE).exists():
            counts = json.loads((folder / COST_FILE).read_text())
            self._seconds_before, self._runner.passes = counts["seconds"], counts["passes"]
