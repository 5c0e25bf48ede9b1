"""What a score is, and the scores of all units of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..._sharding import whole
from ...errors import ConfigurationError, TicketError
from ..gates import Gates

NORMALISATIONS = ("none", "l2")


class Score(ABC):
    """What a head or a neuron is worth, read from its coefficient; the higher, the rather it is kept.

    To add one, derive from this class, say what it needs, and call `register_score("name", Class)`.

    Attributes:
        name: The name users type.
        trains_gates: Whether the coefficients have to be trained by the search, and are read once, at the draw.
            Otherwise they stay at one, and the score is a sum over batches of what their gradients give.
        under_attack: Whether the gradient is that of the loss at the end of the adversary's ascent; otherwise it is
            that of the clean loss. Without meaning where the gates are trained: the search says how.
        by_example: Whether the gradients that are read are sums of |dL/dc| over the examples of a batch
            (`ExampleGradients`); otherwise they are the gradient of the batch's mean loss, in which examples that
            pull in opposite directions cancel.
    """

    name: ClassVar[str] = ""
    trains_gates: ClassVar[bool] = False
    under_attack: ClassVar[bool] = False
    by_example: ClassVar[bool] = False

    @abstractmethod
    def of_units(self, gate: Tensor, gradient: Tensor | None) -> Tensor:
        """Scores of the units of one layer; of one batch, unless the gates are trained.

        Args:
            gate: Coefficients of the layer, `(units,)`.
            gradient: dL/dc of the batch's mean loss, or its sum over examples, of the same shape; `None` where the
                gates are trained.

        Returns:
            Scores, of the same shape.
        """


@dataclass(frozen=True)
class UnitScores:
    """The scores of a model.

    Args:
        heads: One vector per layer, shape `(heads of that layer,)`, float32 on the CPU.
        neurons: One vector per layer, shape `(neurons of that layer,)`, likewise.
    """

    heads: Sequence[Tensor]
    neurons: Sequence[Tensor]

    def normalised(self, how: str) -> UnitScores:
        """The same scores on the scale of their layers.

        Args:
            how: `"none"`, or `"l2"`: the scores of a layer's heads divided by their l2 norm, and so the neurons'
                (Michel et al., 2019, section 4.1, after Molchanov et al., 2017). A layer of zeros stays one.

        Raises:
            ConfigurationError: If `how` is neither.
        """
        if how not in NORMALISATIONS:
            raise ConfigurationError(f"expected a normalisation among {', '.join(NORMALISATIONS)}, got {how!r}")
        if how == "none":
            return self
        return UnitScores(
            heads=[_divided(score) for score in self.heads], neurons=[_divided(score) for score in self.neurons]
        )

    def check_finite(self) -> None:
        """Raises TicketError if a score is NaN or infinite."""
        for kind in ("heads", "neurons"):
            if not all(bool(torch.isfinite(score).all()) for score in getattr(self, kind)):
                raise TicketError(
                    f"expected finite scores of the {kind}, got NaN or infinity: the search diverged, lower its "
                    "learning rate"
                )


def score_gates(gates: Gates, score: Score) -> UnitScores:
    """The scores of trained gates, or of one batch whose backward pass has left its gradients in them.

    Args:
        gates: The coefficients; where FSDP2 has sharded them, all ranks must ask together.
        score: What is read from them.

    Raises:
        TicketError: If the score needs gradients and there are none.
    """
    return UnitScores(
        heads=[_of_layer(gate, score).float().cpu() for gate in gates.heads],
        neurons=[_of_layer(gate, score).float().cpu() for gate in gates.neurons],
    )


def _of_layer(gate: Tensor, score: Score) -> Tensor:
    if score.trains_gates or not gate.numel():
        return score.of_units(whole(gate.detach()), None) if score.trains_gates else whole(gate.detach())
    if gate.grad is None:
        raise TicketError(
            f"the score {score.name!r} needs gradients of the gates, got none: run a backward pass first"
        )
    return score.of_units(whole(gate.detach()), whole(gate.grad))


def _divided(scores: Tensor) -> Tensor:
    norm = scores.norm()
    return scores / norm if norm > 0 else scores
