"""Flying Bird: masks of constant density that move while the model trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import ConfigurationError
from .base import REGULAR, Decision, LayerUpdate, SparseMethod, generator, random_masks, register_sparse_method
from .density import TOLERANCE, count_up
from .mask import Masks
from .pattern import parse_pattern, pattern_mask
from .static import check_distribution

GROWTHS = ("gradient", "random")


@dataclass(frozen=True)
class FlyingBird(SparseMethod):
    """Drops the smallest weights and grows as many where the adversarial loss is steepest, every `period` steps.

    Chen et al., "Sparsity Winning Twice: Better Robust Generalization from More Efficient Training", ICLR 2022,
    section 3.2: RigL (Evci et al., ICML 2020) under adversarial training. After step t of T, per layer of `n` kept
    weights,

        d    = d_end + (d_start - d_end) (1 + cos(pi t / T)) / 2
        drop   the ceil(d n) weights of smallest magnitude
        grow   as many, where |gradient of the loss| is largest (or at random), among all that are not kept now

    Grown weights start at zero, with a zero optimiser state. A weight that is dropped and grown again in the same
    update has never been away: it keeps its value and its state, unless `reset_regrown`. A layer that is dense has
    nothing to explore and is left as it is. With a pattern such as 2:4 for a density, each group grows as many as it
    has lost.

    Cost: one selection per layer every `period` steps, whose gradient is dense.
    Use when: the density is given, and the masks are to follow the attack.

    Attributes:
        init: Distribution of the density over layers at the start, at random positions; see `kept_per_layer`.
        drop_fraction: `d_start`, in (0, 1).
        period: Optimiser steps between two updates.
        growth: `"gradient"` (the paper) or `"random"` (what its released code does by default).
        final_drop_fraction: `d_end`, in [0, `drop_fraction`].
        second_period: Period in the second half of the training (the paper's dynamic frequency: 1200 after 900); None
            for the same.
        reset_regrown: Whether weights that are dropped and grown again in the same update start at zero too. False is
            what the released code does (it applies the masks after growth alone) and RigL's (`reinit_when_same`);
            the papers do not say.

    Example:
        >>> AdversarialTrainer(model, args, callbacks=[SparseTrainingCallback(FlyingBird(density=0.1))], ...)
    """

    init: str = "igq"
    drop_fraction: float = 0.5
    period: int = 900
    growth: str = "gradient"
    final_drop_fraction: float = 0.005
    second_period: int | None = None
    reset_regrown: bool = False

    name: ClassVar[str] = "flying-bird"

    def __post_init__(self) -> None:
        super().__post_init__()
        title = type(self).__name__
        check_distribution(self.init, f"{title}: init")
        if not 0 < self.drop_fraction < 1:
            raise ConfigurationError(f"{title}: drop_fraction must be in (0, 1), got {self.drop_fraction}")
        if not 0 <= self.final_drop_fraction <= self.drop_fraction:
            raise ConfigurationError(
                f"{title}: final_drop_fraction must be in [0, drop_fraction], got {self.final_drop_fraction}"
            )
        for option in ("period", "second_period"):
            value = getattr(self, option)
            if (value is not None or option == "period") and (type(value) is not int or value < 1):
                raise ConfigurationError(f"{title}: {option} must be a number of steps of at least 1, got {value!r}")
        if self.growth not in GROWTHS:
            raise ConfigurationError(f"{title}: growth must be one of {', '.join(GROWTHS)}, got {self.growth!r}")
        if not isinstance(self.reset_regrown, bool):
            raise ConfigurationError(f"{title}: reset_regrown must be True or False, got {self.reset_regrown!r}")

    def initial_masks(self, weights: Mapping[str, Tensor], seed: int) -> Masks:
        """Random positions, exact counts by `init`."""
        return random_masks(weights, self.density, self.init, seed)

    def is_update_step(self, step: int, max_steps: int) -> bool:
        """Every `period` steps, in the second half every `second_period`."""
        second_half = step > max_steps / 2
        period = self.second_period if second_half and self.second_period is not None else self.period
        return step % period == 0

    @property
    def grows_by_gradient(self) -> bool:
        """Whether growth looks at the gradient of masked weights."""
        return self.growth == "gradient"

    def drop_fraction_at(self, step: int, max_steps: int) -> float:
        """The cosine schedule's d after `step` of `max_steps`."""
        cosine = (1 + math.cos(math.pi * min(1.0, step / max_steps))) / 2
        return self.final_drop_fraction + (self.drop_fraction - self.final_drop_fraction) * cosine

    def counts(self, kept: int, size: int, fraction: float, decision: Decision) -> tuple[int, int]:
        """How many weights of a layer are dropped and grown.

        Args:
            kept: Weights of the layer that are kept now.
            size: All its weights.
            fraction: The schedule's d.
            decision: Not looked at: the density is constant.
        """
        if kept == size:
            return 0, 0
        dropped = count_up(fraction * kept)
        return dropped, dropped

    def update_layer(
        self,
        weight: Tensor,
        mask: Tensor,
        gradient: Tensor | None,
        fraction: float,
        decision: Decision = REGULAR,
        seed: tuple[int, ...] = (0,),
    ) -> LayerUpdate:
        """Drops and grows in one layer.

        Args:
            weight: The weight, of any shape, zero where it is masked.
            mask: BoolTensor of its shape, True = kept.
            gradient: Gradient of the loss with respect to all of it, masked or not; None with random growth.
            fraction: The schedule's d.
            decision: What records ask for.
            seed: Seed and position of random growth.
        """
        drop, grow = self.counts(int(mask.sum()), mask.numel(), fraction, decision)
        # Flat and in the order of the indices: weights of any memory format have their elements in the same order.
        survivors = mask.flatten().clone()
        if drop:
            magnitude = weight.detach().abs().float().masked_fill(~mask, torch.inf).flatten()
            survivors[magnitude.topk(drop, largest=False, sorted=False).indices] = False
        grown = survivors.clone()
        pattern = parse_pattern(self.density)
        if grow:
            if self.growth == "random":
                score = torch.rand(mask.shape, generator=generator(*seed)).to(mask.device)
            else:
                score = gradient.detach().abs().float()
            if pattern is not None:  # each group grows what it has lost
                kept = survivors.view(mask.shape)
                return LayerUpdate(kept, pattern_mask(score.masked_fill(kept, torch.inf), pattern))
            score = score.flatten().masked_fill(survivors, -1.0)
            grown[score.topk(grow, sorted=False).indices] = True
        return LayerUpdate(survivors.view(mask.shape), grown.view(mask.shape))


@dataclass(frozen=True)
class RigL(FlyingBird):
    """RigL under the standard loss: the control that shows what the adversarial growth gradient is worth.

    Evci et al., "Rigging the Lottery: Making All Tickets Winners", ICML 2020, with their constants: ERK densities, a
    drop fraction of 0.3 that falls to 0 at 75 % of the training, updates every 100 steps until then. In an adversarial
    training the steps before an update are attacked, and the step of the update itself is not: its gradient is that of
    the standard loss.

    Cost: as `flying-bird`.
    Use when: a control: what the adversarial growth gradient is worth.

    Attributes:
        stop: Fraction of the training after which masks stay as they are.
    """

    init: str = "erk"
    drop_fraction: float = 0.3
    period: int = 100
    final_drop_fraction: float = 0.0
    stop: float = 0.75

    name: ClassVar[str] = "rigl"
    under_standard_loss: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.stop <= 1:
            raise ConfigurationError(f"RigL: stop must be a fraction in (0, 1], got {self.stop}")

    def is_update_step(self, step: int, max_steps: int) -> bool:
        """Every `period` steps, until `stop`."""
        return step < self.stop * max_steps - TOLERANCE and super().is_update_step(step, max_steps)

    def drop_fraction_at(self, step: int, max_steps: int) -> float:
        """The cosine schedule's d, which ends at `stop`."""
        return super().drop_fraction_at(step, max(1, round(self.stop * max_steps)))


register_sparse_method(FlyingBird.name, FlyingBird)
register_sparse_method(RigL.name, RigL)
