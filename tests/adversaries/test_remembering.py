"""Methods that carry their perturbation on, and the controls, against numbers computed by hand."""

from __future__ import annotations

import pytest
import torch

from hf_robust_tickets.adversaries import FGSM, TAVAT, YOPO, FreeAT, RandomNoise
from hf_robust_tickets.errors import ConfigurationError
from tests.testing.by_hand import GRAD, MASK, deltas
from tests.testing.device import device


def test_fgsm_trains_on_the_end_of_one_sign_step():
    adversary = FGSM(step_size=0.5)
    clean, attacked = deltas(adversary)
    assert clean.abs().max() == 0
    assert attacked.tolist() == [[[0.5, 0.0], [0.0, 0.5], [0.0, 0.0]]]
    assert [adversary.loss_weight(k) for k in range(2)] == [0.0, 1.0]
    with pytest.raises(ConfigurationError, match="one step in the linf norm"):
        FGSM(norm="l2")


def test_fast_adversarial_training_starts_at_random_and_stays_in_its_ball():
    torch.manual_seed(0)
    adversary = FGSM(step_size=0.0125, max_norm=0.01, init_magnitude=0.01)
    start, attacked = deltas(adversary)
    assert 0 < start.abs().max() <= 0.01
    # 1.25 radii from anywhere inside: uphill entries end on the surface unless they start beyond a quarter below it.
    assert attacked[0, 0, 0].item() == pytest.approx(min(0.01, start[0, 0, 0].item() + 0.0125))


def test_free_at_goes_on_where_it_was():
    adversary = FreeAT(steps=4, step_size=0.3, max_norm=0.5)
    assert adversary.num_passes == 1 and adversary.replays == 4 and adversary.loss_weight(0) == 1.0
    memory: dict[str, torch.Tensor] = {}
    x, seen = torch.zeros_like(GRAD), []
    for _ in range(3):
        delta = adversary.recall(memory, adversary.init(x, MASK), None)
        seen.append(delta[0, 0, 0].item())
        adversary.remember(memory, adversary.ascend(delta, GRAD, MASK), None, MASK)
    assert seen == pytest.approx([0.0, 0.3, 0.5])
    # Another shape starts anew.
    other = torch.zeros(1, 2, 2)
    assert adversary.recall(memory, other, None) is other


def test_yopo_weighs_its_full_passes_equally():
    adversary = YOPO(steps=4, inner_steps=5, step_size=0.5, init_magnitude=0.0)
    assert [adversary.loss_weight(k) for k in range(4)] == [0.25] * 4
    with pytest.raises(ConfigurationError, match="inner_steps must be an integer of at least 1"):
        YOPO(inner_steps=0)


def test_random_noise_is_neftune():
    torch.manual_seed(0)
    adversary = RandomNoise(init_magnitude=5.0)
    noise = adversary.init(torch.zeros(1, 40, 100), torch.tensor([[1] * 25 + [0] * 15]))
    # 25 tokens of 100 numbers: entries uniform below 5 / 50.
    assert 0.099 < noise.abs().max().item() <= 0.1 and noise[0, 25:].abs().max() == 0
    assert noise[0, :25].std().item() == pytest.approx(0.1 / 3**0.5, rel=0.05)
    assert adversary.num_passes == 1 and adversary.ascend(noise, noise, MASK) is noise


# --- TA-VAT ---------------------------------------------------------------------------------------------------------

# The two parts of delta have gradients of their own.
BOTH = torch.stack([GRAD, GRAD])


def test_ta_vat_moves_both_parts_and_shrinks_small_tokens():
    adversary = TAVAT(step_size=1.0, init_magnitude=0.0, max_norm=0.0)
    start = torch.zeros_like(BOTH)
    start[1, 0, 0] = torch.tensor([0.0, 1.0])
    sentence, tokens = adversary.ascend(start, BOTH, MASK)
    # The sentence's part: one step of length 1 along (3, 0, 0, 4) / 5.
    torch.testing.assert_close(sentence, torch.tensor([[[0.6, 0.0], [0.0, 0.8], [0.0, 0.0]]]))
    # The tokens': (1, 0) onto (0, 1) has length sqrt 2, the longest; (0, 1) is 1 / sqrt 2 of it, and shrinks so.
    torch.testing.assert_close(tokens, torch.tensor([[[1.0, 1.0], [0.0, 2**-0.5], [0.0, 0.0]]]))


def test_ta_vat_brings_the_sum_of_both_parts_into_the_ball_by_one_factor():
    adversary = TAVAT(step_size=0.0, init_magnitude=0.0, max_norm=1.0, step_unit="absolute")
    start = torch.zeros(2, 1, 2, 1)
    start[0, 0, :, 0], start[1, 0, :, 0] = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 2.0])
    # The sum, (3, 4), is of length 5: both parts are divided by 5.
    moved = adversary.ascend(start, torch.ones_like(start), torch.ones(1, 2))
    torch.testing.assert_close(moved, start / 5)
    assert adversary.added(moved).norm().item() == pytest.approx(1.0)
    inside = adversary.ascend(start / 10, torch.ones_like(start), torch.ones(1, 2))
    torch.testing.assert_close(inside, start / 10)


def test_ta_vat_remembers_the_mean_per_word_and_starts_there():
    adversary = TAVAT(init_magnitude=0.0)
    memory = adversary.new_state(torch.nn.Embedding(10, 2), device())
    ids, mask = torch.tensor([[5, 7, 5, 0]]), torch.tensor([[1, 1, 1, 0]])
    delta = torch.zeros(2, 1, 4, 2)
    delta[1, 0] = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [9.0, 9.0]])
    adversary.remember(memory, delta, ids, mask)
    assert memory["known"].tolist() == [False] * 5 + [True, False, True, False, False]
    start = torch.full((2, 1, 3, 2), 0.5)
    recalled = adversary.recall(memory, start, torch.tensor([[7, 5, 9]]))
    assert recalled[0].unique().item() == 0.5  # the sentence's part is as it was
    assert recalled[1, 0].tolist() == [[0.0, 2.0], [2.0, 0.0], [0.5, 0.5]]  # word 9 was never seen
    adversary.remember(memory, recalled, torch.tensor([[7, 5, 9]]), torch.ones(1, 3))
    assert memory["vocabulary"].shape == (10, 2) and memory["vocabulary"][9].tolist() == [0.5, 0.5]
    with pytest.raises(ConfigurationError, match="needs the input_ids"):
        adversary.recall(memory, start, None)
    with pytest.raises(ConfigurationError, match="input embeddings with num_embeddings and embedding_dim, got Linear"):
        adversary.new_state(torch.nn.Linear(2, 2), device())
