"""Scores that are summed over batches, even and odd ones apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import CheckpointError
from ..gates import Gates
from .base import Score, UnitScores, score_gates

_HALVES = ("even", "odd")


class ScoreSums:
    """Adds up a score that is read batch by batch.

    The sums of even and of odd batches are kept apart: two estimates of the same score that share no batch, whose
    agreement says whether there have been enough of them (`SplitHalfDetector`).

    Args:
        score: A score of gradients.

    Attributes:
        batches: How many have been added.

    Example:
        >>> sums = ScoreSums(get_score("taylor"))
        >>> for batch in batches:
        ...     model.zero_grad(); model(**batch).loss.backward(); sums.add(gates)
        >>> ticket = draw_ticket(sums.scores(), head_sparsity=0.5, neuron_sparsity=0.5)
    """

    def __init__(self, score: Score) -> None:
        self.score = score
        self.batches = 0
        self._sums: dict[str, list[Tensor]] = {half: [] for half in _HALVES}
        self._widths: dict[str, list[int]] = {"heads": [], "neurons": []}

    def add(self, gates: Gates) -> None:
        """Adds a batch whose backward pass has left its gradients in the gates.

        Raises:
            TicketError: If there are no gradients, or they give no finite scores.
        """
        scores = score_gates(gates, self.score)
        scores.check_finite()
        layers = [*scores.heads, *scores.neurons]
        if not self.batches:
            self._widths = {"heads": [len(x) for x in scores.heads], "neurons": [len(x) for x in scores.neurons]}
            self._sums = {half: [torch.zeros_like(x) for x in layers] for half in _HALVES}
        for total, score in zip(self._sums[_HALVES[self.batches % 2]], layers, strict=True):
            total += score
        self.batches += 1

    def scores(self) -> UnitScores:
        """The sums over all batches."""
        return self._split([even + odd for even, odd in zip(*self._sums.values())])

    def halves(self) -> tuple[UnitScores, UnitScores]:
        """The sums over even batches, and over odd ones."""
        return self._split(self._sums["even"]), self._split(self._sums["odd"])

    def state_dict(self) -> dict[str, Any]:
        """Everything that has been added, as plain JSON data: float32 in hexadecimal, exact."""
        packed = {half: _pack(self._sums[half]) for half in _HALVES}
        return {"score": self.score.name, "batches": self.batches, "widths": self._widths, **packed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where another object stopped.

        Raises:
            CheckpointError: If the state is of another score, or damaged.
        """
        if state.get("score") != self.score.name:
            raise CheckpointError(f"expected sums of the score {self.score.name!r}, got {state.get('score')!r}")
        try:
            widths = {kind: [int(width) for width in state["widths"][kind]] for kind in ("heads", "neurons")}
            layers = [*widths["heads"], *widths["neurons"]]
            sums = {half: _unpack(state[half], layers) for half in _HALVES}
            batches = int(state["batches"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"expected sums of scores, got damaged ones ({error})") from error
        self.batches, self._widths, self._sums = batches, widths, sums

    def _split(self, layers: list[Tensor]) -> UnitScores:
        depth = len(self._widths["heads"])
        return UnitScores(heads=layers[:depth], neurons=layers[depth:])


def _pack(layers: list[Tensor]) -> str:
    return b"".join(layer.numpy().astype("<f4").tobytes() for layer in layers).hex()


def _unpack(packed: str, widths: list[int]) -> list[Tensor]:
    content = np.frombuffer(bytes.fromhex(packed), dtype="<f4")
    if len(content) != sum(widths):
        raise ValueError(f"expected {sum(widths)} scores, got {len(content)}")
    return list(torch.from_numpy(content.astype(np.float32)).split(widths)) if widths else []
