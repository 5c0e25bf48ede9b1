"""InfoBERT: FreeLB with two terms that say which information a model may keep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import ConfigurationError
from ..registry import register_adversary
from ..units import Lengths
from .freelb import FreeLB

# Width of the critic in the authors' code.
_CRITIC_WIDTH = 300


@dataclass(frozen=True)
class InfoBERT(FreeLB):
    """FreeLB; less information about the input in the embeddings, and more about the sentence in its stable words.

    Wang, Wang, Cheng, Gan, Jia, Li and Liu, "InfoBERT: Improving Robustness of Language Models from An Information
    Theoretic Perspective", ICLR 2021. Each pass minimises
    `L(x + delta) + bottleneck_coefficient * bottleneck - anchor_coefficient * anchored_information`:

    - the localised information bottleneck (section 3.2), an upper bound of the information between words and their
      embeddings, see `bottleneck`;
    - the anchored features (section 3.3), a lower bound of the information between the embeddings of some words and
      the sentence's vector (the last layer at the first token), see `anchored_information`. Words are ranked by the
      length of the gradient of delta; those from rank `lowest` to `highest` are to be neither fragile nor useless.

    The defaults are the authors' for adversarial training on ANLI (AI-secure/InfoBERT, ANLI/README.md): three passes,
    step 0.04, start 0.08 (absolute; the relative ones are about as long on BERT-base), no ball, both coefficients
    5e-3, ranks 0.5 to 0.9. The gradient that ranks the words is also the one that delta climbs; it costs one backward
    pass more, without weights. For text encoders, at the embedding.

    Two departures from that code: the bottleneck's expectation over pairs is computed in full instead of one draw, and
    each anchor is compared with all anchors of the micro-batch instead of as many as there are sentences.

    Cost: 4/3 K.
    Trains on: the mean loss of all K passes and two information terms.
    Use when: encoders; it costs memory of batch x tokens x batch x 300 numbers.

    Attributes:
        bottleneck_coefficient: `beta`, weight of the information bottleneck.
        anchor_coefficient: `alpha`, weight of the anchored features.
        lowest: Words below this share of a sentence's ranks are not anchored.
        highest: Nor are those from this share on.
    """

    steps: int = 3
    bottleneck_coefficient: float = 5e-3
    anchor_coefficient: float = 5e-3
    lowest: float = 0.5
    highest: float = 0.9

    name: ClassVar[str] = "infobert"
    lengths: ClassVar[Mapping[str, Lengths]] = {
        "relative": Lengths(0.006, 0.012),
        "absolute": Lengths(0.04, 0.08),
    }

    @property
    def extensions(self) -> tuple[str, ...]:
        """A critic of tokens and sentences."""
        return ("critic",)

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("bottleneck_coefficient", "anchor_coefficient"):
            value = getattr(self, field)
            if not math.isfinite(value) or value < 0:
                raise ConfigurationError(f"InfoBERT: {field} must be finite and not negative, got {value!r}")
        if not 0 <= self.lowest < self.highest <= 1:
            raise ConfigurationError(
                f"InfoBERT: expected 0 <= lowest < highest <= 1, got lowest={self.lowest}, highest={self.highest}"
            )

    @property
    def cost(self) -> float:
        """As in `Adversary.cost`, and a third per pass for the gradient that ranks the words."""
        return super().cost * 4 / 3


def bottleneck(embeddings: Tensor, mask: Tensor) -> Tensor:
    """CLUB's upper bound of the information between words and their embeddings, the embeddings being Gaussian.

    `E_ij ||t_i - t_j||^2 / 2` over all pairs of tokens, which is the sum over the dimensions of their variance (Cheng
    et al., "CLUB: A Contrastive Log-ratio Upper Bound of Mutual Information", ICML 2020, with a Gaussian of variance 1
    around the embedding itself).

    Args:
        embeddings: `(batch, tokens, dim)`.
        mask: `(batch, tokens)`, 1 where there is a token.
    """
    tokens, weights = embeddings.float(), mask.unsqueeze(-1).float()
    count = weights.sum().clamp_min(1)
    mean = (tokens * weights).sum((0, 1)) / count
    return ((tokens - mean) * weights).square().sum() / count


def anchored_tokens(grad: Tensor, mask: Tensor, lowest: float, highest: float) -> Tensor:
    """Which tokens are anchored: those of a sentence's n whose rank by `||grad||` is in [lowest * n, highest * n).

    Args:
        grad: Gradient of the loss with respect to delta, `(batch, tokens, dim)`.
        mask: `(batch, tokens)`.
        lowest: Between 0 and 1.
        highest: Between 0 and 1.

    Returns:
        `(batch, tokens)`, bool.
    """
    lengths = grad.float().norm(dim=-1).masked_fill(~mask.bool(), torch.inf)
    ranks = lengths.argsort(dim=1).argsort(dim=1)
    count = mask.sum(1, keepdim=True).double()
    return mask.bool() & (ranks >= (count * lowest).ceil()) & (ranks < (count * highest).ceil())


def anchored_information(scores: Tensor, anchors: Tensor) -> Tensor:
    """InfoNCE, a lower bound of the information between anchored tokens and the vector of their sentence.

    The mean over the anchors t, with z the vector of the sentence of t, of
    `g(t, z) - log(mean over all anchors t' of exp g(t', z))`.

    Args:
        scores: `g`, `(batch, tokens, sentences)`: of every token with every sentence of the batch.
        anchors: `(batch, tokens)`, bool.

    Returns:
        A scalar; 0 where nothing is anchored.
    """
    scores, count = scores.float(), anchors.sum().clamp_min(1)
    own = scores.diagonal(dim1=0, dim2=2).T
    # What is not anchored is masked, not left out: how much is left would have to be asked of the device.
    ruled_out = torch.finfo(scores.dtype).min
    others = scores.masked_fill(~anchors.unsqueeze(-1), ruled_out).flatten(0, 1).logsumexp(dim=0) - count.log()
    return (own - others.unsqueeze(1)).masked_fill(~anchors, 0.0).sum() / count


class AnchorCritic(nn.Module):
    """`g(t, z) = softplus(w . relu(A t + B z))`: how well a token's embedding and a sentence's vector go together.

    Args:
        dim: Length of both.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.token = nn.Linear(dim, _CRITIC_WIDTH)
        self.sentence = nn.Linear(dim, _CRITIC_WIDTH, bias=False)
        self.score = nn.Linear(_CRITIC_WIDTH, 1)

    def forward(self, tokens: Tensor, sentences: Tensor) -> Tensor:
        """Scores of all pairs.

        Args:
            tokens: `(batch, tokens, dim)`.
            sentences: `(sentences, dim)`.

        Returns:
            `(batch, tokens, sentences)`.
        """
        hidden = (self.token(tokens).unsqueeze(2) + self.sentence(sentences)).relu()
        return F.softplus(self.score(hidden).squeeze(-1))


register_adversary("infobert", InfoBERT)
