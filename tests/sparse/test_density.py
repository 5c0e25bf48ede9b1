"""Counts per layer, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from hf_robust_tickets.errors import ConfigurationError, SparsityError
from hf_robust_tickets.sparse import DISTRIBUTIONS, kept_per_layer
from hf_robust_tickets.sparse.base import global_masks, random_masks

LINEAR = {"a": (2, 5), "b": (10, 9)}  # 10 and 90 weights
MIXED = {"c": (4, 3, 3, 3), "d": (2, 4)}  # 108 and 8 weights


@pytest.mark.parametrize(
    ("shapes", "density", "distribution", "expected"),
    [
        (LINEAR, 0.2, "uniform", {"a": 2, "b": 18}),
        # 10 / (10 f + 1) + 90 / (90 f + 1) = 20 at f = 0.061342: 6.198 and 13.802
        (LINEAR, 0.2, "igq", {"a": 6, "b": 14}),
        # proportional to 2 + 5 and 10 + 9: 5.38 and 14.62
        (LINEAR, 0.2, "er", {"a": 5, "b": 15}),
        (LINEAR, 0.2, "erk", {"a": 5, "b": 15}),
        # 4 + 3 + 3 + 3 and 2 + 4 would be 19.84 and 9.16: d is dense, c takes the rest of 29
        (MIXED, 0.25, "erk", {"c": 21, "d": 8}),
        # densities proportional to 7 / 12 and 6 / 8, so 63 and 6: 26.48 and 2.52
        (MIXED, 0.25, "er", {"c": 26, "d": 3}),
    ],
)
def test_by_hand(shapes, density, distribution, expected):
    assert kept_per_layer(shapes, density, distribution) == expected


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("density", [0.011, 0.05, 0.1, 0.2, 0.5, 0.9, 0.999])
def test_budgets_are_exact_and_no_layer_is_empty(distribution, density):
    shapes = {"stem": (64, 3, 3, 3), "wide": (512, 512, 3, 3), "one": (1, 1), "short": (1, 128, 1, 1), "fc": (10, 512)}
    counts = kept_per_layer(shapes, density, distribution)
    total = sum(math.prod(shape) for shape in shapes.values())
    assert sum(counts.values()) == round(density * total)
    assert all(1 <= count <= math.prod(shapes[name]) for name, count in counts.items())


@pytest.mark.parametrize("density", [0, 1, 0.0, 1.0, -0.1, 1.5, float("nan"), True, "0.2"])
def test_densities_that_are_none(density):
    with pytest.raises(SparsityError, match=r"density must be in \(0, 1\), got"):
        kept_per_layer(LINEAR, density)


def test_what_else_cannot_work():
    with pytest.raises(SparsityError, match="keeps 1 weights in 2 layers, which leaves a layer empty"):
        kept_per_layer(LINEAR, 0.01)
    with pytest.raises(ConfigurationError, match="unknown distribution of densities 'flat': expected one of uniform"):
        kept_per_layer(LINEAR, 0.2, "flat")


def test_random_masks_have_exact_counts_and_repeat_with_their_seed():
    weights = {name: torch.zeros(shape) for name, shape in LINEAR.items()}
    masks, again, other = (random_masks(weights, 0.2, "igq", seed) for seed in (1, 1, 2))
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"a": 6, "b": 14}
    assert all(torch.equal(masks[name], again[name]) for name in masks)
    assert not all(torch.equal(masks[name], other[name]) for name in masks)


def test_global_masks_keep_the_best_of_each_layer():
    scores = {"a": torch.tensor([[5.0, 4.0], [3.0, 2.0]]), "b": torch.tensor([0.1, 0.3, 0.2, 0.0])}
    masks = global_masks(scores, 0.5)
    assert masks["a"].tolist() == [[True, True], [True, False]]
    assert masks["b"].tolist() == [False, True, False, False]
