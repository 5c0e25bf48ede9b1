"""ALUM: adversarial training for large neural language models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..geometry import normalized
from ..registry import register_adversary
from ..regularizer import Regularizer
from ..units import Lengths


@dataclass(frozen=True)
class ALUM(Regularizer):
    """Virtual adversarial regularisation of fine-tuning, one small step in an linf ball.

    Liu, Cheng, He, Chen, Wang, Poon and Gao, "Adversarial Training for Large Neural Language Models", 2020
    (arXiv:2004.08994), algorithm 1: `L(f(x), y) + alpha * max l(f(x + delta), f(x))` with the symmetric
    Kullback-Leibler divergence. The defaults are the paper's for fine-tuning: one ascent of 1e-3, normal start and
    radius of 1e-5 (absolute; the relative ones are as long where the entries of embeddings are of size 0.05, as in
    BERT-base), `alpha` = 1 (10 in pre-training). It is `SMART` without the proximal term. Algorithm 1 adds
    `step_size * g`; the gradient is divided by its largest entry here, as in the authors' code (namisan/mt-dnn) and
    in SMART. That code does not project (`max_norm=0`).

    Cost: 2 + 2/3.
    Trains on: the clean loss and the divergence after one small step, without labels.
    Use when: smoothness, semi-supervised data.
    """

    steps: int = 1
    norm: str = "linf"

    name: ClassVar[str] = "alum"
    lengths: ClassVar[Mapping[str, Lengths]] = {
        "relative": Lengths(2e-2, 2e-4, 2e-4),
        "absolute": Lengths(1e-3, 1e-5, 1e-5),
    }

    def _direction(self, grad: Tensor) -> Tensor:
        return normalized(grad, self.norm, self.scope)


register_adversary("alum", ALUM)
