"""HotFlip: tokens exchanged for near ones by the gradient, and one step uphill from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ...errors import ConfigurationError
from ..registry import register_adversary
from ..units import Lengths
from .fgm import FGM


@dataclass(frozen=True)
class HotFlip(FGM):
    r"""One pass on the text as it is, one on a text whose tokens the gradient has exchanged and moved uphill.

    Ebrahimi, Rao, Lowd and Dou, "HotFlip: White-Box Adversarial Examples for Text Classification", ACL 2018, section
    3: to first order, exchanging token i for c changes the loss by $(E_c - E_{x_i})^\top g_i$, with $g_i$ the gradient
    with respect to its embedding (equation 10). From the gradient of the first, clean pass the best of the
    `candidates` nearest tokens is found for every token; the `rate` of a sentence's tokens that promise most are
    exchanged, all at once, where the loss is to rise. Training on one clean and one such text per sentence is what
    A2T does for the words of TextFooler (Yoo and Qi, "Towards Improving Adversarial Training of NLP Models", Findings
    of EMNLP 2021).

    What differs from both: candidates are neighbours in the model's own table of embeddings (by cosine, among tokens
    of letters), so that no list of synonyms, and no resource of an attack, is needed; not every token takes part in
    every step (`chance`), which keeps training from meeting one exchange alone; and what has not been exchanged is not
    left as it was: all embeddings move by `step_size` along the same gradient (`FGM`).

    An example is attacked as far as the model is sure of its truth (`FGM.adaptive`, 1 here): its share is that of the
    rate and of the step.

    Two passes, of weight 1/2 each (`clean_share`). The perturbation that `max_norm` and the log's
    `adversary_delta_norm` speak of is the step along the gradient; exchanged tokens are other tokens.

    Attributes:
        rate: Share of a sentence's tokens that are exchanged at most, in (0, 1].
        candidates: Nearest tokens that each may be exchanged for.
        chance: Probability with which a token takes part in a step.
        clean_share: Weight of the clean pass in what trains the weights, in [0, 1). With 0 it is only climbed on,
            which costs two thirds of a pass.

    Cost: 2; 1 + 2/3 at a `clean_share` of 0.
    Trains on: the mean loss of the text, and of the text with tokens exchanged and moved.
    Use when: attacks replace or misspell words, and two passes are all there is to spend.

    Example:
        >>> AdversarialTrainer(model, args, adversary=HotFlip(rate=0.3), processing_class=tokenizer)
    """

    adaptive: float = 1.0
    rate: float = 0.3
    candidates: int = 12
    chance: float = 0.7
    clean_share: float = 0.5

    name: ClassVar[str] = "hotflip"
    lengths: ClassVar[Mapping[str, Lengths]] = {
        "relative": Lengths(0.05),
        "absolute": Lengths(0.25),
    }
    extensions: ClassVar[tuple[str, ...]] = ("token-exchange",)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rate", "chance"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigurationError(f"HotFlip: {name} must be in (0, 1], got {getattr(self, name)}: e.g. 0.3")
        if not 0 <= self.clean_share < 1:
            raise ConfigurationError(f"HotFlip: clean_share must be in [0, 1), got {self.clean_share}: e.g. 0.5")
        if self.candidates < 1:
            raise ConfigurationError(f"HotFlip: candidates must be at least 1, got {self.candidates}: e.g. 12")

    def scaled(self, factor: float) -> Self:
        """The same method with its lengths, and the share of tokens that are exchanged, times `factor`."""
        scaled = super().scaled(factor)
        return scaled if factor == 1 else replace(scaled, rate=self.rate * factor)

    def loss_weight(self, k: int) -> float:
        """`clean_share` for the clean text, the rest for the exchanged one."""
        return self.clean_share if k == 0 else 1 - self.clean_share


register_adversary("hotflip", HotFlip)
