"""Trackers (TensorBoard, Weights & Biases, ...) in a job of two phases: a run for each, in the user's folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback
from transformers.integrations.integration_utils import default_logdir, get_reporting_integration_callbacks

# Trackers with one open run per process, which the end of a training leaves open: the run, if there is one, and what
# ends it.
_OPEN_RUNS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "wandb": (lambda module: module.run, lambda module: module.finish()),
    "swanlab": (lambda module: module.get_run(), lambda module: module.finish()),
    "comet_ml": (lambda module: module.get_running_experiment(), lambda module: module.get_running_experiment().end()),
}


def callbacks_of_search(args: TrainingArguments, own: Sequence[TrainerCallback]) -> list[TrainerCallback]:
    """The Trainer's own callbacks for a search: each tracker anew, such that the search is a run of its own.

    Args:
        args: Those of the training that goes on with what is found: runs are in its folder.
        own: Those of the Trainer itself.
    """
    trackers = tuple(get_reporting_integration_callbacks(args.report_to))
    if not trackers:
        return list(own)
    return [*(_tracker_of_search(type(c), args) if isinstance(c, trackers) else c for c in own), _EndOfRun()]


def _tracker_of_search(kind: type[TrainerCallback], args: TrainingArguments) -> TrainerCallback:
    tracker = kind()
    if isinstance(tracker, TensorBoardCallback):
        # A run has a folder, not a name.
        tracker.logging_dir = f"{tracker.logging_dir or os.path.join(args.output_dir, default_logdir())}-search"
    return tracker


class _EndOfRun(TrainerCallback):
    """Ends the runs that a search has opened, after its trackers: those that were open before are the user's."""

    def __init__(self) -> None:
        self._before = set(_open_runs())

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ends them."""
        for name in _open_runs():
            if name not in self._before:
                _OPEN_RUNS[name][1](sys.modules[name])


def _open_runs() -> list[str]:
    return [name for name, (run, _) in _OPEN_RUNS.items() if name in sys.modules and run(sys.modules[name])]
