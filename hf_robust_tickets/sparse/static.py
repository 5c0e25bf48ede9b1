"""Controls: masks that are chosen once, at the start, and never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import ConfigurationError
from .base import SparseMethod, global_masks, random_masks, register_sparse_method
from .density import DISTRIBUTIONS
from .mask import Masks, check_masks
from .packing import fingerprint_of_masks
from .scored import ScoredMethod


def check_distribution(distribution: str, title: str) -> None:
    """Refuses an unknown distribution of densities with a ConfigurationError."""
    if distribution not in DISTRIBUTIONS:
        raise ConfigurationError(f"{title} must be one of {', '.join(DISTRIBUTIONS)}, got {distribution!r}")


@dataclass(frozen=True)
class Dense(SparseMethod):
    """Keeps every weight: the dense control, with the same records as the others.

    Cost: that of dense training.
    Use when: a control.
    """

    density: float = 1.0

    name: ClassVar[str] = "dense"

    def __post_init__(self) -> None:
        if self.density != 1:
            raise ConfigurationError(f"Dense keeps all weights, got density={self.density}: use RandomMask")

    def initial_masks(self, weights: Mapping[str, Tensor], seed: int) -> Masks:
        """All True."""
        return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}


@dataclass(frozen=True)
class RandomMask(SparseMethod):
    """Static random masks (Liu et al., "The Unreasonable Effectiveness of Random Pruning", ICLR 2022).

    Cost: none.
    Use when: a control.

    Attributes:
        init: Distribution of the density over layers; see `kept_per_layer`.
    """

    init: str = "erk"

    name: ClassVar[str] = "random"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_distribution(self.init, "RandomMask: init")

    def initial_masks(self, weights: Mapping[str, Tensor], seed: int) -> Masks:
        """Random positions, exact counts."""
        return random_masks(weights, self.density, self.init, seed)


@dataclass(frozen=True)
class OneShotMagnitude(SparseMethod):
    """Keeps the weights of largest magnitude of all layers together, as they are at the start.

    For a pretrained model: of random weights it knows nothing but the scale of their layer.

    Cost: one selection, once.
    Use when: a pretrained model that is masked once, without a look at the data.
    """

    name: ClassVar[str] = "magnitude"

    def initial_masks(self, weights: Mapping[str, Tensor], seed: int) -> Masks:
        """The largest magnitudes."""
        return global_masks({name: weight.detach().abs() for name, weight in weights.items()}, self.density)


@dataclass(frozen=True)
class SNIP(ScoredMethod):
    """Keeps the weights whose removal would change the loss most: `|w * g|` (Lee et al., SNIP, ICLR 2019).

    `g` is the gradient of the training loss in the first step, before the optimiser moves anything: of the adversarial
    loss where training is adversarial.

    Cost: one dense step.
    Use when: static masks at once, from the loss of the training.
    """

    name: ClassVar[str] = "snip"

    def score(self, weights: Mapping[str, Tensor], derivatives: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`|w * g|`; see `ScoredMethod.score`."""
        return {name: (w.detach() * derivatives[name]).abs() for name, w in weights.items()}


@dataclass(frozen=True, eq=False, init=False)
class FixedMasks(SparseMethod):
    """Masks from elsewhere: drawn before, loaded with `load_masks`, or those of another training.

    A checkpoint holds the masks once, beside the weights; what `describe` gives is their fingerprint, with which a
    training that started from them is resumed, and no other one.

    Cost: none.
    Use when: masks were found before, or come from elsewhere.

    Attributes:
        masks: Parameter name -> BoolTensor of its shape.
        fingerprint: Of the masks; given alone, the training can only be resumed.
    """

    density: float = 1.0
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    fingerprint: str = ""

    name: ClassVar[str] = "fixed"

    def __init__(
        self, masks: Mapping[str, Tensor] | None = None, *, fingerprint: str = "", density: float = 1.0
    ) -> None:
        if not masks and not fingerprint:
            raise ConfigurationError("FixedMasks needs masks, got none: pass callback.masks, or load_masks(path)")
        masks = dict(masks or {})
        if masks:
            kept = sum(int(mask.sum()) for mask in masks.values())
            fingerprint = fingerprint_of_masks(masks)
            density = kept / sum(mask.numel() for mask in masks.values())
        for option, value in (("density", density), ("masks", masks), ("fingerprint", fingerprint)):
            object.__setattr__(self, option, value)

    def initial_masks(self, weights: Mapping[str, Tensor], seed: int) -> Masks:
        """The given masks.

        Raises:
            TicketError: If they are for another model.
            ConfigurationError: If there is their fingerprint alone.
        """
        if not self.masks:
            raise ConfigurationError(
                "FixedMasks has the fingerprint of its masks alone, which starts no training: pass masks"
            )
        check_masks(self.masks, weights)
        return {name: self.masks[name].to(weight.device) for name, weight in weights.items()}

    def describe(self) -> dict[str, Any]:
        """Name, density and fingerprint; not the masks, which would be in every checkpoint twice."""
        return {"name": self.name, "density": self.density, "fingerprint": self.fingerprint}


for _method in (Dense, RandomMask, OneShotMagnitude, SNIP, FixedMasks):
    register_sparse_method(_method.name, _method)
