"""Each method against numbers computed by hand on `loss = sum(w * (x + delta))`, whose gradient is `w` everywhere."""

from __future__ import annotations

import pytest
import torch

from hf_robust_tickets.adversaries import (
    FGM,
    PGD,
    FreeLB,
    FreeLBPlusPlus,
    get_adversary,
    list_adversaries,
    register_adversary,
)
from hf_robust_tickets.errors import ConfigurationError, UnknownNameError
from tests.testing.by_hand import GRAD, MASK, UNIT, deltas


def test_fgm():
    adversary = FGM(step_size=2.0)
    clean, attacked = deltas(adversary)
    assert clean.abs().max() == 0
    torch.testing.assert_close(attacked, 2 * UNIT)
    assert [adversary.loss_weight(k) for k in range(adversary.num_passes)] == [1.0, 1.0]


def test_fgm_linf_is_the_sign():
    _, attacked = deltas(FGM(step_size=0.5, norm="linf"))
    assert attacked.tolist() == [[[0.5, 0.0], [0.0, 0.5], [0.0, 0.0]]]


def test_pgd_projects_and_trains_on_the_last_pass_alone():
    adversary = PGD(steps=4, step_size=1.0, max_norm=2.5)
    path = deltas(adversary)
    for k, expected in enumerate([0.0, 1.0, 2.0, 2.5]):
        torch.testing.assert_close(path[k], expected * UNIT)
    assert [adversary.loss_weight(k) for k in range(4)] == [0, 0, 0, 1]


def test_pgd_per_token():
    path = deltas(PGD(steps=3, step_size=1.0, max_norm=1.5, scope="token"))
    assert path[1].tolist() == [[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]]
    assert path[2].tolist() == [[[1.5, 0.0], [0.0, 1.5], [0.0, 0.0]]]


def test_pgd_linf_clips_each_entry():
    path = deltas(PGD(steps=3, step_size=0.3, max_norm=0.4, norm="linf"))
    torch.testing.assert_close(path[2], torch.tensor([[[0.4, 0.0], [0.0, 0.4], [0.0, 0.0]]]))


def test_freelb_weighs_all_passes_equally():
    adversary = FreeLB(steps=5, step_size=0.5, init_magnitude=0.0)
    path = deltas(adversary)
    torch.testing.assert_close(path[4], 2.0 * UNIT)
    assert sum(adversary.loss_weight(k) for k in range(5)) == pytest.approx(1.0)
    assert {adversary.loss_weight(k) for k in range(5)} == {0.2}


def test_freelb_stays_in_its_ball():
    path = deltas(FreeLB(steps=5, step_size=0.5, init_magnitude=0.0, max_norm=0.75))
    torch.testing.assert_close(path[2], 0.75 * UNIT)


def test_freelb_start_is_bounded_by_its_magnitude():
    torch.manual_seed(0)
    start = FreeLB(init_magnitude=0.05).init(torch.zeros_like(GRAD), MASK)
    assert 0 < start[:, :2].abs().max() <= 0.05 / 4**0.5  # two tokens of dimension 2
    assert start[:, 2].abs().max() == 0


def test_freelb_plus_plus_has_no_ball():
    adversary = FreeLBPlusPlus(step_size=10.0, init_magnitude=0.0)
    assert adversary.num_passes == 10
    torch.testing.assert_close(deltas(adversary)[9], 90.0 * UNIT)
    with pytest.raises(ConfigurationError, match="max_norm=1"):
        FreeLBPlusPlus(max_norm=1.0)


@pytest.mark.parametrize("name", ["fgm", "pgd", "freelb", "freelb++"])
def test_every_method_ascends(name):
    adversary = get_adversary(name)
    path = deltas(adversary)
    losses = [(GRAD[:, :2] * delta[:, :2]).sum().item() for delta in path]
    assert losses == sorted(losses) and losses[-1] > losses[0]
    assert all(not delta.requires_grad for delta in path)
    assert all(delta[:, 2].abs().max() == 0 for delta in path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be an integer of at least 1, got 0"),
        ({"step_size": -1.0}, "step_size must be finite"),
        ({"step_size": float("nan")}, "step_size to be a number, got nan"),
        ({"norm": "l3"}, "norm must be one of l2, linf, l1, got 'l3'"),
        ({"scope": "word"}, "scope must be one of sentence, token, got 'word'"),
    ],
)
def test_bad_hyper_parameters(options, message):
    with pytest.raises(ConfigurationError, match=message):
        FreeLB(**options)


def test_fgm_refuses_what_makes_it_another_method():
    with pytest.raises(ConfigurationError, match="use PGD or FreeLB"):
        FGM(steps=3)
    with pytest.raises(ConfigurationError, match="use PGD"):
        FGM(init_magnitude=0.1)


def test_registry():
    assert {"fgm", "pgd", "freelb", "freelb++"} <= set(list_adversaries())
    assert get_adversary("freelb", steps=3) == FreeLB(steps=3)
    with pytest.raises(UnknownNameError, match="unknown adversary 'frelb': expected one of"):
        get_adversary("frelb")
    with pytest.raises(ConfigurationError, match="freelb has no option epsilon"):
        get_adversary("freelb", epsilon=1)
    with pytest.raises(ConfigurationError, match="registered already"):
        register_adversary("freelb", PGD)
