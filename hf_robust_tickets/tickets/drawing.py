"""From scores to a ticket."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .._arguments import check_arguments
from ..errors import ConfigurationError, SparsityError, TicketError
from .gates import Gates
from .scores import GateScore, UnitScores, score_gates
from .ticket import RobustTicket

_SCOPES = ("global", "layer")
ALIGNED = 16
"""The default of `round_to`."""


@check_arguments
def draw_ticket(
    gates: Gates | UnitScores,
    head_sparsity: float = 1 / 6,
    neuron_sparsity: float = 0.4,
    head_scope: str = "global",
    neuron_scope: str = "global",
    round_to: int = ALIGNED,
    keep_one: bool = True,
) -> RobustTicket:
    """Keeps the heads and neurons of the highest scores: of trained gates, their magnitude (EarlyRobust, section 3.3).

    Args:
        gates: The coefficients that a search has trained, or scores of another kind (`ScoreSums.scores`).
        head_sparsity: Fraction of the heads to remove, in [0, 1).
        neuron_sparsity: Fraction of the neurons to remove, in [0, 1).
        head_scope: `"global"`: rank all layers together; `"layer"`: each layer loses the same fraction.
        neuron_scope: The same for neurons.
        round_to: Every layer keeps a multiple of this many neurons: its count is rounded up, by giving back the best
            of those removed, but never above the neurons it has. Heads are not rounded. 16 are what a tensor core
            multiplies at once in half precision; some kernels are faster still at multiples of 64. 1 keeps what the
            sparsity says.
        keep_one: Whether a layer left without heads, or without neurons, gets its best one back; otherwise pruning
            removes that attention or feed-forward block as a whole.

    Returns:
        The ticket. Globally, exactly `floor(sparsity * total)` entries go, smallest first and the earlier one on a
        tie; then, with `keep_one`, each layer left empty gets its best entry back. Per layer, `floor(sparsity *
        width)` go. A product within 1e-4 of an integer means that integer: 0.333333 of 12 heads are 4, as in
        EarlyBERT.

    Raises:
        SparsityError: If a sparsity is outside [0, 1).
        ConfigurationError: If a scope or `round_to` is none of the above, or rounding gives back all neurons.
        TicketError: If a score is not finite, or all heads or neurons of which some have to go have the same.
    """
    scores = score_gates(gates, GateScore()) if isinstance(gates, Gates) else gates
    scores.check_finite()
    ticket = RobustTicket(
        heads=select(scores.heads, head_sparsity, head_scope, keep_one=keep_one),
        neurons=select_neurons(scores.neurons, neuron_sparsity, neuron_scope, round_to, keep_one),
    )
    _check_differ(scores, ticket)
    return ticket


def select(
    scores: Sequence[torch.Tensor],
    sparsity: float,
    scope: str = "global",
    round_to: int = 1,
    keep_one: bool = True,
) -> list[torch.Tensor]:
    """Boolean masks, one per layer, that keep the highest scores; the rules are those of `draw_ticket`.

    Raises:
        SparsityError: If the sparsity is outside [0, 1).
        ConfigurationError: If the scope or `round_to` is unknown.
    """
    if not 0 <= sparsity < 1:  # also refuses NaN
        raise SparsityError(f"expected a sparsity in [0, 1), got {sparsity}")
    if scope not in _SCOPES:
        raise ConfigurationError(f"expected a scope among {', '.join(_SCOPES)}, got {scope!r}")
    if not isinstance(round_to, int) or round_to < 1:
        raise ConfigurationError(f"expected round_to to be an integer of at least 1, got {round_to!r}")
    if scope == "global":
        flat = _keep_highest(torch.cat(list(scores)), sparsity)
        masks = [mask.clone() for mask in flat.split([len(score) for score in scores])]
    else:
        masks = [_keep_highest(score, sparsity) for score in scores]
    return [_round_up(mask, score, round_to, int(keep_one)) for mask, score in zip(masks, scores)]


def select_neurons(
    scores: Sequence[torch.Tensor], sparsity: float, scope: str, round_to: int, keep_one: bool
) -> list[torch.Tensor]:
    """As `select`, but rounding may not undo the whole cut.

    Raises:
        ConfigurationError: If it does: the layers are not wider than `round_to`.
    """
    masks = select(scores, sparsity, scope, round_to, keep_one)
    widths = [len(mask) for mask in masks]
    if round_to > 1 and _removed(sparsity, sum(widths)) and all(bool(mask.all()) for mask in masks):
        raise ConfigurationError(
            f"expected round_to to leave something to cut, got {round_to}, which gives back all that "
            f"neuron_sparsity={sparsity:g} cuts of layers of {min(widths)} to {max(widths)} neurons: use round_to=1"
        )
    return masks


def _check_differ(scores: UnitScores, ticket: RobustTicket) -> None:
    for kind in ("heads", "neurons"):
        flat, kept = torch.cat(list(getattr(scores, kind))), torch.cat(getattr(ticket, kind))
        if len(flat) > 1 and not kept.all() and bool((flat == flat[0]).all()):
            raise TicketError(
                f"expected scores of the {kind} that differ, got {len(flat)} times {flat[0].item():g}: which of them "
                "go would be chance; gates are trained before a ticket is drawn, at a rate at which they do not all "
                "reach zero, and first-order scores need a loss that depends on them"
            )


def _keep_highest(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    keep = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
    keep[scores.argsort(stable=True)[: _removed(sparsity, len(scores))]] = False
    return keep


def _removed(sparsity: float, total: int) -> int:
    nearest = round(sparsity * total)
    # 0.29 * 100 is 28.999999999999996 in floating point, and thirds are typed as 0.333333. Never all of them.
    if nearest < total and math.isclose(sparsity * total, nearest, rel_tol=0, abs_tol=1e-4):
        return nearest
    return math.floor(sparsity * total)


def _round_up(mask: torch.Tensor, scores: torch.Tensor, multiple: int, least: int) -> torch.Tensor:
    """Gives back the best removed entries until `least`, and a multiple of `multiple` where possible, are kept."""
    kept = int(mask.sum())
    wanted = min(math.ceil(max(kept, least) / multiple) * multiple, len(mask))
    # Kept entries first, then removed ones by score; the later one on a tie, since the earlier one goes first.
    order = torch.where(mask, torch.inf, scores).flip(0).argsort(descending=True, stable=True)
    rounded = torch.zeros_like(mask)
    rounded[len(mask) - 1 - order[:wanted]] = True
    return rounded
