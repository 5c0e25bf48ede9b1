"""The contract between an attack on the input and whoever trains with it: tensors in, tensors out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from .._arguments import check_fields
from ..errors import ConfigurationError
from .geometry import NORMS, SCOPES
from .hooks import PerturbationHook
from .units import LARGEST_SHARE, UNITS, Lengths, norm_at

AdversaryState = MutableMapping[str, Tensor]
"""What a method keeps from one training step to the next; the trainer owns it and saves it in checkpoints."""

# A forward pass costs one unit, the gradients of activations and of weights one each.
_DELTA_PASS_COST = 2 / 3
# A length that is not given: that of the method in the unit of the lengths.
_OF_THE_METHOD: Any = None


@dataclass(frozen=True)
class Adversary(ABC):
    """How the input of a model is attacked while it trains.

    One training step is `num_passes` forward and backward passes over the same batch. Before the first, `init` gives
    the perturbation delta; between two passes `ascend` moves it uphill on the loss. The gradient that reaches the
    weights is the sum of the passes' gradients, each weighted by `loss_weight`. A pass of weight 0 only serves the
    ascent: no weight gradient is computed for it.

    An adversary holds its hyper-parameters and nothing else (it is frozen), so one object serves any number of
    models, devices and ranks. What a method must remember from one training step to the next lives in an
    `AdversaryState` that the trainer owns and saves in checkpoints (`recall`, `remember`).

    A class declares what it needs of whoever trains with it; a class of a user's may declare all that ours do:

    - `step`: the training step that runs it, a name of `hf_robust_tickets.training.steps`: `"multi-pass"` (the task's
      loss in each of several passes) or `"regularized"` (one loss with a penalty on the output, see `Regularizer`);
    - `space`: what is perturbed, `"embeddings"` (or the output of a layer) or `"pixels"` (see `PixelSpace`);
    - `extensions`: what it needs beside delta, names of `hf_robust_tickets.training.extensions`: `"first-layer"`
      (ascents through the first layer alone), `"critic"` (a part of the model that trains along),
      `"weight-average"` (the output with averaged weights);
    - `remembers` and `replays`: what it keeps between steps, and how often it is given the same batch.

    `init` and `ascend` know of no unit: with relative lengths whoever trains lets them move delta / u by the gradient
    with respect to delta, and adds u times what they give, u being `norm_at` of each sentence (`unit`). Steps, starts
    and balls are equivariant: that is the method with u times its lengths.

    Attributes:
        steps: Number of passes K (see each method for how many of them ascend).
        step_size: Length of one ascent step, in the geometry of `norm` and `scope`.
        init_magnitude: Size of the random start; 0 starts at delta = 0, so that the first pass is clean.
        max_norm: Radius of the ball that delta is projected on after each ascent; 0 means no projection.
        norm: `"l2"`, `"linf"` or `"l1"`.
        scope: What one ball holds: `"sentence"` (all tokens together) or `"token"` (each token its own).
        step_unit: The unit of the three lengths: `"relative"`, shares of the norm of what is perturbed (`norm_at`), or
            `"absolute"`, those of the perturbed tensor, as in most papers. It decides the defaults too (`lengths`).
    """

    steps: int
    step_size: float = _OF_THE_METHOD
    init_magnitude: float = _OF_THE_METHOD
    max_norm: float = _OF_THE_METHOD
    norm: str = "l2"
    scope: str = "sentence"
    step_unit: str = "relative"

    name: ClassVar[str] = ""
    lengths: ClassVar[Mapping[str, Lengths]] = MappingProxyType({})
    """Unit -> the lengths that the method has by default."""
    step: ClassVar[str] = "multi-pass"
    space: ClassVar[str] = "embeddings"
    remembers: ClassVar[str | None] = None
    """Whose state the method keeps: the whole run's (`"run"`), or one for each micro-batch of an optimiser step
    (`"batch"`); `None` for none. With one, delta ascends after the last pass too."""
    _least_steps: ClassVar[int] = 1
    _climbs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.step_unit not in UNITS:
            raise ConfigurationError(
                f"{self._title}: step_unit must be one of {', '.join(UNITS)}, got {self.step_unit!r}"
            )
        self._complete()
        check_fields(self)
        if not isinstance(self.steps, int) or self.steps < self._least_steps:
            raise ConfigurationError(
                f"{self._title}: steps must be an integer of at least {self._least_steps}, got {self.steps!r}"
            )
        for field in Lengths._fields:
            value = getattr(self, field)
            if not math.isfinite(value) or value < 0:
                raise ConfigurationError(f"{self._title}: {field} must be finite and not negative, got {value!r}")
            self._check_share(field, value)
        if self.norm not in NORMS:
            raise ConfigurationError(f"{self._title}: norm must be one of {', '.join(NORMS)}, got {self.norm!r}")
        if self.scope not in SCOPES:
            raise ConfigurationError(f"{self._title}: scope must be one of {', '.join(SCOPES)}, got {self.scope!r}")

    def _complete(self) -> None:
        """Gives the lengths that were left out the method's values in this unit."""
        own = self.lengths.get(self.step_unit)
        for field in Lengths._fields:
            if getattr(self, field) is not None:
                continue
            if own is None:
                raise ConfigurationError(
                    f"{self._title}: expected {field}, got none: give it in {self.step_unit} units"
                )
            object.__setattr__(self, field, getattr(own, field))

    def _check_share(self, field: str, value: float) -> None:
        """Raises ConfigurationError for a relative length that cannot be meant."""
        if self.step_unit != "relative":
            return
        nothing = field == "step_size" and value == 0 and self._climbs
        if nothing or value > LARGEST_SHARE:
            least = "above 0" if field == "step_size" else "at least 0"
            raise ConfigurationError(
                f"{self._title}: a relative {field} is a share of the norm of what is perturbed, {least} and at most "
                f"{LARGEST_SHARE:g}, got {value:g}: e.g. 0.01, or pass step_unit='absolute'"
            )

    @property
    def _title(self) -> str:
        return type(self).__name__

    @property
    def extensions(self) -> tuple[str, ...]:
        """Names of what the method needs beside delta."""
        return ()

    @property
    def num_passes(self) -> int:
        """Forward and backward passes per training step."""
        return self.steps

    @property
    def replays(self) -> int:
        """How many training steps in a row are given the same batch."""
        return 1

    @property
    def cost(self) -> float:
        """Cost of an attacked step in units of a plain one: a pass without weight gradients counts 2/3."""
        return sum(1.0 if self.loss_weight(k) else _DELTA_PASS_COST for k in range(self.num_passes))

    def scaled(self, factor: float) -> Self:
        """The same method with every length (step size, start, radius) times `factor`."""
        if factor == 1:
            return self
        return replace(self, **{name: getattr(self, name) * factor for name in Lengths._fields})

    def unit(self, x: Tensor, mask: Tensor) -> Tensor | None:
        """What the lengths are shares of, `(batch, 1, 1)`; `None` for absolute ones. Shapes as in `init`."""
        return norm_at(x, mask, self.norm, self.scope) if self.step_unit == "relative" else None

    def hook(self, model: nn.Module, module: nn.Module | None, processor: Any = None) -> PerturbationHook:
        """The hook that adds delta where it belongs.

        Args:
            model: The model, not wrapped.
            module: Its module whose output is perturbed; only read where `space` is `"embeddings"`.
            processor: The trainer's processing class, which may know the constants of pixels.
        """
        return PerturbationHook(module)

    def new_state(self, module: nn.Module | None, device: torch.device) -> AdversaryState:
        """What the method remembers before its first step: nothing.

        Args:
            module: As in `hook`.
            device: Where the batches are.
        """
        return {}

    @abstractmethod
    def init(self, x: Tensor, mask: Tensor) -> Tensor:
        """Gives the perturbation of the first pass.

        Args:
            x: What is perturbed, `(batch, tokens, dim)` or `(batch, channels, height, width)`; only its shape, device
                and dtype are read.
            mask: `(batch, tokens)`, 1 where a token may be perturbed, 0 for padding.

        Returns:
            Delta, of the shape of `x`, detached.
        """

    @abstractmethod
    def ascend(self, delta: Tensor, grad: Tensor, mask: Tensor) -> Tensor:
        """Takes one step uphill and projects.

        Args:
            delta: The perturbation of the last pass.
            grad: Gradient of that pass's loss with respect to `delta`, of the same shape.
            mask: As in `init`.

        Returns:
            The perturbation of the next pass, detached.
        """

    @abstractmethod
    def loss_weight(self, k: int) -> float:
        """Weight of the loss of pass `k` (0, ..., `num_passes` - 1) in the gradient that reaches the weights."""

    def added(self, delta: Tensor) -> Tensor:
        """What is added to the perturbed tensor; delta itself, but for methods whose delta has several parts."""
        return delta

    def recall(self, state: AdversaryState, delta: Tensor, input_ids: Tensor | None) -> Tensor:
        """The start of a step, given `delta` from `init` and what earlier steps left in `state`.

        Args:
            state: What `remember` kept.
            delta: The start that `init` gave.
            input_ids: `(batch, tokens)` where the batch has them.
        """
        return delta

    def remember(self, state: AdversaryState, delta: Tensor, input_ids: Tensor | None, mask: Tensor) -> None:
        """Keeps in `state` what the next step needs of this one's last `delta`; arguments as in `recall`."""
        return None

    def describe(self) -> dict[str, Any]:
        """Name and hyper-parameters, as JSON scalars, for logs and reports."""
        return {"name": self.name, **asdict(self)}
