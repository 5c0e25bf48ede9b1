"""Static masks from scores: GraSP, SynFlow and the first-order score, each against numbers computed on paper."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hf_robust_tickets.errors import ConfigurationError, TicketError
from hf_robust_tickets.sparse import GraSP, SynFlow, Taylor, get_sparse_method, select_weights
from hf_robust_tickets.sparse.synflow import _check_flow
from tests.testing.tiny import tiny_bert
from tests.testing.vision_models import FAMILIES, tiny_image_model

WEIGHTS = {"a": torch.tensor([[3.0, -4.0]]), "b": torch.tensor([[1.0, -2.0]])}


def test_the_first_order_score_is_the_sum_of_absolute_products():
    """Two batches whose signed products cancel: |3 x 1| + |3 x -1| = 6, ..., |-2 x 1| + |-2 x 1| = 4."""
    batches = [
        {"a": torch.tensor([[1.0, 0.5]]), "b": torch.tensor([[1.0, 1.0]])},
        {"a": torch.tensor([[-1.0, 0.0]]), "b": torch.tensor([[2.0, 1.0]])},
    ]
    method = Taylor(density=0.5)
    first, second = (method.score(WEIGHTS, gradients) for gradients in batches)
    scores = {name: first[name] + second[name] for name in WEIGHTS}
    assert {name: score.tolist() for name, score in scores.items()} == {"a": [[6.0, 2.0]], "b": [[3.0, 4.0]]}
    masks = method.masks_from_scores(scores)
    assert {name: mask.tolist() for name, mask in masks.items()} == {"a": [[True, False]], "b": [[False, True]]}


def test_grasp_keeps_what_the_norm_of_the_gradient_needs():
    """The score has a sign: -4 x 2 = -8 is the first to go, though its size is the largest."""
    products = {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([[5.0, 0.5]])}
    method = GraSP(density=0.5)
    scores = method.score(WEIGHTS, products)
    assert {name: score.tolist() for name, score in scores.items()} == {"a": [[3.0, -8.0]], "b": [[5.0, -1.0]]}
    masks = method.masks_from_scores(scores)
    assert {name: mask.tolist() for name, mask in masks.items()} == {"a": [[True, False]], "b": [[True, False]]}


class Chain(nn.Module):
    """Images of one pixel and two channels, two linear layers, and all that is not linear between them."""

    main_input_name = "pixel_values"

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(image_size=1, num_channels=2)
        self.first = nn.Linear(2, 2)
        self.norm = nn.LayerNorm(2)
        self.act = nn.Tanh()
        self.drop = nn.Dropout(0.5)
        self.second = nn.Linear(2, 1)
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 0.5]]))
            self.second.weight.copy_(torch.tensor([[-1.0, 4.0]]))

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.drop(self.act(self.norm(self.first(pixel_values.flatten(1)))))
        return {"logits": self.second(x)}


def chain_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p for name, p in model.named_parameters() if p.dim() == 2}


def synflow(model: nn.Module, **options: object) -> dict[str, list]:
    masks = SynFlow(**options).masks_from_model(model, chain_weights(model))
    return {name: mask.int().tolist() for name, mask in masks.items()}


def test_synflow_by_hand():
    """Into unit 1 flow 1 + 2, into unit 2 flow 3 + 0.5: R = 1 x 3 + 4 x 3.5 = 17.

    Scores of the first layer: 1 x 1, 1 x 2, 4 x 3 and 4 x 0.5; of the second: 1 x 3 and 4 x 3.5.
    """
    model = Chain()
    one_shot = synflow(model, density=3 / 6, iterations=1)  # 14, 12, 3
    assert one_shot == {"first.weight": [[0, 0], [1, 0]], "second.weight": [[1, 1]]}


def test_synflow_measures_anew_after_each_iteration():
    """One shot keeps a weight whose unit is cut off; measured anew its flow is none, and it goes.

    Scores with a = [[1, 1], [10, 11]] and b = [[7, 1]]: 7, 7, 10, 11 | 14, 21. Of six, round(6 x sqrt(1/2)) = 4 are
    left at k = 1: 21, 14, 11, 10. Now nothing flows into the first unit, so that 14 has become 0; 21, 11, 10 are left.
    """
    model = Chain()
    with torch.no_grad():
        model.first.weight.copy_(torch.tensor([[1.0, 1.0], [10.0, -11.0]]))
        model.second.weight.copy_(torch.tensor([[7.0, -1.0]]))
    assert synflow(model, density=3 / 6, iterations=1) == {"first.weight": [[0, 0], [0, 1]], "second.weight": [[1, 1]]}
    assert synflow(model, density=3 / 6, iterations=2) == {"first.weight": [[0, 0], [1, 1]], "second.weight": [[0, 1]]}


def test_synflow_sees_neither_biases_nor_norms_nor_activations_and_touches_nothing():
    model = Chain()
    expected = synflow(model, density=0.5, iterations=10)
    with torch.no_grad():
        model.first.bias.fill_(-50.0)
        model.norm.bias.fill_(9.0)
        model.norm.weight.fill_(-2.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.norm.train(False)
    assert synflow(model, density=0.5, iterations=10) == expected
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training and not model.norm.training
    assert not any(module._forward_hooks for module in model.modules())
    assert not any(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_synflow_on_networks_for_small_images(family):
    model = tiny_image_model(family)
    weights = select_weights(model)
    masks = SynFlow(density=0.2, iterations=20).masks_from_model(model, weights)
    total = sum(weight.numel() for weight in weights.values())
    assert sum(int(mask.sum()) for mask in masks.values()) == round(0.2 * total)
    assert all(bool(mask.any()) for mask in masks.values())
    # Nothing is kept that nothing flows through: the flow of what is kept is conserved from layer to layer.
    again = SynFlow(density=0.2, iterations=20).masks_from_model(model, weights)
    assert all(torch.equal(mask, again[name]) for name, mask in masks.items())


def test_synflow_on_an_encoder():
    model = tiny_bert()
    with pytest.raises(
        TicketError, match=r"got none through 4 such as 'bert\.encoder\.layer\.0\.attention\.self\.key"
    ):
        SynFlow(density=0.2).masks_from_model(model, select_weights(model))
    weights = select_weights(model, exclude=["query", "key"])
    masks = SynFlow(density=0.2, iterations=5).masks_from_model(model, weights)
    assert sum(int(m.sum()) for m in masks.values()) == round(0.2 * sum(w.numel() for w in weights.values()))


@pytest.mark.parametrize("rounding", [0.0, 1e-17, -1e-17])
def test_what_rounding_leaves_is_no_flow(rounding):
    """Processors differ in whether the gradient through a softmax of one token is zero, or what rounding leaves."""
    scores = {"query": torch.tensor([rounding, 0.0]), "value": torch.tensor([0.5, 1e-3])}
    masks = {name: torch.ones(2, dtype=torch.bool) for name in scores}
    with pytest.raises(TicketError, match="got none through 1 such as 'query'"):
        _check_flow(scores, masks)
    _check_flow(
        {"value": scores["value"], "thin": torch.tensor([1e-9, 0.0])},
        {"value": masks["value"], "thin": masks["query"]},
    )


def test_synflow_with_a_pattern():
    model = tiny_bert()
    weights = select_weights(model, exclude=["query", "key"])
    masks = SynFlow(density="2:4").masks_from_model(model, weights)
    assert all(int(mask.sum()) * 2 == mask.numel() for mask in masks.values())


def test_synflow_without_a_shape():
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ConfigurationError, match="got Sequential, which does not say of which shape"):
        SynFlow(density=0.5).masks_from_model(model, chain_weights(model))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SynFlow(iterations=0), "SynFlow: iterations must be a number of at least 1, got 0"),
        (lambda: Taylor(warmup_steps=-1), "Taylor: warmup_steps must be a number of steps of at least 0, got -1"),
        (lambda: Taylor(scored_steps=0), "Taylor: scored_steps must be a number of steps of at least 1, got 0"),
        (lambda: GraSP(density=1.5), "GraSP: density must be in"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(Exception, match=message):
        make()


def test_by_name():
    for method in (GraSP(density=0.3), SynFlow(iterations=7), Taylor(scored_steps=4)):
        assert get_sparse_method(**method.describe()) == method
