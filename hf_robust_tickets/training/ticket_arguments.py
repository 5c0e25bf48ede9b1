"""The options of the search for a ticket, of the cut and of the fine-tuning after it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Self

from .._arguments import check_fields
from ..adversaries import get_adversary
from ..errors import ConfigurationError, SparsityError
from ..tickets import get_score
from ..tickets.scores import NORMALISATIONS
from .arguments import AdversarialTrainingArguments, AdversaryOptions, read_options

_SCOPES = ("global", "layer")
_GATE_SCHEDULES = ("constant", "linear")
AUTO = "auto"

# What the released code of EarlyRobust runs with, by its scripts.
_EARLYROBUST: Mapping[str, Any] = MappingProxyType(
    {
        "ticket_score": "gate",
        "search_epochs": 1.0,
        "search_learning_rate": 2e-5,
        "search_weight_decay": 0.01,
        "search_warmup": 0.1,
        "gate_learning_rate": None,
        "gate_schedule": "linear",
        "gate_l1_heads": 1e-5,
        "gate_l1_neurons": 2e-4,
        "ticket_interval": 0.05,
        "ticket_patience": 5,
        "ticket_tolerance": 0.1,
        "round_to": 1,
        "adversary": "freelb",
        "adversary_steps": 5,
        "adversary_step_size": 0.01,
        "adversary_step_unit": "absolute",
        "adversary_init_magnitude": 0.05,
        "adversary_max_norm": 0.0,
        "adversary_start_step": 0,
        "finetune_adversary": None,
        "num_train_epochs": 10,
        "learning_rate": 2e-5,
        "weight_decay": 0.0,
        "warmup_steps": 0,
    }
)


@dataclass
class TicketOptions:
    """How the ticket is searched for, drawn and fine-tuned.

    The options of `TrainingArguments` (epochs, learning rate, saving, evaluation) speak of the fine-tuning; the
    `adversary_*` options of the search.

    Attributes:
        ticket_score: What heads and neurons are ranked by; `list_scores()` names all, yours included. `"gate"` trains
            gates along with the weights, under attack, until their ticket stops changing (EarlyRobust). `"taylor"` and
            `"adversarial-taylor"` train plainly for a moment and then sum |c * dL/dc| over batches without moving
            anything, until the tickets of even and of odd batches agree.
        search_epochs: Budget of the search, in epochs; it stops earlier when the ticket has settled.
        search_max_steps: Budget in steps instead, for a data set without a length; -1 means `search_epochs`.
        search_learning_rate: Learning rate of the weights during the search; `None` means that of the fine-tuning.
        search_weight_decay: Weight decay during the search; `None` means that of the fine-tuning.
        search_warmup: Share of the search's training over which the weights' learning rate rises. With `"gate"` it
            falls linearly after that, else it stays.
        score_warmup: First-order scores: steps of plain training before the first batch is scored; below 1, a fraction
            of an epoch. `None` means a tenth of an epoch, at least 60 steps, or 24 where the
            budget has no room for more.
        score_batches: First-order scores: the most batches that are scored; an even number.
        score_normalisation: First-order scores: `"none"`, or `"l2"`: of each layer, divided by their l2 norm.
        gate_learning_rate: Learning rate of the gates. `None` puts them into the weights' own group of the optimiser,
            with their rate and weight decay, as the released code does.
        gate_schedule: What the gates' rate does: `"constant"`, so that nothing settles by running out of it, or
            `"linear"`: it follows that of the weights.
        gate_l1_heads: Weight of the sum of the absolute head gates in the loss.
        gate_l1_neurons: The same for the neurons' gates.
        gate_shadow: Give each gate a shadow that follows noise; a ticket has then settled only if it is clearly
            closer to those after it than the shadow's are.
        head_sparsity: Fraction of the attention heads that is cut, in [0, 1).
        neuron_sparsity: Fraction of the feed-forward neurons that is cut, in [0, 1).
        head_scope: `"global"` ranks the heads of all layers together, `"layer"` each layer's own.
        neuron_scope: The same for the neurons.
        ticket_interval: Gates: time between two tickets, as a fraction of an epoch.
        ticket_patience: Gates: how many tickets in a row must resemble an earlier one for the search to stop.
        ticket_tolerance: How far they, or the tickets of even and odd batches, may be apart (fraction of entries).
        ticket_at_step: Draw the ticket at this step of the search, whether it has settled or not; -1: when it has.
        round_to: Round the number of kept neurons of a layer up to a multiple of this: 16, or 64, for tensor cores; 1
            keeps what the sparsity says.
        keep_one: Leave every layer at least one head and one neuron; otherwise a layer that keeps none loses the
            whole attention or feed-forward block.
        rewind: Fine-tune from the weights before the search; otherwise from those after it.
        refit_examples: Training examples with which the output projections are refitted to the dense model after the
            cut, by least squares (`tickets.refit`); 0: none. Some 2,500 are enough.
        refit_ridge: Ridge of that regression, relative to the mean squared length of the inputs.
        finetune_adversary: Adversary of the fine-tuning; `None` is plain fine-tuning. `"auto"` is the recipe that
            docs/results.md measures: HotFlip from the second third of the training on, where the model classifies
            texts, the trainer has their tokenizer and the training has 570 steps or more; elsewhere plain
            fine-tuning, and the console says why.
        finetune_adversary_kwargs: Its options: those of `AdversaryOptions` without the prefix `adversary_`, and
            further hyper-parameters of the method, e.g. `{"steps": 3, "step_size": 0.02, "layer": -2, "every": 2,
            "start_step": 0.1}`; a dict, or JSON on the command line.
    """

    ticket_score: str = field(default="taylor", metadata={"help": "What units are ranked by."})
    search_epochs: float = field(default=1.0, metadata={"help": "Budget of the search, in epochs."})
    search_max_steps: int = field(default=-1, metadata={"help": "Budget of the search in steps, if positive."})
    search_learning_rate: float | None = field(default=None, metadata={"help": "None: that of the fine-tuning."})
    search_weight_decay: float | None = field(default=None, metadata={"help": "None: that of the fine-tuning."})
    search_warmup: float = field(default=0.1, metadata={"help": "Share of the search with a rising learning rate."})
    score_warmup: float | None = field(
        default=None, metadata={"help": "Plain steps (or fraction of an epoch) before batches are scored."}
    )
    score_batches: int = field(default=24, metadata={"help": "Most batches that are scored."})
    score_normalisation: str = field(
        default="none", metadata={"help": "Scores of a layer by their l2 norm: none, l2."}
    )
    gate_learning_rate: float | None = field(default=1e-3, metadata={"help": "Of the gates; None: the weights'."})
    gate_schedule: str = field(default="constant", metadata={"help": "constant, or linear as the weights' rate."})
    gate_l1_heads: float = field(default=1e-4, metadata={"help": "Weight of the L1 norm of the head gates."})
    gate_l1_neurons: float = field(default=1e-4, metadata={"help": "Weight of the L1 norm of the neuron gates."})
    gate_shadow: bool = field(default=True, metadata={"help": "Compare gates with shadows that follow noise."})
    head_sparsity: float = field(default=1 / 6, metadata={"help": "Fraction of heads that is cut."})
    neuron_sparsity: float = field(default=0.4, metadata={"help": "Fraction of feed-forward neurons that is cut."})
    head_scope: str = field(default="global", metadata={"help": "Rank heads over all layers: global, or layer."})
    neuron_scope: str = field(default="global", metadata={"help": "Rank neurons over all layers: global, or layer."})
    ticket_interval: float = field(default=0.05, metadata={"help": "Epochs between two tickets."})
    ticket_patience: int = field(default=5, metadata={"help": "Similar tickets in a row before the search stops."})
    ticket_tolerance: float = field(default=0.1, metadata={"help": "Largest distance between similar tickets."})
    ticket_at_step: int = field(default=-1, metadata={"help": "Draw at this step; -1: when the ticket has settled."})
    round_to: int = field(default=16, metadata={"help": "Round kept neurons up to a multiple; 1: do not."})
    keep_one: bool = field(default=True, metadata={"help": "Leave every layer a head and a neuron at least."})
    rewind: bool = field(default=True, metadata={"help": "Fine-tune from the weights before the search."})
    refit_examples: int = field(
        default=0, metadata={"help": "Examples for the least-squares refit after the cut; 0: none."}
    )
    refit_ridge: float = field(default=0.1, metadata={"help": "Its ridge, relative to the inputs."})
    finetune_adversary: str | None = field(
        default=AUTO, metadata={"help": "Adversary of the fine-tuning; auto: the measured recipe; none: plain."}
    )
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
        if self.finetune_adversary in (None, "none", AUTO):
            if options or given:
                raise ConfigurationError(
                    f"finetune_adversary_kwargs needs finetune_adversary, got {self.finetune_adversary or 'none'}: "
                    "name the method"
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
        check_fields(self, TicketOptions)
        get_score(self.ticket_score)
        for name in ("head_sparsity", "neuron_sparsity"):
            if not 0 <= getattr(self, name) < 1:
                raise SparsityError(f"{name} must be in [0, 1), got {getattr(self, name)}: it is a fraction")
        for name, known in (
            ("head_scope", _SCOPES),
            ("neuron_scope", _SCOPES),
            ("score_normalisation", NORMALISATIONS),
            ("gate_schedule", _GATE_SCHEDULES),
        ):
            if getattr(self, name) not in known:
                raise ConfigurationError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        for name in ("search_epochs", "ticket_interval", "ticket_tolerance", "gate_learning_rate", "refit_ridge"):
            value = getattr(self, name)
            if not (value is None or value > 0):
                raise ConfigurationError(f"{name} must be positive, got {value}")
        for name in ("ticket_patience", "round_to"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("gate_l1_heads", "gate_l1_neurons", "search_warmup", "refit_examples"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name} must not be negative, got {getattr(self, name)}")
        self._check_search()
        self.finetune_adversary_kwargs = (
            read_options("finetune_adversary_kwargs", self.finetune_adversary_kwargs) or None
        )
        self.finetune_adversary_options()._check_adversary()

    def _check_search(self) -> None:
        warmup = self.score_warmup
        if warmup is not None and not (0 <= warmup <= 1 or (warmup < math.inf and warmup == int(warmup) > 0)):
            raise ConfigurationError(
                f"score_warmup must be a number of steps, or a fraction of an epoch below 1, got {warmup}: e.g. 60"
            )
        if self.score_batches < 2 or self.score_batches % 2:
            raise ConfigurationError(
                f"score_batches must be an even number of at least 2, got {self.score_batches}: the tickets of even "
                "and of odd batches are compared"
            )
        if self.ticket_at_step < 1 and self.ticket_at_step != -1:
            raise ConfigurationError(f"ticket_at_step must be a step, from 1 on, or -1, got {self.ticket_at_step}")
        if self.gate_learning_rate is None and self.gate_schedule != "linear":
            raise ConfigurationError(
                f"gates in the weights' group have the weights' schedule, got gate_schedule={self.gate_schedule!r}: "
                "pass gate_schedule='linear', or a gate_learning_rate"
            )


@dataclass
class RobustTicketArguments(TicketOptions, AdversarialTrainingArguments):
    """`AdversarialTrainingArguments` plus `TicketOptions`; no inherited default differs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_ticket_options()
        adversarial = get_score(self.ticket_score).under_attack
        if adversarial and self.adversary in (None, "none"):
            raise ConfigurationError(
                f"the score {self.ticket_score!r} is that of a loss under attack, got adversary={self.adversary!r}: "
                "name a method, or pass ticket_score='taylor'"
            )

    @classmethod
    def earlyrobust(cls, **options: Any) -> Self:
        """The settings of EarlyRobust's released code (Xi et al., EMNLP 2022), as far as they are not defects.

        Gates in the weights' own group of the optimiser (2e-5, with weight decay), L1 weights 1e-5 and 2e-4, FreeLB
        with 5 steps of 0.01 and a start of 0.05 (absolute lengths) from the first step on, a schedule of one epoch
        with 10 % warm-up, a ticket every 20th of it; 10 epochs of fine-tuning at 2e-5 without warm-up and decay. The
        released search never stops by itself: its scripts draw at a fixed step, which is `ticket_at_step` here;
        without it, the rule of `EarlyBirdDetector` stops.

        Args:
            **options: As for `RobustTicketArguments`; they go before the released ones.
        """
        return cls(**{**_EARLYROBUST, **options})
