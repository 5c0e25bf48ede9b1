"""Several random starts of one ascent: which end is kept, against numbers computed by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import BertPreTrainedModel, GPT2Config, GPT2LMHeadModel, set_seed

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.adversaries import FGSM, PGD
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.training.steps.outputs import example_losses, predicts_next_token
from hf_robust_tickets.training.steps.perturbation import Perturbation
from hf_robust_tickets.training.steps.restarts import WorstEnd, losses_by_example
from tests.testing.families import head_class, tiny_config, tiny_model
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import KeepGradient, KeepLastBatch, arguments, assert_equal_gradients


def test_each_sentence_keeps_its_worst_end():
    worst = WorstEnd()
    worst.offer(torch.tensor([[[1.0]], [[2.0]]]), torch.tensor([0.5, 0.9]))
    worst.offer(torch.tensor([[[3.0]], [[4.0]]]), torch.tensor([0.7, 0.1]))
    worst.offer(torch.tensor([[[5.0]], [[6.0]]]), torch.tensor([0.6, float("nan")]))
    assert worst.delta.flatten().tolist() == [3.0, 2.0]


def test_choices_of_one_example_belong_together():
    worst = WorstEnd()
    worst.offer(torch.tensor([[[1.0]], [[2.0]]]), torch.tensor([0.5]))
    worst.offer(torch.tensor([[[3.0]], [[4.0]]]), torch.tensor([0.6]))
    assert worst.delta.flatten().tolist() == [3.0, 4.0]


def test_losses_of_examples_by_hand():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    expected = -logits.log_softmax(-1)[torch.arange(2), torch.tensor([1, 0])]
    torch.testing.assert_close(example_losses(logits, torch.tensor([1, 0])), expected)
    assert example_losses(torch.tensor([[1.0], [2.0]]), torch.tensor([3.0, 2.0])).tolist() == [4.0, 0.0]
    tokens, labels = torch.zeros(2, 3, 4), torch.tensor([[1, -100, 2], [0, -100, -100]])
    nat = torch.log(torch.tensor(4.0)).item()
    assert example_losses(tokens, labels).tolist() == pytest.approx([2 * nat, nat])
    assert example_losses(tokens, labels, next_token=True).tolist() == pytest.approx([nat, 0.0])
    several = example_losses(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    assert several.item() == pytest.approx(2 * torch.log(torch.tensor(2.0)).item())
    # Question answering puts an answer that was cut off beyond the last token.
    assert example_losses(torch.zeros(1, 4), torch.tensor([4])).item() == 0.0


def test_losses_agree_with_those_of_the_models():
    set_seed(0)
    causal = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=16, n_layer=1, n_head=2, n_positions=8)).eval()
    ids = torch.randint(0, 20, (1, 6))
    output = causal(input_ids=ids, labels=ids)
    torch.testing.assert_close(losses_by_example([output.logits], [ids], causal)[0] / 5, output.loss)
    with pytest.raises(ConfigurationError, match="expected labels for 1 heads, got 0"):
        losses_by_example([output.logits], [], causal)


def test_only_causal_language_models_shift_their_labels():
    for family, task, shifts in [
        ("gpt2", "causal", True), ("llama", "causal", True), ("bert", "choice", False), ("bert", "token", False),
    ]:  # fmt: skip
        model = tiny_model(family, head_class(family, task))
        assert predicts_next_token(model) == shifts, (family, task)

    class Tagger(BertPreTrainedModel):
        """A head of one's own, to which transformers gives the loss of causal language models."""

    assert not predicts_next_token(Tagger(tiny_config("bert")))


def test_rank_of_several_numbers():
    """At a perfect fit the squared error is 0; binary cross entropy would be lowest far beyond it."""
    perfect, far = torch.tensor([[5.0, 5.0]]), torch.tensor([[9.0, 9.0]])
    model = tiny_bert(problem_type="regression")
    assert losses_by_example([perfect], [perfect], model).item() == 0.0
    assert losses_by_example([far], [perfect], model).item() == 32.0


def test_choices_can_be_started_over(tmp_path):
    rows = tiny_data(8)["input_ids"]
    data = Dataset.from_dict({"input_ids": [[row, row[::-1]] for row in rows], "labels": [i % 2 for i in range(8)]})
    model = tiny_model("bert", "ForMultipleChoice")
    options = arguments(tmp_path, max_steps=1, adversary_restarts=2)
    adversary = PGD(steps=2, init_magnitude=0.1, step_unit="absolute")
    trainer = AdversarialTrainer(model, options, train_dataset=data, adversary=adversary)
    trainer.train()
    assert trainer.cost_meter.passes == 2 * 2 + 1


def perturbed_logits(model, inputs, delta):
    handle = model.get_input_embeddings().register_forward_hook(lambda module, args, output: output + delta)
    logits = model(**inputs).logits
    handle.remove()
    return logits


def test_the_end_of_the_worst_start_is_trained_on(tmp_path, monkeypatch):
    """Every start, its ascent and its losses by hand; then the gradient at each sentence's worst."""
    starts = [4 * torch.randn(8, 8, 32, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    left = list(starts)
    monkeypatch.setattr("hf_robust_tickets.adversaries.text.pgd.uniform_start", lambda *args: left.pop(0))
    keep, adversary = (
        KeepGradient(),
        PGD(steps=2, step_size=2.0, max_norm=0.0, init_magnitude=1.0, step_unit="absolute"),
    )
    options = arguments(tmp_path, max_steps=1, max_grad_norm=0, adversary_restarts=3)
    trainer = KeepLastBatch(tiny_bert(), options, train_dataset=tiny_data(), adversary=adversary, callbacks=[keep])
    trainer.train()
    model, ends, losses = tiny_bert().train(), [], []
    for start in starts:
        delta = start.clone().requires_grad_()
        loss = F.cross_entropy(perturbed_logits(model, trainer.batch, delta), trainer.batch["labels"])
        grad = torch.autograd.grad(loss, delta)[0]
        ends.append(start + 2.0 * grad / grad.flatten(1).norm(dim=1).reshape(-1, 1, 1))
        logits = perturbed_logits(model, trainer.batch, ends[-1])
        losses.append(F.cross_entropy(logits, trainer.batch["labels"], reduction="none"))
    chosen = torch.stack(losses).argmax(0)
    assert len(set(chosen.tolist())) > 1, "the starts must differ in which sentence they hurt most"
    worst = torch.stack(ends)[chosen, torch.arange(8)]
    F.cross_entropy(perturbed_logits(model, trainer.batch, worst), trainer.batch["labels"]).backward()
    assert_equal_gradients(keep.gradient, {key: p.grad for key, p in model.named_parameters() if p.grad is not None})
    # Three starts, each one ascent and one look; then the pass that trains.
    assert trainer.cost_meter.passes == 3 * 2 + 1
    assert trainer.step_cost == pytest.approx(3 * 2 / 3 + 3 / 3 + 1)


@pytest.mark.parametrize("layer", [0, 1])
def test_more_starts_hurt_more(layer, tmp_path):
    def loss(restarts):
        options = {"max_steps": 1, "logging_steps": 1, "adversary_restarts": restarts, "adversary_layer": layer}
        adversary = PGD(steps=2, step_size=0.05, max_norm=0.0, init_magnitude=9.0, step_unit="absolute")
        trainer = AdversarialTrainer(
            tiny_bert(), arguments(tmp_path, **options), train_dataset=tiny_data(), adversary=adversary
        )
        trainer.train()
        return next(log["adversary_loss"] for log in trainer.state.log_history if "loss" in log)

    assert loss(8) > loss(1)


def test_starts_differ_although_dropout_is_shared():
    adversary = PGD(steps=2, init_magnitude=1.0, step_unit="absolute")
    perturbation = Perturbation(adversary, {}, share_dropout=True, state={})
    clean, starts, masks = torch.zeros(1, 2, 3), [], []
    for _ in range(3):
        perturbation.begin_pass(clean.device)
        starts.append(perturbation.add(clean).detach().clone())
        masks.append(torch.rand(1, device=clean.device).item())
        perturbation.forget()
    assert len(set(masks)) == 1
    assert not torch.equal(starts[0], starts[1]) and not torch.equal(starts[1], starts[2])


def test_what_has_no_use_for_restarts_is_refused(tmp_path):
    options = arguments(tmp_path, adversary_restarts=2)
    for name in ("freelb", "fgm", "trades", "free-at", "random-noise"):
        with pytest.raises(ConfigurationError, match=f"{name} has no ascents apart .* use pgd or fgsm"):
            AdversarialTrainer(tiny_bert(), options, adversary=name)
    with pytest.raises(ConfigurationError, match="needs random starts, got init_magnitude 0"):
        AdversarialTrainer(tiny_bert(), options, adversary="pgd")
    AdversarialTrainer(tiny_bert(), options, adversary=FGSM(init_magnitude=0.01, step_unit="absolute"))
    with pytest.raises(ConfigurationError, match="adversary_restarts must be at least 1, got 0"):
        arguments(tmp_path, adversary_restarts=0)
