"""Random tickets, the controls: of the same sparsity, of a ticket's own counts per layer, of equal parameters."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from operator import attrgetter

import torch
from torch import nn

from .._arguments import check_arguments
from ..architectures import UnitGroup, get_architecture
from ..errors import ConfigurationError, TicketError
from .drawing import ALIGNED, select, select_neurons
from .ticket import RobustTicket

_MATCHES = ("counts", "parameters")
_SIZES = ("head_sparsity", "neuron_sparsity", "head_scope", "neuron_scope", "round_to")


@check_arguments
def random_ticket(
    model: nn.Module,
    head_sparsity: float = 1 / 6,
    neuron_sparsity: float = 0.4,
    head_scope: str = "global",
    neuron_scope: str = "global",
    seed: int = 0,
    round_to: int = ALIGNED,
    keep_one: bool = True,
    *,
    like: RobustTicket | None = None,
    match: str = "counts",
) -> RobustTicket:
    """The control: a ticket of the same size with random entries.

    Against a ticket of the same counts per layer, what is compared is which heads and neurons of a layer were chosen;
    against one of equal parameters, also how many of each layer.

    Args:
        model: The model that it is for, dense or pruned.
        head_sparsity: As in `draw_ticket`, and so are the following; not together with `like`.
        neuron_sparsity: See above.
        head_scope: See above.
        neuron_scope: See above.
        seed: Equal seeds give equal tickets; the global generators are not touched.
        round_to: See above.
        keep_one: See above; with `like` it bears on `match="parameters"` alone.
        like: A ticket of this model whose size the random one has.
        match: What it shares with `like`: `"counts"`, the number of heads and of neurons that each layer keeps;
            `"parameters"`, the parameters of all heads and of all neurons that go, wherever they are. Where layers
            differ in width they agree to within one unit.

    Raises:
        SparsityError: If a sparsity is outside [0, 1).
        ConfigurationError: If `match` is unknown, a size is given twice, or rounding gives back all neurons.
        TicketError: If `like` is for a model of another shape.
    """
    if match not in _MATCHES:
        raise ConfigurationError(f"expected match among {', '.join(_MATCHES)}, got {match!r}")
    architecture = get_architecture(model)
    generator = torch.Generator(device="cpu").manual_seed(seed)
    head_scores = _random_scores(architecture.num_heads(model), generator)
    neuron_scores = _random_scores(architecture.num_neurons(model), generator)
    if like is not None:
        _check_one_size(head_sparsity, neuron_sparsity, head_scope, neuron_scope, round_to)
        return _matched(model, head_scores, neuron_scores, like, match, keep_one)
    if match != "counts":
        raise ConfigurationError(f"match={match!r} needs like=ticket, the ticket whose size is matched")
    return RobustTicket(
        heads=select(head_scores, head_sparsity, head_scope, keep_one=keep_one),
        neurons=select_neurons(neuron_scores, neuron_sparsity, neuron_scope, round_to, keep_one),
    )


def _matched(
    model: nn.Module,
    head_scores: list[torch.Tensor],
    neuron_scores: list[torch.Tensor],
    like: RobustTicket,
    match: str,
    keep_one: bool,
) -> RobustTicket:
    present = {"heads": [len(score) for score in head_scores], "neurons": [len(score) for score in neuron_scores]}
    if like.shape() != present:
        raise TicketError(f"expected like to be a ticket for this model, {present}, got one for {like.shape()}")
    if match == "counts":
        return RobustTicket(
            heads=[_best(score, count) for score, count in zip(head_scores, like.head_counts)],
            neurons=[_best(score, count) for score, count in zip(neuron_scores, like.neuron_counts)],
        )
    architecture = get_architecture(model)
    places = architecture.places(model)
    head_sizes = [_unit_parameters(place.layer, place.heads, n) for place, n in zip(places, present["heads"])]
    neuron_sizes = [_unit_parameters(place.layer, place.neurons, n) for place, n in zip(places, present["neurons"])]
    return RobustTicket(
        heads=_of_equal_size(head_scores, like.heads, head_sizes, keep_one),
        neurons=_of_equal_size(neuron_scores, like.neurons, neuron_sizes, keep_one),
    )


def _random_scores(widths: Sequence[int], generator: torch.Generator) -> list[torch.Tensor]:
    return [torch.rand(width, generator=generator, dtype=torch.float32, device="cpu") for width in widths]


def _check_one_size(*given: object) -> None:
    parameters = list(signature(random_ticket).parameters.values())
    sizes = [p for p in parameters if p.name in _SIZES]
    second = [p.name for p, value in zip(sizes, given, strict=True) if value != p.default]
    if second:
        raise ConfigurationError(f"like=ticket says the size of the random ticket: leave out {', '.join(second)}")


def _best(scores: torch.Tensor, count: int) -> torch.Tensor:
    keep = torch.zeros(len(scores), dtype=torch.bool, device="cpu")
    keep[scores.argsort(descending=True)[:count]] = True
    return keep


def _unit_parameters(layer: nn.Module, group: UnitGroup, units: int) -> int:
    """The parameters that leave a layer with one unit."""
    total = 0
    for cut in group.cuts if units else ():
        try:
            target = attrgetter(cut.path)(layer)
        except AttributeError:  # an optional weight that this configuration has not
            continue
        if isinstance(target, nn.Parameter):
            total += target.numel()
        elif target is not None:
            bias = getattr(target, "bias", None)
            total += target.weight.numel() + (bias.numel() if cut.side == "out" and bias is not None else 0)
    return total // max(units, 1)


def _of_equal_size(
    scores: list[torch.Tensor], like: Sequence[torch.Tensor], sizes: list[int], keep_one: bool
) -> list[torch.Tensor]:
    """Removes units in random order until as many parameters have gone as `like` removes, to within half a unit."""
    target = sum(size * int((~mask).sum()) for size, mask in zip(sizes, like))
    masks = [torch.ones(len(score), dtype=torch.bool, device="cpu") for score in scores]
    left = [len(score) for score in scores]
    places = [(layer, unit) for layer, score in enumerate(scores) for unit in range(len(score))]
    gone = 0
    for i in torch.cat(scores).argsort().tolist():
        layer, unit = places[i]
        if gone + sizes[layer] / 2 <= target and left[layer] > int(keep_one):
            masks[layer][unit] = False
            left[layer] -= 1
            gone += sizes[layer]
    return masks
