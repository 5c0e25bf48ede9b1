"""The options of adversarial training and of tickets, as dataclasses beside `TrainingArguments`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from transformers import TrainingArguments

from ..adversaries import Adversary, get_adversary
from ..errors import ConfigurationError, SparsityError

_SCOPES = ("global", "layer")
SCHEDULES = ("constant", "linear", "cosine")
# Hyper-parameters that nearly every method has: options of their own.
_COMMON = ("steps", "step_size", "init_magnitude", "max_norm", "norm", "scope")


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
        adversary_step_size: Length of one ascent step, in units of the word embeddings.
        adversary_init_magnitude: Size of the random start; 0 makes the first pass clean.
        adversary_max_norm: Radius of the ball of perturbations; 0 means none.
        adversary_norm: `"l2"`, `"linf"` or `"l1"`.
        adversary_scope: `"sentence"` (one ball for all tokens) or `"token"` (one each).
        adversary_layer: What is perturbed: 0 the embedding output, n the output of layer n.
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
    adversary_init_magnitude: float | None = field(default=None, metadata={"help": "Size of the random start."})
    adversary_max_norm: float | None = field(default=None, metadata={"help": "Radius of the ball; 0 means none."})
    adversary_norm: str | None = field(default=None, metadata={"help": "l2, linf or l1."})
    adversary_scope: str | None = field(default=None, metadata={"help": "sentence or token."})
    adversary_layer: int = field(default=0, metadata={"help": "0: embedding output; n: output of layer n."})
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
        self.adversary_kwargs = read_options("adversary_kwargs", self.adversary_kwargs) or None
        self.build_adversary()
        if self.adversary in (None, "none") and self.adversary_kwargs:
            raise ConfigurationError(f"adversary_kwargs needs a method, got adversary={self.adversary!r}: name one")
        _check_start("adversary_start_step", self.adversary_start_step)
        if self.adversary_layer < 0:
            raise ConfigurationError(f"adversary_layer must be 0 or a layer's number, got {self.adversary_layer}")
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
class AdversarialTrainingArguments(AdversaryOptions, TrainingArguments):
    """`transformers.TrainingArguments` plus `AdversaryOptions`; no inherited default differs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_adversary()


@dataclass
class TicketOptions:
    """How the ticket is searched for, drawn and fine-tuned.

    The options of `TrainingArguments` (epochs, learning rate, saving, evaluation) speak of the fine-tuning; the
    `adversary_*` options of the search.

    Attributes:
        search_epochs: Budget of the search, in epochs; it stops earlier when the ticket stops changing.
        search_max_steps: Budget in steps instead, for a data set without a length; -1 means `search_epochs`.
        search_learning_rate: Learning rate of the weights during the search; `None` means that of the fine-tuning.
        search_warmup: Share of the budget over which the search's learning rates rise; they fall linearly after it.
        gate_learning_rate: Learning rate of the gates.
        gate_l1_heads: Weight of the sum of the absolute head gates in the loss.
        gate_l1_neurons: The same for the neurons' gates.
        head_sparsity: Fraction of the attention heads that is cut, in [0, 1).
        neuron_sparsity: Fraction of the feed-forward neurons that is cut, in [0, 1).
        head_scope: `"global"` ranks the heads of all layers together, `"layer"` each layer's own.
        neuron_scope: The same for the neurons.
        ticket_interval: Time between two tickets, as a fraction of an epoch.
        ticket_patience: How many tickets in a row must resemble an earlier one for the search to stop.
        ticket_tolerance: How far they may be from it (fraction of mask entries).
        round_to: Round the number of kept neurons of a layer up to a multiple of this.
        keep_one: Leave every layer at least one head and one neuron; otherwise a layer that keeps none loses the
            whole attention or feed-forward block.
        rewind: Fine-tune from the weights before the search; otherwise from those after it.
        finetune_adversary: Adversary of the fine-tuning; `None` is plain fine-tuning.
        finetune_adversary_kwargs: Its options: those of `AdversaryOptions` without the prefix `adversary_`, and
            further hyper-parameters of the method, e.g. `{"steps": 3, "step_size": 0.05, "start_step": 0.1}`; a dict,
            or JSON on the command line.
    """

    search_epochs: float = field(default=1.0, metadata={"help": "Budget of the search, in epochs."})
    search_max_steps: int = field(default=-1, metadata={"help": "Budget of the search in steps, if positive."})
    search_learning_rate: float | None = field(default=None, metadata={"help": "None: that of the fine-tuning."})
    search_warmup: float = field(default=0.1, metadata={"help": "Share of the search with a rising learning rate."})
    gate_learning_rate: float = field(default=1e-2, metadata={"help": "Learning rate of the gates."})
    gate_l1_heads: float = field(default=1e-4, metadata={"help": "Weight of the L1 norm of the head gates."})
    gate_l1_neurons: float = field(default=1e-4, metadata={"help": "Weight of the L1 norm of the neuron gates."})
    head_sparsity: float = field(default=1 / 6, metadata={"help": "Fraction of heads that is cut."})
    neuron_sparsity: float = field(default=0.4, metadata={"help": "Fraction of feed-forward neurons that is cut."})
    head_scope: str = field(default="global", metadata={"help": "Rank heads over all layers: global, or layer."})
    neuron_scope: str = field(default="global", metadata={"help": "Rank neurons over all layers: global, or layer."})
    ticket_interval: float = field(default=0.05, metadata={"help": "Epochs between two tickets."})
    ticket_patience: int = field(default=5, metadata={"help": "Similar tickets in a row before the search stops."})
    ticket_tolerance: float = field(default=0.1, metadata={"help": "Largest distance between similar tickets."})
    round_to: int = field(default=1, metadata={"help": "Round kept neurons up to a multiple."})
    keep_one: bool = field(default=True, metadata={"help": "Leave every layer a head and a neuron at least."})
    rewind: bool = field(default=True, metadata={"help": "Fine-tune from the weights before the search."})
    finetune_adversary: str | None = field(default=None, metadata={"help": "Adversary of the fine-tuning."})
    finetune_adversary_kwargs: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Its options: those of adversary_* without the prefix, as JSON."}
    )

    def finetune_adversary_options(self) -> AdversaryOptions:
        """The fine-tuning's adversary, as `AdversaryOptions`.

        Raises:
            ConfigurationError: If `finetune_adversary_kwargs` names something that is neither an option nor a
                hyper-parameter of the method.
        """
        given = read_options("finetune_adversary_kwargs", self.finetune_adversary_kwargs)
        names = [
            f.name.removeprefix("adversary_") for f in fields(AdversaryOptions) if f.name.startswith("adversary_")
        ]
        names.remove("kwargs")
        options = {f"adversary_{name}": given.pop(name) for name in names if name in given}
        if self.finetune_adversary in (None, "none"):
            if options or given:
                raise ConfigurationError(
                    "finetune_adversary_kwargs needs finetune_adversary, got none: name the method"
                )
            return AdversaryOptions(adversary=None)
        known = get_adversary(self.finetune_adversary).__dataclass_fields__
        if unknown := sorted(given.keys() - known.keys()):
            raise ConfigurationError(
                f"finetune_adversary_kwargs has no option {', '.join(unknown)}: expected "
                f"{', '.join(dict.fromkeys([*known, *names]))}"
            )
        return AdversaryOptions(adversary=self.finetune_adversary, **options, adversary_kwargs=given or None)

    def _check_ticket_options(self) -> None:
        for name in ("head_sparsity", "neuron_sparsity"):
            if not 0 <= getattr(self, name) < 1:
                raise SparsityError(f"{name} must be in [0, 1), got {getattr(self, name)}: it is a fraction")
        for name in ("head_scope", "neuron_scope"):
            if getattr(self, name) not in _SCOPES:
                raise ConfigurationError(f"{name} must be one of {', '.join(_SCOPES)}, got {getattr(self, name)!r}")
        for name in ("search_epochs", "ticket_interval", "ticket_tolerance", "gate_learning_rate"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("ticket_patience", "round_to"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("gate_l1_heads", "gate_l1_neurons", "search_warmup"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name} must not be negative, got {getattr(self, name)}")
        self.finetune_adversary_kwargs = (
            read_options("finetune_adversary_kwargs", self.finetune_adversary_kwargs) or None
        )
        self.finetune_adversary_options()._check_adversary()


@dataclass
class RobustTicketArguments(TicketOptions, AdversarialTrainingArguments):
    """`AdversarialTrainingArguments` plus `TicketOptions`; no inherited default differs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_ticket_options()
