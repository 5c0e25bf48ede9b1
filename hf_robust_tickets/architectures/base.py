"""What the package knows about a family of models: module paths as data, no copied methods."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from operator import attrgetter
from typing import Any, Literal

from torch import nn

from ..errors import ConfigurationError, TicketError


@dataclass(frozen=True)
class Cut:
    """One weight of a layer that loses rows or columns when units (heads or neurons) are removed.

    The side of length `n` is read as `(blocks, units, n / (blocks * units))`, which describes a separate query
    projection (1 block, width = head size), a fused query-key-value projection (3 blocks), a fused gated
    feed-forward (2 blocks, width 1), and an interleaved one (1 block, width = 3 * head size) alike.

    Args:
        path: Path, from the layer, of a `nn.Linear`, `Conv1D`, `nn.Conv2d`, `nn.BatchNorm2d` or one-dimensional
            `nn.Parameter`.
        side: `"out"`: output features or channels (a norm and a parameter have only these); `"in"`: input features.
        blocks: How many times the sequence of all units is repeated along that side.
        optional: Whether some configurations of the family have no such module.
    """

    path: str
    side: Literal["in", "out"] = "out"
    blocks: int = 1
    optional: bool = False


@dataclass(frozen=True)
class UnitGroup:
    """The heads, or the neurons, of one layer: everything that is coupled to them.

    Args:
        output: Path of the projection whose *input* features are the units: it is gated, and it counts the units.
        cuts: All weights that shrink, the output projection included.
        unit_size: Paths of the attributes whose product is the number of input features of `output` that belong to
            one unit, e.g. the head size. Empty means 1.
        scaled: Paths of integer attributes that are proportional to the number of units, e.g. `num_heads`.
        select: `(module path, keyword)` of a tensor `(batch, units, ...)` that the module gets from outside the layer
            and of which it must see the kept units only, e.g. a bias shared by all layers. Empty where there is none.
        block: Path of the module that a layer loses as a whole where it keeps no unit; what it still adds is the bias
            of its last projection. Empty where the weights of `cuts` are all there is to lose.
        norm_inside: Path of a normalisation inside that block which stays, since the rest of the layer reads it (the
            output norm of post-norm families). Empty where there is none.
        norm_before: Path of a normalisation that nothing but this block reads: it goes too. Empty where there is none.
        norm_before_if: Path of an attribute that is true where `norm_before` comes before the block; empty: always.
    """

    output: str
    cuts: tuple[Cut, ...]
    unit_size: tuple[str, ...] = ()
    scaled: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    block: str = ""
    norm_inside: str = ""
    norm_before: str = ""
    norm_before_if: str = ""


# What a layer has no units of: convolutional blocks have no heads.
NO_UNITS = UnitGroup(output="", cuts=())


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

    def __post_init__(self) -> None:
        """Refuses a description that cannot be right."""
        if not self.model_types:
            raise ConfigurationError(f"architecture {self.name!r}: expected at least one model type, got none")
        for kind in ("heads", "neurons"):
            group: UnitGroup = getattr(self, kind)
            if group == NO_UNITS and kind == "heads":
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
        """The blocks, in order.

        A block that the model runs several times (ALBERT) is listed once, so one ticket entry stands for all its uses.

        Raises:
            TicketError: If the model has no module at this family's path.
        """
        found: list[nn.Module] = [getattr(model, "base_model", model)]
        for part in self.layer_path.split("."):
            if "*" in part:
                found = [child for module in found for name, child in module.named_children() if fnmatch(name, part)]
            else:
                found = [_child(module, part, self.layer_path) for module in found]
        return found

    def head_outputs(self, model: nn.Module) -> list[nn.Module]:
        """The attention output projection of each layer, whose input is gated; an `nn.Identity` for none."""
        if self.heads == NO_UNITS:
            return [nn.Identity() for _ in self.layers(model)]
        return [attrgetter(self.heads.output)(layer) for layer in self.layers(model)]

    def neuron_outputs(self, model: nn.Module) -> list[nn.Module]:
        """The feed-forward down projection of each layer, whose input is gated."""
        return [attrgetter(self.neurons.output)(layer) for layer in self.layers(model)]

    def num_heads(self, model: nn.Module) -> list[int]:
        """Number of heads present in each layer; a pruned layer has fewer. Grouped-query heads: number of groups."""
        return [_count_units(layer, self.heads) for layer in self.layers(model)]

    def num_neurons(self, model: nn.Module) -> list[int]:
        """Number of feed-forward neurons present in each layer; a pruned layer has fewer."""
        return [_count_units(layer, self.neurons) for layer in self.layers(model)]

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
        return {"layers": self.layer_path, "heads": _plain(self.heads), "neurons": _plain(self.neurons)}


def in_features(projection: nn.Module) -> int:
    """Number of input features or channels of a `nn.Linear`, `nn.Conv2d` or `Conv1D`."""
    names = ("in_features", "in_channels", "nx")
    return next(getattr(projection, name) for name in names if hasattr(projection, name))


def separate_heads(
    attention: str,
    q: str,
    k: str,
    v: str,
    output: str,
    size: str,
    scaled: tuple[str, ...] = (),
    norm_before: str = "",
) -> UnitGroup:
    """Heads with one projection each for query, key and value, which are the most common.

    Args:
        attention: Path of the attention module from the layer.
        q: Name of its query projection.
        k: Name of its key projection.
        v: Name of its value projection.
        output: Path of the output projection from the layer.
        size: Name of its attribute that holds the size of one head.
        scaled: Names of its attributes that are proportional to the number of heads.
        norm_before: Path, from the layer, of the normalisation that the attention alone reads, if there is one.
    """
    inputs = tuple(Cut(f"{attention}.{name}") for name in (q, k, v))
    return UnitGroup(
        output=output,
        cuts=(*inputs, Cut(output, "in")),
        unit_size=(f"{attention}.{size}",),
        scaled=tuple(f"{attention}.{name}" for name in scaled),
        block=attention,
        norm_before=norm_before,
    )


def plain_neurons(up: str, down: str, norm_before: str = "") -> UnitGroup:
    """Neurons between an up and a down projection, each given by its path from the layer.

    Args:
        up: Path of the up projection.
        down: Path of the down projection.
        norm_before: Path of the normalisation that the feed-forward alone reads, if there is one.
    """
    return UnitGroup(output=down, cuts=(Cut(up), Cut(down, "in")), norm_before=norm_before)


def gated_neurons(gate: str, up: str, down: str, norm_before: str = "") -> UnitGroup:
    """Neurons with a separate gate projection (SwiGLU and similar), as `plain_neurons` otherwise."""
    return UnitGroup(output=down, cuts=(Cut(gate), Cut(up), Cut(down, "in")), norm_before=norm_before)


def inner_channels(conv: str, norm: str, next_conv: str) -> UnitGroup:
    """Channels between two convolutions of a residual block, which no residual connection carries.

    Args:
        conv: Path of the convolution that makes them, from the block.
        norm: Path of the batch norm that they go through.
        next_conv: Path of the convolution that reads them, and nothing else does.
    """
    return UnitGroup(output=next_conv, cuts=(Cut(conv), Cut(norm), Cut(next_conv, "in")))


def _count_units(layer: nn.Module, group: UnitGroup) -> int:
    if group == NO_UNITS:
        return 0
    width = in_features(attrgetter(group.output)(layer))
    for path in group.unit_size:
        width //= attrgetter(path)(layer)
    return width


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
