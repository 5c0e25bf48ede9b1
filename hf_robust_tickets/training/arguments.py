"""The options of adversarial training, as dataclasses beside `TrainingArguments`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments

from .._arguments import check_fields
from .._files import check_folder
from ..adversaries import Adversary, get_adversary
from ..errors import ConfigurationError
from .augmentation.options import AugmentationOptions
from .captured.options import CaptureOptions
from .finetuning.options import FineTuningOptions

SCHEDULES = ("constant", "linear", "cosine")
# Hyper-parameters that nearly every method has: options of their own.
_COMMON = ("steps", "step_size", "step_unit", "init_magnitude", "max_norm", "norm", "scope")


def _check_start(name: str, start: float) -> None:
    if not 0 <= start < math.inf or (start > 1 and start != int(start)):
        raise ConfigurationError(
            f"{name} must be a number of steps, or a fraction of training below 1, got {start}: pass e.g. 100 or 0.1"
        )


def read_options(name: str, value: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """Options of a method, from a dict or from JSON.

    Args:
        name: Of the argument that holds them, for the error.
        value: Its value.

    Raises:
        ConfigurationError: If it is neither.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ConfigurationError(
                f"{name} must be a dict, or JSON such as '{{\"coefficient\": 6}}', got {value!r} ({error})"
            ) from error
    if value is not None and not (isinstance(value, Mapping) and all(isinstance(key, str) for key in value)):
        raise ConfigurationError(f"{name} must be a dict of names and values, got {value!r}")
    return dict(value or {})


@dataclass
class AdversaryOptions:
    """How the input is attacked during training; every `None` means the method's own default.

    What nearly every method has, and what is turned every day, is an option of its own; the rest of a method's
    hyper-parameters go into `adversary_kwargs`, as with `lr_scheduler_kwargs`.

    Attributes:
        adversary: Name of the method (`list_adversaries()` gives all, yours included); `"none"` for plain training.
        adversary_steps: Forward and backward passes per training step; for a penalty on the output, ascents.
        adversary_step_size: Length of one ascent step.
        adversary_step_unit: The unit of step, start and radius: `"relative"` (the default of all methods on text),
            shares of the norm of what is perturbed, sentence by sentence; or `"absolute"`, those of the perturbed
            tensor, as papers give them. Methods on pixels are absolute: pixels between 0 and 1 are their unit.
        adversary_init_magnitude: Size of the random start; 0 makes the first pass clean.
        adversary_max_norm: Radius of the ball of perturbations; 0 means none.
        adversary_norm: `"l2"`, `"linf"` or `"l1"`.
        adversary_scope: `"sentence"` (one ball for all tokens) or `"token"` (one each).
        adversary_layer: What is perturbed: 0 the embedding output, n the output of layer n, -n that of the n-th layer
            from the end (-1 the last).
        adversary_start_step: Train plainly before this step; below 1 it is a fraction of all steps.
        adversary_share_dropout: Use the same dropout masks in all passes of a step, as FreeLB's reference can.
        adversary_every: Attack every m-th optimiser step, and train plainly in between.
        adversary_clean_weight: Share, in [0, 1), of an additional clean pass in the loss.
        adversary_warmup: Steps over which all lengths (step size, start, radius) rise linearly; below 1 a fraction of
            all steps.
        adversary_schedule: What the lengths do after that: `"constant"`, or `"linear"` or `"cosine"` decay to the end.
        adversary_restarts: Random starts of the ascent, of which each sentence keeps the one that ends at the highest
            loss; for methods that train on the end of the ascent alone (PGD, FGSM).
        adversary_special_tokens: Perturb [CLS], [SEP] and their like as words are, as the papers do; otherwise they
            stay as they are, by the ids of the trainer's `processing_class`.
        adversary_weight_perturbation: Length of an adversarial perturbation of the weights during the pass that
            trains them, relative to those of each layer (AWP; 0.01 with PGD, 0.005 with TRADES); 0 means none. One
            more forward and backward pass (two with a penalty); v is that of the micro-batch.
        adversary_kwargs: Further hyper-parameters of the method, e.g. `{"coefficient": 6}` of TRADES, `{"inner_steps":
            3}` of YOPO, `{"momentum": 0.95}` of SMART; a dict, or JSON on the command line.
    """

    adversary: str | None = field(default="freelb", metadata={"help": "Name of the method, or `none`."})
    adversary_steps: int | None = field(default=None, metadata={"help": "Passes per training step."})
    adversary_step_size: float | None = field(default=None, metadata={"help": "Length of one ascent step."})
    adversary_step_unit: str | None = field(
        default=None, metadata={"help": "relative: lengths are shares of the norm; or absolute."}
    )
    adversary_init_magnitude: float | None = field(default=None, metadata={"help": "Size of the random start."})
    adversary_max_norm: float | None = field(default=None, metadata={"help": "Radius of the ball; 0 means none."})
    adversary_norm: str | None = field(default=None, metadata={"help": "l2, linf or l1."})
    adversary_scope: str | None = field(default=None, metadata={"help": "sentence or token."})
    adversary_layer: int = field(default=0, metadata={"help": "0: embedding output; n: of layer n; -1: of the last."})
    adversary_start_step: float = field(default=0, metadata={"help": "Plain training before this step (or fraction)."})
    adversary_share_dropout: bool = field(default=False, metadata={"help": "Same dropout masks in all passes."})
    adversary_every: int = field(default=1, metadata={"help": "Attack every m-th step."})
    adversary_clean_weight: float = field(default=0.0, metadata={"help": "Share of a clean pass in the loss."})
    adversary_warmup: float = field(default=0, metadata={"help": "Steps (or fraction) over which lengths rise."})
    adversary_schedule: str = field(default="constant", metadata={"help": "constant, linear or cosine."})
    adversary_restarts: int = field(default=1, metadata={"help": "Random starts; the worst one is trained on."})
    adversary_special_tokens: bool = field(default=True, metadata={"help": "Perturb [CLS], [SEP] and their like too."})
    adversary_weight_perturbation: float = field(default=0.0, metadata={"help": "Relative length of AWP; 0: none."})
    adversary_kwargs: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Further hyper-parameters of the method, as JSON."}
    )

    def build_adversary(self, name: str | None = None) -> Adversary | None:
        """The adversary these options describe; `None` for plain training.

        Args:
            name: Another method with the same hyper-parameters; `None` means that of the options.

        Raises:
            UnknownNameError: If no adversary has the name.
            ConfigurationError: If a value is refused, the method has no such hyper-parameter, or one is given twice.
        """
        name = name or self.adversary
        if name is None or name == "none":
            return None
        given = {key: getattr(self, f"adversary_{key}") for key in _COMMON}
        given = {key: value for key, value in given.items() if value is not None}
        rest = read_options("adversary_kwargs", self.adversary_kwargs)
        if twice := sorted(given.keys() & rest.keys()):
            raise ConfigurationError(
                f"expected each hyper-parameter once, got {', '.join(twice)} in adversary_kwargs and as "
                f"{', '.join(f'adversary_{key}' for key in twice)}: leave one out"
            )
        return get_adversary(name, **given, **rest)

    def _check_adversary(self) -> None:
        check_fields(self, AdversaryOptions)
        self.adversary_kwargs = read_options("adversary_kwargs", self.adversary_kwargs) or None
        self.build_adversary()
        if self.adversary in (None, "none") and self.adversary_kwargs:
            raise ConfigurationError(f"adversary_kwargs needs a method, got adversary={self.adversary!r}: name one")
        _check_start("adversary_start_step", self.adversary_start_step)
        for name in ("adversary_every", "adversary_restarts"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.adversary_weight_perturbation < 1:
            raise ConfigurationError(
                f"adversary_weight_perturbation must be in [0, 1), got {self.adversary_weight_perturbation}: e.g. 0.01"
            )
        if not 0 <= self.adversary_clean_weight < 1:
            raise ConfigurationError(f"adversary_clean_weight must be in [0, 1), got {self.adversary_clean_weight}")
        _check_start("adversary_warmup", self.adversary_warmup)
        if self.adversary_schedule not in SCHEDULES:
            raise ConfigurationError(
                f"adversary_schedule must be one of {', '.join(SCHEDULES)}, got {self.adversary_schedule!r}"
            )


@dataclass
class AdversarialTrainingArguments(
    AdversaryOptions, FineTuningOptions, AugmentationOptions, CaptureOptions, TrainingArguments
):
    """`TrainingArguments` plus these options; no inherited default differs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output_dir is not None:
            check_folder(self.output_dir)
        self._check_adversary()
        self._check_finetuning()
        self._check_augmentation()
        self._check_capture()
