from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_robust_tickets.adversaries.geometry import (
    norm_of,
    normalized,
    project,
    shrinkage,
    steepest_direction,
    uniform_start,
)

# One sentence of two tokens of dimension 2, and its norms by hand.
X = torch.tensor([[[3.0, 0.0], [0.0, -4.0]]])


def test_norms_by_hand():
    assert norm_of(X, "l2", "sentence").item() == 5.0
    assert norm_of(X, "l2", "token").flatten().tolist() == [3.0, 4.0]
    assert norm_of(X, "linf", "sentence").item() == 4.0
    assert norm_of(X, "linf", "token").flatten().tolist() == [3.0, 4.0]


def test_projection_by_hand():
    torch.testing.assert_close(project(X, 1.0, "l2", "sentence"), X / 5)
    torch.testing.assert_close(project(X, 3.5, "l2", "token"), torch.tensor([[[3.0, 0.0], [0.0, -3.5]]]))
    torch.testing.assert_close(project(X, 3.5, "linf", "sentence"), torch.tensor([[[3.0, 0.0], [0.0, -3.5]]]))
    assert project(X, 0.0, "l2", "sentence") is X


def test_directions_by_hand():
    torch.testing.assert_close(steepest_direction(X, "l2", "sentence"), X / 5)
    torch.testing.assert_close(steepest_direction(X, "l2", "token"), torch.tensor([[[1.0, 0.0], [0.0, -1.0]]]))
    torch.testing.assert_close(steepest_direction(X, "linf", "token"), torch.tensor([[[1.0, 0.0], [0.0, -1.0]]]))
    assert steepest_direction(torch.zeros_like(X), "l2", "sentence").abs().max() == 0


def test_start_stays_out_of_padding_and_scales_with_length():
    torch.manual_seed(0)
    x, mask = torch.empty(2, 8, 50), torch.tensor([[1] * 8, [1] * 2 + [0] * 6])
    start = uniform_start(x, mask, 0.6, "l2", "sentence")
    assert start[1, 2:].abs().max() == 0
    # A cube of side 2 * 0.6 / sqrt(entries): expected norm 0.6 / sqrt(3) whatever the number of tokens.
    torch.testing.assert_close(
        norm_of(start, "l2", "sentence").flatten(), torch.full((2,), 0.6 / 3**0.5), atol=0.05, rtol=0
    )
    assert start[0].abs().max() <= 0.6 / (8 * 50) ** 0.5
    assert start[1].abs().max() <= 0.6 / (2 * 50) ** 0.5
    per_token = uniform_start(x, mask, 0.6, "l2", "token")
    assert 0.6 / (8 * 50) ** 0.5 < per_token.abs().max() <= 0.6 / 50**0.5
    assert uniform_start(x, mask, 0.6, "linf", "sentence").abs().max() > 0.5
    assert uniform_start(x, mask, 0.0, "l2", "sentence").abs().max() == 0


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["l2", "linf", "l1"]),
    st.sampled_from(["sentence", "token"]),
    st.floats(0.01, 10),
)
def test_projection_is_inside_and_idempotent(seed, norm, scope, radius):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64) * 5
    inside = project(x, radius, norm, scope)
    assert norm_of(inside, norm, scope).max() <= radius * (1 + 1e-9)
    torch.testing.assert_close(project(inside, radius, norm, scope), inside)
    torch.testing.assert_close(project(x, 1e6, norm, scope), x)


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
def test_steepest_direction_beats_random_directions_of_the_same_length(norm):
    generator = torch.Generator().manual_seed(0)
    grad = torch.randn(1, 3, 4, generator=generator)
    gain = (grad * steepest_direction(grad, norm, "sentence")).sum()
    for _ in range(200):
        other = torch.randn(1, 3, 4, generator=generator)
        assert (grad * other / norm_of(other, norm, "sentence")).sum() <= gain + 1e-5


def test_l1_by_hand():
    assert norm_of(X, "l1", "sentence").item() == 7.0
    assert steepest_direction(X, "l1", "sentence").tolist() == [[[0.0, 0.0], [0.0, -1.0]]]
    assert steepest_direction(X, "l1", "token").tolist() == [[[1.0, 0.0], [0.0, -1.0]]]
    # (3, 4) loses 1.5 everywhere to have sum 4; of (3, 0) nothing is left beside the largest entry.
    assert project(X, 4.0, "l1", "sentence").tolist() == [[[1.5, 0.0], [0.0, -2.5]]]
    assert project(X, 2.0, "l1", "token").tolist() == [[[2.0, 0.0], [0.0, -2.0]]]
    assert project(X, 7.0, "l1", "sentence").tolist() == X.tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-4, 4, width=32), min_size=2, max_size=6), st.floats(0.05, 6))
def test_l1_projection_is_the_nearest_point(values, radius):
    """Against a bisection for the threshold by which all entries shrink, which is what the nearest point does."""
    x = torch.tensor(values, dtype=torch.float64).reshape(1, 1, -1)
    low, high = 0.0, 4.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (x.abs() - middle).clamp_min(0).sum() > radius else (low, middle)
    expected = x if x.abs().sum() <= radius else x.sign() * (x.abs() - high).clamp_min(0)
    nearest = project(x, radius, "l1", "sentence")
    torch.testing.assert_close(nearest, expected, rtol=0, atol=1e-7)
    # No other point of the ball is nearer: corners, and random points of its surface.
    generator = torch.Generator().manual_seed(0)
    others = torch.randn(200, x.numel(), generator=generator, dtype=torch.float64)
    others = torch.cat([others / others.abs().sum(1, keepdim=True), torch.eye(x.numel()), -torch.eye(x.numel())])
    assert ((others * radius - x.flatten()).norm(dim=1) >= (nearest - x).norm() - 1e-7).all()


def test_own_direction_and_shrinkage():
    torch.testing.assert_close(normalized(X, "linf", "sentence"), X / 4)
    torch.testing.assert_close(normalized(X, "l1", "token"), torch.tensor([[[1.0, 0.0], [0.0, -1.0]]]))
    assert normalized(torch.zeros_like(X), "linf", "token").abs().max() == 0
    assert shrinkage(X, 2.5, "l2", "sentence").item() == 0.5 and shrinkage(X, 9.0, "l2", "sentence").item() == 1.0
    assert shrinkage(X, 0.0, "l2", "token").flatten().tolist() == [1.0, 1.0]
