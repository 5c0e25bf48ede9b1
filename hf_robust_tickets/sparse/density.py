"""How many weights each layer keeps, when the model as a whole may keep a given fraction.

Every distribution meets the budget exactly: the counts of all layers add up to `round(density * total)`, and every
layer keeps at least one weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from ..errors import ConfigurationError, SparsityError
from .pattern import parse_pattern

# Halving an interval of floats this often leaves nothing to halve.
_BISECTIONS = 200

# A fraction such as 0.333333 is meant to be a third: a product that misses a whole number by this much is that number.
TOLERANCE = 1e-4

Shapes = Mapping[str, Sequence[int]]


def count_up(product: float) -> int:
    """The product of a fraction and a count, rounded up to a whole count; one within `TOLERANCE` of it is it.

    Example:
        >>> count_up(0.333334 * 12), count_up(0.34 * 12)
        (4, 5)
    """
    return math.ceil(product - TOLERANCE)


def count_down(product: float) -> int:
    """As `count_up`, rounded down.

    Example:
        >>> count_down(0.333333 * 12), count_down(0.33 * 12)
        (4, 3)
    """
    return math.floor(product + TOLERANCE)


def check_density(density: float | str, title: str = "density") -> None:
    """Refuses what is neither a fraction strictly between 0 and 1 nor a pattern such as `"2:4"`.

    Raises:
        SparsityError: If it is not.
    """
    if isinstance(density, str) and ":" in density:
        parse_pattern(density)
        return
    if not isinstance(density, (int, float)) or isinstance(density, bool) or not 0 < density < 1:
        raise SparsityError(
            f"{title} must be in (0, 1), got {density!r}: it is the fraction of weights that is kept, or a pattern "
            "such as '2:4'; use Dense() to keep all of them"
        )


def kept_per_layer(shapes: Shapes, density: float, distribution: str = "igq") -> dict[str, int]:
    """Distributes a budget of weights over layers.

    - `"uniform"`: the same density everywhere.
    - `"er"` (Erdos-Renyi; Mocanu et al., Nature Communications 2018): a layer's density is proportional to
      `(inputs + outputs) / (inputs * outputs)`.
    - `"erk"` (Erdos-Renyi-kernel; Evci et al., RigL, ICML 2020): to `sum(shape) / prod(shape)`, kernel sizes included.
    - `"igq"` (ideal gas quotas; Chen et al., "Sparsity Winning Twice", ICLR 2022): a layer of P weights keeps
      `P / (f P + 1)` of them, f such that the total fits; small layers stay nearly dense.

    A density that a rule would raise above 1 stays at 1, and the others grow instead.

    Args:
        shapes: Layer name -> shape of its weight, outputs first.
        density: Fraction of all weights that is kept, in (0, 1).
        distribution: One of the names above.

    Returns:
        Layer name -> number of weights kept, at least 1; the sum is `round(density * total)`.

    Raises:
        SparsityError: If the density is out of range, or leaves less than one weight per layer.
        ConfigurationError: If the distribution is unknown, or there is no layer.
    """
    check_density(density)
    if not shapes:
        raise ConfigurationError("expected at least one layer to share a density out over, got none")
    if distribution not in _RULES:
        raise ConfigurationError(
            f"unknown distribution of densities {distribution!r}: expected one of {', '.join(_RULES)}"
        )
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    budget = round(density * sum(sizes.values()))
    if budget < len(sizes):
        raise SparsityError(
            f"a density of {density} keeps {budget} weights in {len(sizes)} layers, which leaves a layer empty: raise "
            "the density, or exclude layers"
        )
    wanted = _solve(_RULES[distribution](shapes, sizes), budget)
    return _round(wanted, sizes, budget)


def _solve(kept_at: Callable[[float], dict[str, float]], budget: int) -> dict[str, float]:
    """The counts at that scale in (0, 1) where they add up to the budget; they grow with the scale."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if sum(kept_at(middle).values()) < budget:
            low = middle
        else:
            high = middle
    return kept_at(high)


def _uniform(shapes: Shapes, sizes: dict[str, int]) -> Callable[[float], dict[str, float]]:
    return lambda scale: {name: scale * size for name, size in sizes.items()}


def _erdos_renyi(shapes: Shapes, sizes: dict[str, int]) -> Callable[[float], dict[str, float]]:
    return _proportional({name: sum(shape[:2]) / math.prod(shape[:2]) for name, shape in shapes.items()}, sizes)


def _erdos_renyi_kernel(shapes: Shapes, sizes: dict[str, int]) -> Callable[[float], dict[str, float]]:
    return _proportional({name: sum(shape) / sizes[name] for name, shape in shapes.items()}, sizes)


def _proportional(raw: dict[str, float], sizes: dict[str, int]) -> Callable[[float], dict[str, float]]:
    # At scale 1 even the layer of the lowest raw density is dense.
    factor = 1 / min(raw.values())
    return lambda scale: {name: min(1.0, scale * factor * raw[name]) * size for name, size in sizes.items()}


def _ideal_gas(shapes: Shapes, sizes: dict[str, int]) -> Callable[[float], dict[str, float]]:
    # f runs from infinity (nothing is kept) to 0 (all is) while the scale 1 / (1 + f) runs from 0 to 1.
    def kept_at(scale: float) -> dict[str, float]:
        f = (1 - scale) / max(scale, 1e-300)
        return {name: size / (f * size + 1) for name, size in sizes.items()}

    return kept_at


_RULES: dict[str, Callable[[Shapes, dict[str, int]], Callable[[float], dict[str, float]]]] = {
    "uniform": _uniform,
    "er": _erdos_renyi,
    "erk": _erdos_renyi_kernel,
    "igq": _ideal_gas,
}
DISTRIBUTIONS = tuple(_RULES)


def _round(wanted: dict[str, float], sizes: dict[str, int], budget: int) -> dict[str, int]:
    """Whole numbers next to the wanted ones, by largest remainder, between 1 and the layer's size."""
    kept = {name: min(sizes[name], max(1, math.floor(value))) for name, value in wanted.items()}
    surplus = sum(kept.values()) - budget
    remainder = sorted(kept, key=lambda name: kept[name] - wanted[name])
    while surplus < 0:
        for name in remainder:
            if surplus < 0 and kept[name] < sizes[name]:
                kept[name] += 1
                surplus += 1
    while surplus > 0:
        for name in reversed(remainder):
            if surplus > 0 and kept[name] > 1:
                kept[name] -= 1
                surplus -= 1
    return kept
