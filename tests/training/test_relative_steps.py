"""Relative lengths and layers from the end, inside the Trainer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from datasets import Dataset

from hf_robust_tickets import AdversarialTrainer, RobustTicketArguments
from hf_robust_tickets.adversaries import PGD, TRADES, FreeLB
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.training.ticket_arguments import TicketOptions
from tests.testing.jobs import make_trainer
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import arguments, assert_equal_gradients, first_gradient, logged


def two_lengths(size=8):
    """Sentences of eight and of five tokens, padded."""
    data = tiny_data(size)
    mask = [[1] * n + [0] * (8 - n) for n in (8, 5) * (size // 2)]
    return Dataset.from_dict({**data.to_dict(), "attention_mask": mask})


def freelb_by_hand(model, data, share, passes):
    """Every sentence moves by shares of the mean norm of its own words, times the root of their number."""
    inputs = {name: torch.tensor(data[name]) for name in data.column_names}
    seen = inputs["attention_mask"].unsqueeze(-1)
    words = model.get_input_embeddings()(inputs["input_ids"]).detach() * seen
    count = inputs["attention_mask"].sum(1)
    unit = (words.norm(dim=-1).sum(1) / count * count.sqrt()).reshape(-1, 1, 1)
    delta = torch.zeros_like(words)
    for _ in range(passes):
        delta = delta.detach().requires_grad_()
        handle = model.get_input_embeddings().register_forward_hook(lambda *given, delta=delta: given[2] + delta)
        (model(**inputs).loss / passes).backward()
        handle.remove()
        grad = delta.grad * seen
        delta = delta.detach() + share * unit * grad / grad.flatten(1).norm(dim=1).reshape(-1, 1, 1)
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_every_sentence_moves_by_shares_of_its_own_norm(tmp_path):
    adversary = FreeLB(steps=3, step_size=0.5, init_magnitude=0.0)
    got = first_gradient(tmp_path, train_dataset=two_lengths(), adversary=adversary)
    expected = freelb_by_hand(tiny_bert().train(), two_lengths(), 0.5, 3)
    assert_equal_gradients(got, expected)
    absolute = first_gradient(
        tmp_path, train_dataset=two_lengths(), adversary=replace(adversary, step_unit="absolute")
    )
    assert any((got[name] - absolute[name]).abs().max() > 1e-3 for name in got)


@pytest.mark.parametrize("kind", [PGD, TRADES])
@pytest.mark.parametrize("layer", [0, 1])
def test_the_share_is_the_same_wherever_it_is_taken(kind, layer, tmp_path, same_starts):
    """What the log measures of delta, over the norm at that place, is the share that was asked for."""
    options = {"steps": 2 if kind is PGD else 1, "step_size": 0.2, "max_norm": 0.0, "norm": "l2"}
    adversary = kind(**options, **({} if kind is PGD else {"init_magnitude": 1e-3}))
    model, data = tiny_bert(), tiny_data(8)
    with torch.no_grad():
        ids = torch.tensor(data["input_ids"])
        places = [model.get_input_embeddings()(ids), *model(ids, output_hidden_states=True).hidden_states[1:]]
    unit = places[layer].norm(dim=-1).mean(1) * 8**0.5
    entry = logged(tmp_path, adversary, model, data=data, adversary_layer=layer)[0]
    assert entry["adversary_delta_norm"] == pytest.approx(0.2 * unit.mean().item(), rel=1e-2)


def test_accumulation_does_not_change_a_share(tmp_path):
    adversary = FreeLB(steps=3, step_size=0.5, init_magnitude=0.0)
    whole = first_gradient(tmp_path, train_dataset=two_lengths(), adversary=adversary)
    parts = first_gradient(tmp_path, train_dataset=two_lengths(), adversary=adversary, batch=2, accumulation=4)
    assert_equal_gradients(whole, parts)


def test_options_name_the_unit(tmp_path):
    options = arguments(tmp_path, adversary_step_unit="absolute", adversary_steps=2)
    assert options.build_adversary() == FreeLB(steps=2, step_unit="absolute")
    assert arguments(tmp_path).build_adversary() == FreeLB()
    earlyrobust = RobustTicketArguments.earlyrobust(output_dir=str(tmp_path)).build_adversary()
    assert (earlyrobust.step_unit, earlyrobust.step_size) == ("absolute", 0.01)
    with pytest.raises(ConfigurationError, match=r"a relative step_size is a share .*got 0: "):
        arguments(tmp_path, adversary_step_size=0.0)
    with pytest.raises(ConfigurationError, match=r"a relative step_size is a share .*got 12: "):
        arguments(tmp_path, adversary_step_size=12.0)
    with pytest.raises(ConfigurationError, match="lengths are in pixels"):
        arguments(tmp_path, adversary="pixel-pgd", adversary_step_unit="relative")


@pytest.mark.parametrize(("negative", "number"), [(-1, 2), (-2, 1)])
def test_layers_are_counted_from_the_end(tmp_path, negative, number):
    adversary = FreeLB(steps=3, init_magnitude=0.0)

    def trained(layer):
        return first_gradient(tmp_path, adversary=adversary, options={"adversary_layer": layer})

    assert_equal_gradients(trained(negative), trained(number), rtol=0, atol=0)
    costs = [
        AdversarialTrainer(tiny_bert(), arguments(tmp_path, adversary_layer=layer), adversary=adversary).step_cost
        for layer in (negative, number)
    ]
    assert costs[0] == costs[1] < 3


@pytest.mark.parametrize("layer", [-3, 3])
def test_layers_that_are_not_there_are_refused_before_training(tmp_path, layer):
    message = rf"a layer from 1 to 2 \(from the end: -1 to -2\), got {layer}"
    with pytest.raises(ConfigurationError, match=message):
        AdversarialTrainer(tiny_bert(), arguments(tmp_path, adversary_layer=layer))
    with pytest.raises(ConfigurationError, match=message):
        make_trainer(tmp_path, finetune_adversary="freelb", finetune_adversary_kwargs={"layer": layer})
    with pytest.raises(ConfigurationError, match=r"yopo runs the layer above .* got adversary_layer=-1"):
        AdversarialTrainer(tiny_bert(), arguments(tmp_path, adversary_layer=-1), adversary="yopo")


def test_the_fine_tuning_has_an_adversary_of_its_own():
    kwargs = {"steps": 2, "step_size": 0.3, "step_unit": "absolute", "layer": -1, "every": 3, "start_step": 0.5}
    options = TicketOptions(finetune_adversary="freelb", finetune_adversary_kwargs=kwargs)
    own = options.finetune_adversary_options()
    assert own.build_adversary() == FreeLB(steps=2, step_size=0.3, step_unit="absolute")
    assert (own.adversary_layer, own.adversary_every, own.adversary_start_step) == (-1, 3, 0.5)
