"""The mean of the weights over the end of training, in place of the last ones."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn
from transformers import TrainerControl, TrainerState, TrainingArguments

from ..._arguments import check_arguments
from ...errors import CheckpointError, ConfigurationError
from ..finetuning.options import check_averaging_options
from ..steps.schedule import first_step
from .base import FileCallback

logger = logging.getLogger(__name__)

_FILE = "weight_average.safetensors"
# The number of weights in the mean, beside them.
_COUNT = "__averaged__"


class WeightAveragingCallback(FileCallback):
    """Averages the weights that a training passes through, and leaves the average in the model at its end.

    Izmailov, Podoprikhin, Garipov, Vetrov and Wilson, "Averaging Weights Leads to Wider Optima and Better
    Generalization", UAI 2018, algorithm 1 (SWA): after the step `start`, and every `every` steps from then on,
    `mean <- mean + (weights - mean) / (n + 1)`. With `decay` it is an exponential moving average,
    `mean <- decay * mean + (1 - decay) * weights`. Under adversarial training it keeps robustness from falling at the
    end (Chen, Zhang, Liu, Chang and Wang, "Robust Overfitting May Be Mitigated by Properly Learned Smoothening", ICLR
    2021). The arithmetic is that of `torch.optim.swa_utils`; the schedule of the learning rate stays the training's.

    While training lasts, the model, its evaluations and its checkpoints have the last weights, and checkpoints the
    average beside them: a training that is resumed has the same average at its end. When it ends, the model gets the
    average; what is saved or evaluated after `train()` is of that. Weights that do not train are not averaged.
    Every rank of DDP averages for itself, what is the same everywhere.

    Args:
        start: First step that counts, or below 1 the fraction of training that is left out.
        every: Steps between two weights of the average; 1 costs some 3 % of a step on a CPU, 10 a tenth of that.
        decay: Of an exponential moving average, in (0, 1); `None` for the mean.

    Attributes:
        averaged: How many weights are in the average.

    Raises:
        ConfigurationError: If an argument is out of its range.

    Example:
        >>> AdversarialTrainer(model, args, callbacks=[WeightAveragingCallback(start=0.5)], train_dataset=train)
    """

    @check_arguments
    def __init__(self, start: float = 0.5, every: int = 10, decay: float | None = None) -> None:
        check_averaging_options(start, every, decay)
        self.start, self.every, self.decay = start, every, decay
        self.averaged = 0
        self._average: dict[str, Tensor] = {}
        self._update = get_swa_multi_avg_fn() if decay is None else get_ema_multi_avg_fn(decay)

    def reset(self) -> None:
        """As in `FileCallback.reset`."""
        self.averaged, self._average = 0, {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begins anew, unless training goes on from a checkpoint; refuses what an average cannot be right in.

        Raises:
            ConfigurationError: For the best checkpoint at the end, sharded weights, or batch normalisation.
        """
        check_averaging(args, kwargs["model"])
        if state.global_step == 0:
            self.reset()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Takes in the weights, where it is their turn."""
        since = state.global_step - max(1, math.ceil(first_step(self.start, state)))
        if since >= 0 and since % self.every == 0:
            self._take_in(kwargs["model"])

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Puts the average into the model."""
        if not self.averaged:
            logger.warning(
                "no weights were averaged: training ended at step %d, before averaging began (start %g of %d steps)",
                *(state.global_step, self.start, state.max_steps),
            )
            return
        with torch.no_grad():
            for name, weight in _weights(kwargs["model"]).items():
                weight.copy_(self._average[name])

    def save(self, folder: Path) -> None:
        """As in `FileCallback.save`."""
        if self.averaged:
            save_file({**self._average, _COUNT: torch.tensor(self.averaged)}, folder / _FILE)

    def load(self, folder: Path, device: torch.device) -> None:
        """As in `FileCallback.load`."""
        self.reset()
        if (folder / _FILE).exists():
            average = {name: tensor.to(device) for name, tensor in load_file(folder / _FILE).items()}
            self.averaged, self._average = int(average.pop(_COUNT)), average

    @torch.no_grad()
    def _take_in(self, model: nn.Module) -> None:
        weights = {name: weight.detach().float() for name, weight in _weights(model).items()}
        if not self.averaged:
            self._average = {name: weight.clone().contiguous() for name, weight in weights.items()}
        elif weights.keys() != self._average.keys():
            raise CheckpointError(
                f"the average that training goes on with is of {len(self._average)} weights, got {len(weights)} that "
                "train: resume with the same model and options, or start anew"
            )
        else:
            averages = [self._average[name] for name in weights]
            self._update(averages, list(weights.values()), self.averaged)
        self.averaged += 1


def check_averaging(args: TrainingArguments, model: nn.Module) -> None:
    """Raises ConfigurationError where the average of weights is not what a training should end with."""
    if args.load_best_model_at_end:
        raise ConfigurationError(
            "a training ends with the average of its weights or with its best checkpoint, got "
            "load_best_model_at_end=True: leave one out"
        )
    if args.fsdp or args.deepspeed:
        raise ConfigurationError(
            "weights are averaged whole, on every rank, got fsdp or deepspeed: use DDP, or average checkpoints"
        )
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        raise ConfigurationError(
            f"the statistics of batch normalisation in {type(model).__name__} are not those of averaged weights: "
            "average a model with layer or group normalisation"
        )


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
