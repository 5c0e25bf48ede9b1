"""Each method against updates computed by hand."""

from __future__ import annotations

import json
import math

import pytest
import torch

from hf_robust_tickets import FlyingBird, FlyingBirdPlus, RobustBird
from hf_robust_tickets.errors import ConfigurationError, SparsityError, TicketError, UnknownNameError
from hf_robust_tickets.sparse import (
    SNIP,
    Decision,
    Dense,
    FixedMasks,
    MaskQueue,
    OneShotMagnitude,
    RandomMask,
    RigL,
    RobustRecord,
    get_sparse_method,
    list_sparse_methods,
    register_sparse_method,
)
from hf_robust_tickets.sparse.density import count_down, count_up

WEIGHT = torch.tensor([[0.1, -0.5, 0.3, 0.0], [0.0, 0.2, 0.0, -0.4]])
MASK = WEIGHT != 0
GRADIENT = torch.tensor([[-9.0, 100.0, 100.0, 1.0], [5.0, 2.0, -7.0, 100.0]])


def test_drop_by_magnitude_grow_by_gradient():
    # d n = 0.4 x 5 = 2: 0.1 and 0.2 go. Of the five that are not kept now, 9 and 7 are the steepest.
    survivors, mask = FlyingBird().update_layer(WEIGHT, MASK, GRADIENT, fraction=0.4)
    assert survivors.tolist() == [[False, True, True, False], [False, False, False, True]]
    assert mask.tolist() == [[True, True, True, False], [False, False, True, True]]
    assert MASK.sum() == 5  # the mask given is left as it is


def test_a_part_of_a_weight_is_dropped_as_a_whole():
    survivors, mask = FlyingBird().update_layer(WEIGHT, MASK, GRADIENT, fraction=0.005)
    assert survivors.sum() == 4 and mask.sum() == 5  # ceil(0.025) = 1


def test_the_memory_format_of_a_weight_changes_nothing():
    weight, gradient = torch.randn(2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    mask = random_mask_of(weight)
    plain = FlyingBird().update_layer(weight * mask, mask, gradient, fraction=0.4)
    formatted = [x.to(memory_format=torch.channels_last) for x in (weight * mask, mask, gradient)]
    update = FlyingBird().update_layer(*formatted, fraction=0.4)
    assert not formatted[0].is_contiguous()
    for expected, got in zip(plain, update, strict=True):
        assert torch.equal(expected, got)


def random_mask_of(weight):
    return torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) < 0.5


def test_random_growth_repeats_with_its_seed_and_keeps_the_count():
    method = FlyingBird(growth="random")
    weight = torch.randn(40, 30)
    mask = torch.rand(40, 30) < 0.2
    first, again, other = (method.update_layer(weight * mask, mask, None, 0.3, seed=(0, n, 0)) for n in (1, 1, 2))
    assert torch.equal(first.mask, again.mask) and not torch.equal(first.mask, other.mask)
    assert torch.equal(first.survivors, other.survivors) and first.mask.sum() == mask.sum()
    assert (first.mask & first.survivors).equal(first.survivors)


def test_a_dense_layer_has_nothing_to_explore():
    full = torch.ones_like(MASK)
    survivors, mask = FlyingBird().update_layer(WEIGHT, full, GRADIENT, 0.5)
    assert survivors.all() and mask.all()


def test_cosine_drop_fraction():
    method = FlyingBird()
    assert method.drop_fraction_at(0, 1000) == 0.5
    assert method.drop_fraction_at(500, 1000) == pytest.approx((0.5 + 0.005) / 2)
    assert method.drop_fraction_at(250, 1000) == pytest.approx(0.005 + 0.495 * (1 + math.sqrt(0.5)) / 2)
    assert method.drop_fraction_at(1000, 1000) == pytest.approx(0.005)


def test_fixed_and_dynamic_period():
    fixed = [step for step in range(1, 4001) if FlyingBird().is_update_step(step, 4000)]
    assert fixed == [900, 1800, 2700, 3600]
    dynamic = [step for step in range(1, 5001) if FlyingBird(second_period=1200).is_update_step(step, 5000)]
    assert dynamic == [900, 1800, 3600, 4800]


def test_plus_prunes_more_and_grows_more():
    method = FlyingBirdPlus()
    # 100 kept of 1000 and d = 0.5: 50 dropped; ceil(0.4 x 50) = 20 besides; floor(1.05 x 50) = 52 grown
    assert method.counts(100, 1000, 0.5, Decision(False, False)) == (50, 50)
    assert method.counts(100, 1000, 0.5, Decision(True, False)) == (70, 50)
    assert method.counts(100, 1000, 0.5, Decision(False, True)) == (50, 52)
    assert method.counts(100, 1000, 0.5, Decision(True, True)) == (70, 52)
    assert method.counts(33, 1000, 0.1, Decision(True, False)) == (4 + 2, 4)  # ceil(3.3), ceil(1.32)


def test_plus_keeps_one_weight_and_not_more_than_all():
    assert FlyingBirdPlus().counts(1, 10, 0.5, Decision(True, False)) == (1, 1)
    assert FlyingBirdPlus(growth_ratio=1.0).counts(9, 10, 0.5, Decision(False, True)) == (5, 6)


@pytest.mark.parametrize("decision", [(False, False), (True, False), (False, True), (True, True)])
def test_plus_leaves_a_dense_layer_alone(decision):
    method = FlyingBirdPlus(density=0.2)
    assert method.counts(432, 432, 0.31, Decision(*decision)) == (0, 0)
    full = torch.ones_like(MASK)
    survivors, mask = method.update_layer(WEIGHT, full, GRADIENT, 0.5, Decision(*decision))
    assert survivors.all() and mask.all()


def test_fractions_that_are_meant_to_be_thirds_count_as_thirds():
    """A third of 12 is 4, written with six digits or with all, from below and from above."""
    for third in (0.333333, 1 / 3, 0.333334):
        assert FlyingBird().counts(12, 99, third, Decision()) == (4, 4)
        plus = FlyingBirdPlus(prune_ratio=third, growth_ratio=third)
        # d n = 12: a third of it is pruned besides, and a third grown besides.
        assert plus.counts(24, 99, 0.5, Decision(True, True)) == (12 + 4, 12 + 4)
        assert count_up(third * 12) == count_down(third * 12) == 4
    assert FlyingBird().counts(12, 99, 0.3334, Decision()) == (5, 5)  # 4.0008 is more than four
    assert (count_up(0.55 * 100), count_down(0.29 * 100)) == (55, 29)  # 55.00000000000001, 28.999999999999996


def test_starts_and_stops_at_decimals_of_the_training():
    assert not RigL(stop=0.07, period=7).is_update_step(7, 100)  # 0.07 x 100 is 7.000000000000001
    records = [record(0, 0)] * 5
    assert FlyingBirdPlus(start_epoch=0.07).decide(records, epoch=7, num_epochs=100) == (False, True)


def record(gap: float, loss: float) -> RobustRecord:
    return RobustRecord(0, 0.5 + gap, 0.5, loss)


@pytest.mark.parametrize(
    ("gaps", "losses", "expected"),
    [
        ([0, 1, 2, 3, 4], [5, 4, 3, 2, 1], (True, False)),
        ([4, 3, 2, 1, 0], [1, 2, 3, 4, 5], (False, True)),
        ([0, 1, 2, 1, 0], [1, 2, 1, 2, 1], (True, True)),  # two of four
        ([0, 1, 0, -1, -2], [1, 1, 0, -1, -2], (False, False)),  # one of four
        ([1, 1, 1, 1, 1], [1, 1, 1, 1, 1], (False, True)),  # > 0 for gaps, >= 0 for losses
    ],
)
def test_plus_decides_by_the_last_four_differences(gaps, losses, expected):
    records = [record(gap / 100, loss) for gap, loss in zip(gaps, losses, strict=True)]
    older = [record(-9, 9), record(9, -9)]
    assert FlyingBirdPlus().decide(older + records, epoch=6, num_epochs=10) == expected
    assert FlyingBirdPlus().decide(records, epoch=4.9, num_epochs=10) == (False, False)  # before the middle
    assert FlyingBirdPlus(start_epoch=7).decide(records, epoch=6, num_epochs=10) == (False, False)
    assert FlyingBirdPlus().decide(records[1:], epoch=6, num_epochs=10) == (False, False)  # three differences


def test_rigl_stops_and_is_under_the_standard_loss():
    method = RigL()
    assert [step for step in range(1, 1001) if method.is_update_step(step, 1000)] == [
        100,
        200,
        300,
        400,
        500,
        600,
        700,
    ]
    assert method.drop_fraction_at(375, 1000) == pytest.approx(0.15)
    assert method.under_standard_loss and not FlyingBird().under_standard_loss


def test_queue_of_masks():
    queue = MaskQueue(tolerance=0.25, patience=3)

    def mask(*kept):
        return {"w": torch.tensor([n in kept for n in range(8)])}

    assert not queue.update(mask(0, 1))
    assert not queue.update(mask(0, 1))
    assert not queue.update(mask(2, 3))  # 4 of 8 differ from both
    assert queue.distances == [None, None, 0.5]
    assert not queue.update(mask(2, 4))  # 0.25 from the third, 0.5 from the second
    other = MaskQueue(tolerance=0.25, patience=3)
    other.load_state_dict(queue.state_dict())
    for q in (queue, other):
        assert q.update(mask(2, 3))  # 0 and 0.25: at the tolerance is within it
        assert q.distances == [None, None, 0.5, 0.5, 0.25]


def test_robust_bird_and_one_shot_keep_the_largest_of_all_layers():
    weights = {"a": torch.tensor([[3.0, -4.0], [0.5, 0.1]]), "b": torch.tensor([[1.0, -2.0], [0.2, 0.3]])}
    expected = {"a": [[True, True], [False, False]], "b": [[True, True], [False, False]]}
    drawn = RobustBird(density=0.5).draw(weights)
    one_shot = OneShotMagnitude(density=0.5).initial_masks(weights, seed=0)
    for masks in (drawn, one_shot):
        assert {name: mask.tolist() for name, mask in masks.items()} == expected


def test_snip_by_hand():
    weights = {"a": torch.tensor([[3.0, -4.0]]), "b": torch.tensor([[1.0, -2.0]])}
    gradients = {"a": torch.tensor([[0.1, 0.1]]), "b": torch.tensor([[1.0, -0.1]])}
    method = SNIP(density=0.5)
    masks = method.masks_from_scores(method.score(weights, gradients))  # 0.3, 0.4, 1.0, 0.2
    assert masks["a"].tolist() == [[False, True]] and masks["b"].tolist() == [[True, False]]


def test_other_controls():
    weights = {"a": torch.randn(20, 30), "b": torch.randn(10, 20)}
    assert all(mask.all() for mask in Dense().initial_masks(weights, 0).values())
    masks = RandomMask(density=0.1).initial_masks(weights, 0)
    assert sum(int(mask.sum()) for mask in masks.values()) == 80
    fixed = FixedMasks(masks)
    assert fixed.density == pytest.approx(0.1)
    assert all(torch.equal(mask, masks[name]) for name, mask in fixed.initial_masks(weights, 0).items())
    with pytest.raises(TicketError, match="another model"):
        fixed.initial_masks({"a": weights["a"]}, 0)
    again = get_sparse_method(**fixed.describe())
    assert again.describe() == fixed.describe() and len(json.dumps(fixed.describe())) < 200
    with pytest.raises(ConfigurationError, match="has the fingerprint of its masks alone"):
        again.initial_masks(weights, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FlyingBird(density=0), "FlyingBird: density must be in"),
        (lambda: FlyingBirdPlus(density=1.0), r"use Dense\(\) to keep all"),
        (lambda: RobustBird(density=-1), "RobustBird: density"),
        (lambda: SNIP(density=2), "SNIP: density"),
    ],
)
def test_bad_densities(make, message):
    with pytest.raises(SparsityError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FlyingBird(init="flat"), "FlyingBird: init must be one of uniform, er, erk, igq, got 'flat'"),
        (lambda: FlyingBird(drop_fraction=1.0), "drop_fraction must be in"),
        (lambda: FlyingBird(final_drop_fraction=0.9), "final_drop_fraction must be in"),
        (lambda: FlyingBird(period=0), "period must be a number of steps"),
        (lambda: FlyingBird(second_period=1.5), "second_period to be a whole number"),
        (lambda: FlyingBird(growth="momentum"), "growth must be one of gradient, random, got 'momentum'"),
        (lambda: FlyingBird(reset_regrown="no"), "reset_regrown to be True or False, got 'no'"),
        (lambda: FlyingBirdPlus(prune_ratio=-1), "prune_ratio must be finite and not negative"),
        (lambda: FlyingBirdPlus(window=0), "window must be an integer of at least 1"),
        (lambda: RobustBird(tolerance=0), "tolerance must be in"),
        (lambda: RobustBird(patience=1), "patience must be an integer of at least 2"),
        (lambda: RobustBird(budget=0), "budget must be positive"),
        (lambda: RigL(stop=0), "stop must be a fraction"),
        (lambda: Dense(density=0.5), "Dense keeps all weights"),
        (lambda: FixedMasks(), "needs masks, got none"),
        (lambda: get_sparse_method("snip", period=3), "snip has no option period"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_registry():
    controls = {"dense", "fixed", "grasp", "magnitude", "random", "rigl", "snip", "synflow", "taylor"}
    assert set(list_sparse_methods()) == {"flying-bird", "flying-bird-plus", "robust-bird"} | controls
    assert get_sparse_method("flying-bird", density=0.1) == FlyingBird(density=0.1)
    assert get_sparse_method(**FlyingBirdPlus(period=7).describe()) == FlyingBirdPlus(period=7)
    with pytest.raises(UnknownNameError, match="unknown sparse method 'bird': expected one of dense"):
        get_sparse_method("bird")
    with pytest.raises(ConfigurationError, match="registered already"):
        register_sparse_method("snip", FlyingBird)
