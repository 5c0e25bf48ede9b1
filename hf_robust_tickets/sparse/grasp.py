"""GraSP: a static mask that preserves the flow of the gradient through a network that is not trained yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .base import register_sparse_method
from .scored import ScoredMethod


@dataclass(frozen=True)
class GraSP(ScoredMethod):
    """Drops the weights without which the norm of the gradient falls least, or grows.

    Wang, Zhang and Grosse, "Picking Winning Tickets Before Training by Preserving Gradient Flow", ICLR 2020, equation
    8: with g the gradient of the loss with respect to the maskable weights and H its Hessian, removing the weight w
    changes the squared norm of g, to first order, by twice

        S(w) = - w * (H g)

    and the weights of the largest S go. So `w * (H g)` is the score of those that are kept.

    g and H are those of the *standard* loss on the first batch (all of its micro-batches, on all ranks), without
    dropout; norms over the batch see the batch. In an adversarial training the first step is therefore not attacked.
    It costs two gradients and one product with the Hessian, once; in memory, the graph of one gradient. The authors
    divide the logits by 200 first; here the loss is that of the training.

    Cost: two gradients and one product with the Hessian, once.
    Use when: networks before training, at high sparsity.
    """

    name: ClassVar[str] = "grasp"
    by_curvature: ClassVar[bool] = True
    under_standard_loss: ClassVar[bool] = True

    def score(self, weights: Mapping[str, Tensor], derivatives: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`w * (H g)`; see `ScoredMethod.score`."""
        return {name: (w.detach() * derivatives[name]).float() for name, w in weights.items()}


register_sparse_method(GraSP.name, GraSP)
