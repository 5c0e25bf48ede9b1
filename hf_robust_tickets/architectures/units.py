"""The heads, or the neurons, of one layer, and the weights that are coupled to them."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

from torch import nn


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
            and of which it must see the kept units only, e.g. a bias shared by all layers. A module with a method
            `compute_bias` makes that tensor where it gets none, and hands all of it on (T5). Empty where there is
            none.
        block: Path of the module that a layer loses as a whole where it keeps no unit; what it still adds is the bias
            of its last projection. Empty where the weights of `cuts` are all there is to lose.
        norm_inside: Path of a normalisation inside that block which stays, since the rest of the layer reads it (the
            output norm of post-norm families). Empty where there is none.
        bias_inside: Path of a module inside that block which stays, since it makes what other layers read. Empty where
            there is none.
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
    bias_inside: str = ""
    norm_before: str = ""
    norm_before_if: str = ""


# What a layer has no units of: convolutional blocks have no heads.
NO_UNITS = UnitGroup(output="", cuts=())


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


def count_units(layer: nn.Module, group: UnitGroup) -> int:
    """How many units of a group a layer has."""
    if group == NO_UNITS:
        return 0
    width = in_features(attrgetter(group.output)(layer))
    for path in group.unit_size:
        width //= attrgetter(path)(layer)
    return width
