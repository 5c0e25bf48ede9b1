"""What sections of `bench.py` share: models, data, steps with their seconds, and ratios of two sides in turn."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from hf_robust_tickets import AdversarialTrainingArguments
from hf_robust_tickets.vision import SmallImageResNetConfig, SmallImageResNetForImageClassification

SMALL = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
BASE: dict[str, int] = {}
# A timer of `stepper` for ratios near 1: what else the machine does is left out.
CORE_SECONDS = {"timer": time.process_time}


class Clock(TrainerCallback):
    """Seconds of each step, by the clock given."""

    def __init__(self, timer: Callable[[], float] = time.perf_counter) -> None:
        self.steps: list[float] = []
        self._timer = timer

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self._began = self._timer()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.steps.append(self._timer() - self._began)


class Laps(Clock):
    """Seconds from the end of one step to that of the next: loading the batch included."""

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self._began = self._timer()

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """The clock runs already."""

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        super().on_step_end()
        self._began = self._timer()


def bert(shape: dict[str, int]) -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**shape))


def sentences(batch: int, length: int, steps: int) -> Dataset:
    ids = torch.randint(1000, 30000, (batch * steps, length), generator=torch.Generator().manual_seed(0))
    return Dataset.from_dict({"input_ids": ids.tolist(), "labels": [i % 2 for i in range(batch * steps)]})


def resnet_18() -> SmallImageResNetForImageClassification:
    torch.manual_seed(0)
    return SmallImageResNetForImageClassification(SmallImageResNetConfig(num_labels=10))


def images(batch: int, size: int, steps: int) -> Dataset:
    pixels = torch.randn(batch * steps, 3, size, size, generator=torch.Generator().manual_seed(0))
    data = Dataset.from_dict({"pixel_values": pixels.numpy(), "labels": [i % 10 for i in range(batch * steps)]})
    return data.with_format("torch")


def stepper(kind: type[Trainer], model: Any, *, batch: int = 32, length: int = 32, **options: Any) -> Callable:
    """A function that trains for a few steps and gives the seconds of each."""
    arguments = TrainingArguments if kind is Trainer else AdversarialTrainingArguments
    callbacks, more = options.pop("callbacks", []), options.pop("options", {})
    make_data, timer = options.pop("make_data", sentences), options.pop("timer", time.perf_counter)
    make_clock = options.pop("clock", Clock)

    def run(steps: int) -> list[float]:
        clock = make_clock(timer)
        with tempfile.TemporaryDirectory() as folder:
            args = settings(folder, steps)
            data = make_data(batch, length, steps)
            trainer = kind(model=model, args=args, train_dataset=data, callbacks=[*callbacks, clock], **options)
            trainer.train()
        return clock.steps[1:]

    def settings(folder: str, steps: int) -> TrainingArguments:
        return arguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=batch,
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            report_to="none",
            **more,
        )

    return run


def ratio(
    first: Callable, second: Callable, rounds: int, steps: int = 3, centre: Callable = statistics.median
) -> float:
    """Median (or another centre) of the first's steps over that of the second's, the two taken in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds):
        order = (0, 1) if i % 2 == 0 else (1, 0)
        for side in order:
            times[side].extend((first, second)[side](steps + 1))
    return centre(times[0]) / centre(times[1])


def row(what: str, value: float, limit: float, digits: int = 3, least: bool = False) -> dict[str, Any]:
    """A row of the table; `least`: the limit is what a ratio has to reach, not what it must not pass."""
    kept = value >= limit if least else value <= limit
    side = "at least" if least else "at most"
    return {"what": what, "ratio": f"{value:.{digits}f}", side: f"{limit:.{digits}f}", "": "" if kept else "missed"}
