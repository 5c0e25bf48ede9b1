"""N:M patterns: of each group of M weights along the input side, N are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import SparsityError
from .mask import Masks


class Pattern(NamedTuple):
    """A density that holds in every group of weights, such as 2:4.

    Attributes:
        kept: Weights of a group that are kept.
        group: Weights in a group, neighbours along the inputs (of a convolution: along its input channels).
    """

    kept: int
    group: int


def parse_pattern(density: object) -> Pattern | None:
    """The pattern that a density such as `"2:4"` names; None for a density that is no text.

    Raises:
        SparsityError: If the text names none.
    """
    if not isinstance(density, str):
        return None
    kept, _, group = density.partition(":")
    if not (kept.isdecimal() and group.isdecimal() and 0 < int(kept) < int(group)):
        raise SparsityError(
            f"density must be in (0, 1) or a pattern N:M with 0 < N < M, got {density!r}: such as 0.2 or '2:4'"
        )
    return Pattern(int(kept), int(group))


def pattern_masks(scores: Mapping[str, Tensor], pattern: Pattern) -> Masks:
    """Keeps the highest scores of each group; the first ones on a tie.

    Args:
        scores: Parameter name -> score of each weight, outputs first, inputs second.
        pattern: How many of how many.

    Raises:
        SparsityError: If the inputs of a layer do not divide into groups.
    """
    return {name: pattern_mask(score, pattern, name) for name, score in scores.items()}


def pattern_mask(score: Tensor, pattern: Pattern, name: str = "the weight") -> Tensor:
    """The mask of one layer; see `pattern_masks`."""
    if score.shape[1] % pattern.group:
        raise SparsityError(
            f"the pattern {pattern.kept}:{pattern.group} needs a multiple of {pattern.group} inputs, got "
            f"{score.shape[1]} in {name}: exclude that layer"
        )
    score = score.detach().to(torch.promote_types(torch.float32, score.dtype))
    groups = score.movedim(1, -1).unflatten(-1, (-1, pattern.group))
    best = groups.argsort(dim=-1, descending=True, stable=True)[..., : pattern.kept]
    mask = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, best, True)
    return mask.flatten(-2).movedim(-1, 1).contiguous()


def follows_pattern(weight: Tensor, pattern: Pattern) -> bool:
    """Whether no group of a weight has more than `pattern.kept` entries that are not zero."""
    if weight.shape[1] % pattern.group:
        return False
    groups = (weight.detach() != 0).movedim(1, -1).unflatten(-1, (-1, pattern.group))
    return bool((groups.sum(-1) <= pattern.kept).all())
