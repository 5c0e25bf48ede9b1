"""HotFlip inside the Trainer: what is exchanged, its gradient by hand, and what a checkpoint keeps."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import DataCollatorWithPadding

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.adversaries import FGM, FreeLB, HotFlip
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.training.extensions.exchange import exchange
from tests.testing.small_tokenizers import wordpiece
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import KeepGradient, arguments, assert_equal_gradients, first_gradient, weights

ADVERSARY = HotFlip(step_size=0.5, chance=1.0, adaptive=0, step_unit="absolute")
TOKENIZER = wordpiece()
TEXTS = ["the film was good", "a dull plot", "great acting, great love", "unwatchable!"] * 4


def model():
    return tiny_bert(vocab_size=100)


def data():
    rows = TOKENIZER(TEXTS)
    return Dataset.from_dict({**rows, "labels": [1, 0, 1, 0] * 4}).remove_columns(
        [name for name in rows if name not in ("input_ids", "attention_mask")]
    )


def partners(**more):
    return {
        "train_dataset": data(),
        "processing_class": TOKENIZER,
        "data_collator": DataCollatorWithPadding(TOKENIZER),
        "adversary": ADVERSARY,
        **more,
    }


class KeepTexts(AdversarialTrainer):
    """The ids of every pass, and the batch."""

    def compute_loss(self, model, inputs, *args, **kwargs):
        self.__dict__.setdefault("seen", []).append({name: value.clone() for name, value in inputs.items()})
        return super().compute_loss(model, inputs, *args, **kwargs)


def test_exchange_by_hand():
    weight = torch.tensor([[0.0], [1.0], [2.0], [5.0], [-1.0]])
    ids = torch.tensor([[1, 2, 1, 0], [1, 1, 2, 4]])
    table = torch.tensor([[0, 0], [2, 3], [1, 1], [3, 3], [3, 1]])
    gradient = torch.tensor([[[1.0], [2.0], [-1.0], [9.0]], [[1.0], [2.0], [-3.0], [1.0]]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    # Rises: row 0: 1 -> 3 gives 4; 2 -> 1 loses; 1 -> 2 loses; padding. Row 1: 4, 8, 3 (2 -> 1), 6 (4 -> 3).
    new = exchange(ids, gradient, weight, table[ids], mask, HotFlip(rate=1.0, chance=1.0))
    assert new.tolist() == [[3, 2, 1, 0], [3, 3, 1, 3]]
    half = exchange(ids, gradient, weight, table[ids], mask, HotFlip(rate=0.5, chance=1.0))
    assert half.tolist() == [[3, 2, 1, 0], [1, 3, 2, 3]]
    gradient[0, 0] = torch.nan
    assert torch.equal(exchange(ids, gradient, weight, table[ids], mask, HotFlip(chance=1.0)), ids)


def test_a_token_takes_part_with_its_chance():
    torch.manual_seed(0)
    weight, ids = torch.tensor([[0.0], [1.0]]), torch.zeros(200, 50, dtype=torch.int64)
    candidates = torch.ones(200, 50, 1, dtype=torch.int64)
    adversary = HotFlip(rate=1.0, chance=0.3)
    new = exchange(ids, torch.ones(200, 50, 1), weight, candidates, torch.ones(200, 50), adversary)
    assert new.float().mean().item() == pytest.approx(0.3, abs=0.02)


def test_gradient_is_the_mean_of_clean_and_exchanged_text(tmp_path):
    keep = KeepGradient()
    trainer = KeepTexts(model(), arguments(tmp_path, max_steps=1, max_grad_norm=0), callbacks=[keep], **partners())
    trainer.train()
    clean, other = trainer.seen
    changed = clean["input_ids"] != other["input_ids"]
    special = torch.isin(clean["input_ids"], torch.tensor(TOKENIZER.all_special_ids))
    assert changed.any() and not (changed & special).any()
    most = (0.3 * clean["attention_mask"].sum(dim=1)).ceil()
    assert (changed.sum(dim=1) <= most).all()

    by_hand, delta = model().train(), torch.zeros(8, clean["input_ids"].shape[1], 32)
    for batch in (clean, other):
        delta = delta.detach().requires_grad_()
        handle = by_hand.get_input_embeddings().register_forward_hook(lambda *given, delta=delta: given[2] + delta)
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        loss = F.cross_entropy(by_hand(**inputs).logits, batch["labels"]) / 2
        handle.remove()
        loss.backward()
        gradient = delta.grad * clean["attention_mask"].unsqueeze(-1)
        delta = delta + 0.5 * gradient / gradient.flatten(1).norm(dim=1).reshape(-1, 1, 1)
    assert_equal_gradients(keep.gradient, {key: p.grad for key, p in by_hand.named_parameters()})


def test_a_clean_pass_that_is_only_climbed_on(tmp_path):
    """What is left of the mean of two passes is the second one, where it was."""
    given = {"rate": 0.5, "chance": 1.0, "step_size": 0.5}
    parts = {
        share: first_gradient(
            tmp_path / str(share), model=model(), **partners(adversary=HotFlip(clean_share=share, **given))
        )
        for share in (0.0, 0.5, 0.75)
    }
    plain = first_gradient(tmp_path / "plain", model=model(), **partners(adversary=None))
    for share in (0.5, 0.75):
        expected = {name: share * plain[name] + (1 - share) * alone for name, alone in parts[0.0].items()}
        assert_equal_gradients(parts[share], expected)
    assert HotFlip(clean_share=0.0).cost == pytest.approx(1 + 2 / 3) and HotFlip().cost == 2


def test_shares_of_the_rate_by_hand():
    weight, ids = torch.tensor([[0.0], [1.0]]), torch.zeros(3, 4, dtype=torch.int64)
    candidates, gradient = torch.ones(3, 4, 1, dtype=torch.int64), torch.tensor([4.0, 3.0, 2.0, 1.0]).expand(3, 4)
    shares = torch.tensor([0.0, 0.3, 1.0])
    adversary = HotFlip(rate=0.5, chance=1.0)
    new = exchange(ids, gradient.unsqueeze(-1), weight, candidates, torch.ones(3, 4), adversary, shares)
    assert new.tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]]


@pytest.mark.parametrize("sure", [True, False])
def test_examples_are_attacked_as_far_as_the_model_is_sure(tmp_path, sure):
    def biased():
        biased = model()
        biased.classifier.bias.data[:] = torch.tensor([0.0, 9.0 if sure else -9.0])
        return biased

    rows = {"train_dataset": data().filter(lambda row: row["labels"] == 1)}
    adaptive = partners(adversary=HotFlip(step_size=0.5, chance=1.0), **rows)
    trainer = KeepTexts(biased(), arguments(tmp_path / "a", max_steps=1), **adaptive)
    trainer.train()
    same = torch.equal(trainer.seen[0]["input_ids"], trainer.seen[1]["input_ids"])
    assert same is not sure
    got = first_gradient(tmp_path / "b", model=biased(), **adaptive)
    if not sure:  # twice the text as it is
        assert_equal_gradients(got, first_gradient(tmp_path / "c", model=biased(), **partners(adversary=None, **rows)))


def test_where_nothing_is_near_it_is_fgm(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_robust_tickets.training.extensions.exchange.exchange", lambda ids, *given: ids.clone())
    got = first_gradient(tmp_path / "a", model=model(), **partners())
    fgm = first_gradient(tmp_path / "b", model=model(), **partners(adversary=FGM(step_size=0.5, step_unit="absolute")))
    # FGM adds both losses up.
    assert_equal_gradients(got, {name: gradient / 2 for name, gradient in fgm.items()})


def test_two_halves_of_a_batch_give_the_gradient_of_the_whole(tmp_path):
    one = first_gradient(tmp_path / "a", model=model(), batch=8, **partners())
    two = first_gradient(tmp_path / "b", model=model(), batch=4, accumulation=2, **partners())
    assert_equal_gradients(one, two)


def test_a_resumed_training_exchanges_for_the_same_tokens(tmp_path):
    options = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, "learning_rate": 1e-2}
    kept = partners(adversary=HotFlip(step_size=0.5, chance=0.7))
    whole = AdversarialTrainer(model(), arguments(tmp_path / "a", **options), **kept)
    whole.train()
    # Other weights at the start: neighbours that are looked up again would be others.
    resumed = AdversarialTrainer(tiny_bert(seed=9, vocab_size=100), arguments(tmp_path / "b", **options), **kept)
    resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-3"))
    table = resumed.adversarial_step.extensions["token-exchange"]._nearest.table
    assert torch.equal(table, whole.adversarial_step.extensions["token-exchange"]._nearest.table)
    for name, weight in weights(whole).items():
        assert torch.equal(weight, weights(resumed)[name]), name


def test_data_without_a_table_of_ids_is_asked_for_the_whole_vocabulary(tmp_path):
    rows = [data()[i] for i in range(16)]
    listed = first_gradient(tmp_path / "a", model=model(), **partners(train_dataset=rows))
    assert_equal_gradients(listed, first_gradient(tmp_path / "b", model=model(), **partners()))


@pytest.mark.parametrize(
    ("options", "more", "said"),
    [
        ({"adversary_layer": 1}, {}, "hotflip exchanges tokens, got adversary_layer=1: use 0, or freelb"),
        ({}, {"processing_class": None}, "hotflip exchanges tokens .* got NoneType: pass processing_class=tokenizer"),
    ],
)
def test_what_it_cannot_do_is_refused(tmp_path, options, more, said):
    with pytest.raises(ConfigurationError, match=said):
        AdversarialTrainer(model(), arguments(tmp_path, **options), **partners(**more))


@pytest.mark.parametrize("adversary", [ADVERSARY, HotFlip(), FGM(adaptive=1)])
def test_a_batch_without_ids_is_refused(tmp_path, adversary):
    pads = DataCollatorWithPadding(TOKENIZER)

    def collate(rows):
        batch = dict(pads(rows))
        batch["inputs_embeds"] = torch.randn(*batch.pop("input_ids").shape, 32)
        return batch

    with pytest.raises(ConfigurationError, match="give the model input_ids, not inputs_embeds"):
        others = partners(data_collator=collate, adversary=adversary)
        AdversarialTrainer(model(), arguments(tmp_path), **others).train()


@pytest.mark.parametrize("name", ["rate", "chance"])
@pytest.mark.parametrize("value", [0.0, 1.5])
def test_shares_are_shares(name, value):
    with pytest.raises(ConfigurationError, match=f"HotFlip: {name} must be in"):
        HotFlip(**{name: value})


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_being_sure_is_a_share(value):
    with pytest.raises(ConfigurationError, match="HotFlip: adaptive must be in"):
        HotFlip(adaptive=value)


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_the_attacked_text_trains_in_some_part(value):
    with pytest.raises(ConfigurationError, match=r"HotFlip: clean_share must be in \[0, 1\), got .*: e.g. 0.5"):
        HotFlip(clean_share=value)


def test_candidates_are_one_at_least():
    with pytest.raises(ConfigurationError, match="candidates must be at least 1, got 0"):
        HotFlip(candidates=0)


def test_other_methods_leave_the_text_alone(tmp_path):
    trainer = KeepTexts(
        tiny_bert(), arguments(tmp_path, max_steps=1), train_dataset=tiny_data(), adversary=FreeLB(steps=2)
    )
    trainer.train()
    assert torch.equal(trainer.seen[0]["input_ids"], trainer.seen[1]["input_ids"])
