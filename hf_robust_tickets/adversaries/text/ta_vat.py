"""TA-VAT: token-aware virtual adversarial training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...errors import ConfigurationError
from ..base import AdversaryState
from ..geometry import expand_mask, norm_of, shrinkage, steepest_direction, uniform_start
from ..registry import register_adversary
from ..units import Lengths
from .freelb import FreeLB


@dataclass(frozen=True)
class TAVAT(FreeLB):
    """FreeLB with a second perturbation per token, which starts from what that word's last one was.

    Li and Qiu, "Token-Aware Virtual Adversarial Training in Natural Language Understanding", AAAI 2021
    (arXiv:2004.14543), algorithm 1: beside the sentence's perturbation, one vector per vocabulary entry is kept over
    all of training. A step starts from those of its words, and moves token i by
    `eta_i <- n_i * (eta_i + step_size * g_i / ||g_i||)`, with the token-level constraint
    `n_i = ||eta_i|| / max_j ||eta_j||` over the sentence; then both parts are multiplied by the one factor that brings
    their sum into the ball, as in the authors' code (LinyangLee/Token-Aware-VAT). The absolute defaults are
    those of its command for SST-2, the relative ones about as long on BERT-base.

    That code departs from the algorithm, and this class does not follow it there: it weighs each pass by 1 instead of
    1/K; it scales the remembered perturbations of a batch to a joint norm of 1 before they are used; it adds the last
    ones to what the vocabulary held, those of a word that stands more than once all together, where this class puts
    their mean in its place.

    Delta has two parts, `(2, batch, tokens, dim)`: the sentence's and the tokens'. `scope` speaks of the ball and of
    the sentence's part.

    Cost: K.
    Trains on: the mean loss of all K passes, with a perturbation per word that is remembered.
    Use when: text whose words matter one by one.
    """

    steps: int = 2

    name: ClassVar[str] = "ta-vat"
    lengths: ClassVar[Mapping[str, Lengths]] = {
        "relative": Lengths(7e-3, 0.03, 0.07),
        "absolute": Lengths(5e-2, 0.2, 0.5),
    }
    remembers: ClassVar[str | None] = "run"

    def new_state(self, module: nn.Module | None, device: torch.device) -> AdversaryState:
        """No word is known yet: `vocabulary`, `(words, dim)`, and `known`, `(words,)`.

        Raises:
            ConfigurationError: If the module does not say how many words there are.
        """
        if not hasattr(module, "num_embeddings") or not hasattr(module, "embedding_dim"):
            raise ConfigurationError(
                "TA-VAT keeps a perturbation per word, expected input embeddings with num_embeddings and "
                f"embedding_dim, got {type(module).__name__}: derive them from nn.Embedding, or use freelb"
            )
        size = (module.num_embeddings, module.embedding_dim)
        return {
            "vocabulary": torch.zeros(size, dtype=torch.float32, device=device),
            "known": torch.zeros(size[0], dtype=torch.bool, device=device),
        }

    def init(self, x: Tensor, mask: Tensor) -> Tensor:
        """Random starts of both parts, `(2, batch, tokens, dim)`; `recall` replaces the tokens' by the remembered."""
        sentence = super().init(x, mask)
        return torch.stack([sentence, uniform_start(x, mask, self.init_magnitude, self.norm, "token")])

    def added(self, delta: Tensor) -> Tensor:
        """The sum of both parts."""
        return delta[0] + delta[1]

    def ascend(self, delta: Tensor, grad: Tensor, mask: Tensor) -> Tensor:
        """One step of both parts; `delta` and `grad` are `(2, batch, tokens, dim)`."""
        seen = expand_mask(mask, grad[0])
        sentence = delta[0] + self.step_size * steepest_direction(grad[0] * seen, self.norm, self.scope)
        tokens = delta[1] + self.step_size * steepest_direction(grad[1] * seen, self.norm, "token")
        sizes = norm_of(tokens, self.norm, "token")
        tokens = tokens * sizes / sizes.amax(dim=1, keepdim=True).clamp_min(1e-8)
        factor = shrinkage(sentence + tokens, self.max_norm, self.norm, self.scope)
        return (torch.stack([sentence, tokens]) * factor).detach()

    def recall(self, state: AdversaryState, delta: Tensor, input_ids: Tensor | None) -> Tensor:
        """Puts the remembered perturbations of the batch's words in the tokens' part; new words keep their start."""
        ids = self._ids(input_ids, delta)
        seen = state["known"][ids].unsqueeze(-1)
        return torch.stack([delta[0], torch.where(seen, state["vocabulary"][ids].to(delta.dtype), delta[1])])

    def remember(self, state: AdversaryState, delta: Tensor, input_ids: Tensor | None, mask: Tensor) -> None:
        """Keeps the mean perturbation of every word of the batch."""
        table, ids = state["vocabulary"], self._ids(input_ids, delta).flatten()
        tokens, weights = delta[1].flatten(0, 1).to(table.dtype), mask.flatten().to(table.dtype)
        counts = torch.zeros(len(table), dtype=table.dtype, device=table.device).index_add_(0, ids, weights)
        # Only the batch's rows are touched, and how many words these are is not asked: that would wait for the device.
        share = (weights / counts[ids].clamp_min(1)).unsqueeze(-1)
        table.index_add_(0, ids, share * (tokens - table[ids]))
        state["known"].logical_or_(counts > 0)

    @staticmethod
    def _ids(input_ids: Tensor | None, delta: Tensor) -> Tensor:
        if input_ids is None or input_ids.numel() != delta.shape[1] * delta.shape[2]:
            shape = None if input_ids is None else tuple(input_ids.shape)
            raise ConfigurationError(
                f"TA-VAT needs the input_ids of the tokens it perturbs, {tuple(delta.shape[1:3])}, got {shape}: use "
                "it on text models, with adversary_layer=0"
            )
        return input_ids.reshape(delta.shape[1:3])


register_adversary("ta-vat", TAVAT)
