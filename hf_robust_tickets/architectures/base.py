"""What the package knows about a family of models: module paths as data, no copied methods."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from operator import attrgetter
from typing import Any, NamedTuple

from torch import nn

from ..errors import ConfigurationError, TicketError
from .units import NO_UNITS, UnitGroup, count_units

_KINDS = ("heads", "neurons")


@dataclass(frozen=True)
class LayerGroup:
    """Layers of one kind, each with at most one group of heads and one of neurons: one entry of a ticket.

    Args:
        layer_path: As in `Architecture`.
        heads: As in `Architecture`, or `NO_UNITS`.
        neurons: Likewise.
    """

    layer_path: str
    heads: UnitGroup = NO_UNITS
    neurons: UnitGroup = NO_UNITS


class Place(NamedTuple):
    """What one entry of a ticket stands for: a layer, and the heads and neurons in it that are meant.

    Attributes:
        layer: The module.
        heads: Its heads, or `NO_UNITS`.
        neurons: Its neurons, or `NO_UNITS`.
    """

    layer: nn.Module
    heads: UnitGroup
    neurons: UnitGroup


@dataclass(frozen=True)
class Architecture:
    """Where the heads and neurons of a family of models are.

    In convolutional residual networks the units are channels that no residual connection carries; see
    `inner_channels`.

    Args:
        name: Name of the family.
        model_types: Values of `config.model_type` that it describes.
        layer_path: Path of the blocks from the base model (`model.base_model`), `*` for every entry of a list, e.g.
            `"encoder.layer.*"`; a part such as `layer*` stands for all children whose names match.
        heads: The attention heads of a block, or `NO_UNITS`. With grouped key and value heads, one unit is one whole
            group.
        neurons: The feed-forward neurons of a block.
        unsupported: Pairs `(config attribute, reason)`; a true attribute means that heads cannot be cut.
        only_if: `(config attribute, value)` that a configuration must have, where a model type has blocks of several
            kinds; empty for all of them.
        more: Further groups of layers, whose entries follow in a ticket. The layers of a decoder with cross-attention
            are in two of them: once for self-attention and feed-forward, once for cross-attention. Classes of the
            family that lack these layers (a T5 encoder alone) have no such entries.

    Example:
        >>> bert = get_architecture(model)
        >>> bert.num_heads(model), bert.num_neurons(model)
        ([12, 12, ...], [3072, 3072, ...])
    """

    name: str
    model_types: tuple[str, ...]
    layer_path: str
    heads: UnitGroup
    neurons: UnitGroup
    unsupported: tuple[tuple[str, str], ...] = field(default=())
    only_if: tuple[Any, ...] = ()
    more: tuple[LayerGroup, ...] = ()

    def __post_init__(self) -> None:
        """Refuses a description that cannot be right."""
        if not self.model_types:
            raise ConfigurationError(f"architecture {self.name!r}: expected at least one model type, got none")
        if self.neurons == NO_UNITS:
            raise ConfigurationError(f"architecture {self.name!r}: neurons.output is '': expected a down projection")
        for part in self.parts:
            self._check(part)

    @property
    def parts(self) -> tuple[LayerGroup, ...]:
        """All groups of layers, in the order of a ticket's entries."""
        return (LayerGroup(self.layer_path, self.heads, self.neurons), *self.more)

    def _check(self, part: LayerGroup) -> None:
        for kind in _KINDS:
            group: UnitGroup = getattr(part, kind)
            if group == NO_UNITS:
                continue
            if not any(cut.path == group.output and cut.side == "in" for cut in group.cuts):
                raise ConfigurationError(
                    f"architecture {self.name!r}: {kind}.output is {group.output!r}, "
                    f"so {kind}.cuts must contain Cut({group.output!r}, 'in')"
                )
            inside = group.output.removeprefix(f"{group.block}.")
            if group.block and inside != group.output and "." in inside:
                raise ConfigurationError(
                    f"architecture {self.name!r}: {kind}.output is {group.output!r}, deep inside {kind}.block: "
                    f"expected a block that has it as {inside.rpartition('.')[2]!r}, or one that ends before it"
                )

    def layers(self, model: nn.Module) -> list[nn.Module]:
        """The blocks at `layer_path`, in order; of an encoder-decoder those of the encoder.

        A block that the model runs several times (ALBERT) is listed once, so one ticket entry stands for all its uses.

        Raises:
            TicketError: If the model has no module at this family's path.
        """
        return _layers_at(model, self.layer_path)

    def places(self, model: nn.Module) -> list[Place]:
        """What the entries of a ticket stand for, in order: one place per layer of each group of layers.

        Raises:
            TicketError: If the model has no module at this family's path.
        """
        base = getattr(model, "base_model", model)
        parts = (part for part in self.parts if part not in self.more or hasattr(base, part.layer_path.split(".")[0]))
        return [
            Place(layer, part.heads, part.neurons) for part in parts for layer in _layers_at(model, part.layer_path)
        ]

    def head_outputs(self, model: nn.Module) -> list[nn.Module]:
        """The attention output projection of each place, whose input is gated; an `nn.Identity` for none."""
        return [_output(place.layer, place.heads) for place in self.places(model)]

    def neuron_outputs(self, model: nn.Module) -> list[nn.Module]:
        """The feed-forward down projection of each place, whose input is gated; an `nn.Identity` for none."""
        return [_output(place.layer, place.neurons) for place in self.places(model)]

    def num_heads(self, model: nn.Module) -> list[int]:
        """Number of heads present in each place; a pruned layer has fewer. Grouped-query heads: number of groups."""
        return [count_units(place.layer, place.heads) for place in self.places(model)]

    def num_neurons(self, model: nn.Module) -> list[int]:
        """Number of feed-forward neurons present in each place; a pruned layer has fewer."""
        return [count_units(place.layer, place.neurons) for place in self.places(model)]

    def check_supported(self, config: Any) -> None:
        """Raises TicketError when the configuration uses something that heads cannot be cut out of."""
        for attribute, reason in self.unsupported:
            if getattr(config, attribute, None):
                raise TicketError(
                    f"expected a {self.name} model without config.{attribute}, got "
                    f"{attribute}={getattr(config, attribute)!r}: {reason}"
                )

    def layout(self) -> dict[str, Any]:
        """This description as plain JSON data, which travels in the configuration of a pruned model."""
        first, *more = ({"layers": p.layer_path, **{k: _plain(getattr(p, k)) for k in _KINDS}} for p in self.parts)
        return {**first, "more": more} if more else first


def _layers_at(model: nn.Module, path: str) -> list[nn.Module]:
    found: list[nn.Module] = [getattr(model, "base_model", model)]
    for part in path.split("."):
        if "*" in part:
            found = [child for module in found for name, child in module.named_children() if fnmatch(name, part)]
        else:
            found = [_child(module, part, path) for module in found]
    return found


def _output(layer: nn.Module, group: UnitGroup) -> nn.Module:
    return nn.Identity() if group == NO_UNITS else attrgetter(group.output)(layer)


def _child(module: nn.Module, name: str, path: str) -> nn.Module:
    child = getattr(module, name, None)
    if child is None:
        raise TicketError(
            f"expected the layers at {path!r}, but {type(module).__name__} has no {name!r}: "
            "unwrap the model (of a PEFT model: get_base_model()), or correct the architecture's description"
        )
    return child


def _plain(value: Any) -> Any:
    return asdict(value, dict_factory=_json_dict)


def _json_dict(items: list[tuple[str, Any]]) -> dict[str, Any]:
    # Tuples become lists here, so that the data is equal before and after a round trip through JSON.
    return {key: list(value) if isinstance(value, tuple) else value for key, value in items}
