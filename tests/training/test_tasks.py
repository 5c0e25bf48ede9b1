"""Attacks on tasks other than the classification of one sentence, and on which tokens: gradients by hand."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.adversaries import FreeLB, perturbation_mask
from hf_robust_tickets.errors import ConfigurationError, DataError
from hf_robust_tickets.training.steps.perturbation import spared_tokens
from tests.testing.families import tiny_model
from tests.testing.methods import METHODS
from tests.testing.tiny import tiny_bert, tiny_data, tiny_tokenizer
from tests.testing.training import arguments, assert_equal_gradients, first_gradient, logged

ADVERSARY = FreeLB(steps=3, init_magnitude=0.0, step_size=0.3, max_norm=0.5, step_unit="absolute")
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def rows(task: str) -> Dataset:
    """Eight examples of two lengths, padded to the longer one."""
    ids = tiny_data(8)["input_ids"]
    mask = [[1] * n + [0] * (8 - n) for n in (8, 5) * 4]
    columns = {"input_ids": ids, "attention_mask": mask}
    if task == "token":
        columns["labels"] = [[t % 3 if m else -100 for t, m in zip(*pair)] for pair in zip(ids, mask)]
    elif task == "causal":
        columns["labels"] = [[t if m else -100 for t, m in zip(*pair)] for pair in zip(ids, mask)]
    else:
        columns |= {"token_type_ids": [[0, 0, 0, 1, 1, 1, 1, 1]] * 8, "labels": [0, 1] * 4}
    return Dataset.from_dict(columns)


def model_of(task: str):
    if task == "causal":
        return tiny_model("llama", "ForCausalLM").train()
    head = {"token": "ForTokenClassification", "pair": "ForSequenceClassification"}[task]
    return tiny_model("bert", head, **NO_DROPOUT).train()


def by_hand(model, data, adversary, spared=()):
    """FreeLB on the bare model: only what the attention mask shows, and is not spared, is moved."""
    inputs = {name: torch.tensor(data[name]) for name in data.column_names}
    may = inputs["attention_mask"] * ~torch.isin(inputs["input_ids"], torch.tensor(spared))
    may, delta = may.unsqueeze(-1), torch.zeros(*inputs["input_ids"].shape, 32)
    for _ in range(adversary.steps):
        delta = delta.detach().requires_grad_()
        handle = model.get_input_embeddings().register_forward_hook(lambda *given, delta=delta: given[2] + delta)
        (model(**inputs).loss / adversary.steps).backward()
        handle.remove()
        grad = delta.grad * may
        delta = delta.detach() + adversary.step_size * grad / grad.flatten(1).norm(dim=1).reshape(-1, 1, 1)
        delta = delta * (adversary.max_norm / delta.flatten(1).norm(dim=1)).clamp_max(1).reshape(-1, 1, 1)
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("task", ["token", "causal", "pair"])
def test_gradient_is_that_of_the_algorithm(task, tmp_path):
    expected = by_hand(model_of(task), rows(task), ADVERSARY)
    got = first_gradient(tmp_path, model=model_of(task), adversary=ADVERSARY, train_dataset=rows(task))
    assert_equal_gradients(expected, got)
    plain = first_gradient(tmp_path, model=model_of(task), adversary=None, train_dataset=rows(task))
    assert any((plain[name] - got[name]).abs().max() > 1e-3 for name in plain)


def test_tokens_of_a_step_count_alike_in_language_models(tmp_path):
    """Micro-batches with different numbers of tokens: the step is that of the whole batch."""
    expected = by_hand(model_of("causal"), rows("causal"), ADVERSARY)
    got = first_gradient(
        tmp_path, model=model_of("causal"), adversary=ADVERSARY, train_dataset=rows("causal"), batch=2, accumulation=4
    )
    assert_equal_gradients(expected, got)


def test_second_sentences_are_told_from_first_ones_under_attack(tmp_path):
    """`token_type_ids` reach every pass: without them, the gradient is another."""
    whole = first_gradient(tmp_path, model=model_of("pair"), adversary=ADVERSARY, train_dataset=rows("pair"))
    data = rows("pair").remove_columns("token_type_ids")
    bare = first_gradient(tmp_path, model=model_of("pair"), adversary=ADVERSARY, train_dataset=data)
    types = "bert.embeddings.token_type_embeddings.weight"
    assert whole[types][1].abs().max() > 1e-4 and bare[types][1].abs().max() == 0


@pytest.mark.parametrize("task", ["token", "causal"])
@pytest.mark.parametrize("name", ["pgd", "trades", "ta-vat"])
def test_other_methods_train_on_tokens(task, name, tmp_path):
    entry = logged(tmp_path, METHODS[name], model_of(task), rows(task), max_steps=2)[-1]
    assert entry["adversary_delta_norm"] > 0 and entry["adversary_skipped_ascents"] == 0


# --- special tokens -------------------------------------------------------------------------------------------------


def framed() -> Dataset:
    """[CLS] in front, [MASK] and [UNK] within."""
    return tiny_data(8).map(lambda row: {"input_ids": [2, 4, 1, *row["input_ids"][3:]]})


def test_special_tokens_may_be_spared(tmp_path):
    options = {"adversary_special_tokens": False}
    kwargs = {"adversary": ADVERSARY, "train_dataset": framed(), "processing_class": tiny_tokenizer()}
    spared = first_gradient(tmp_path, options=options, **kwargs)
    assert_equal_gradients(by_hand(tiny_bert().train(), framed(), ADVERSARY, spared=[0, 2]), spared)
    assert_equal_gradients(by_hand(tiny_bert().train(), framed(), ADVERSARY), first_gradient(tmp_path, **kwargs))


def test_words_that_are_masked_or_unknown_are_words():
    tokenizer = tiny_tokenizer()
    assert spared_tokens(arguments("out"), tokenizer) == []
    options = arguments("out", adversary_special_tokens=False)
    assert spared_tokens(options, tokenizer) == [0, 2]
    # GPT-2's end of a text is its unknown word too.
    tokenizer.eos_token = tokenizer.unk_token
    assert spared_tokens(options, tokenizer) == [0, 1, 2]


def test_special_tokens_are_spared_by_name(tmp_path):
    options = arguments(tmp_path, adversary_special_tokens=False)
    with pytest.raises(ConfigurationError, match="needs a tokenizer that names them, got NoneType"):
        AdversarialTrainer(tiny_bert(), options, adversary="pgd")
    x = torch.zeros(1, 3, 4)
    with pytest.raises(DataError, match="one of input_ids per token"):
        perturbation_mask({}, x, spared=[2])
    choices = {"input_ids": torch.tensor([[[2, 5, 0], [2, 2, 7]]]), "attention_mask": torch.ones(1, 2, 3)}
    assert perturbation_mask(choices, torch.zeros(2, 3, 4), spared=[0, 2]).tolist() == [[0, 1, 0], [0, 0, 1]]


class ShiftedForSequenceClassification(type(tiny_bert())):
    """All of its logits move alike under attack: a softmax sees nothing of it."""

    def forward(self, input_ids, attention_mask=None, labels=None):
        out = super().forward(input_ids, attention_mask)
        out.logits = out.logits[:, :1].expand(-1, self.config.num_labels).contiguous()
        if labels is not None:
            out.loss = self.loss_function(labels=labels, pooled_logits=out.logits, config=self.config)
        return out


@pytest.mark.parametrize("problem", ["multi_label_classification", None, "regression"])
@pytest.mark.parametrize("name", ["trades", "smart", "alum", "vat", "r-drop"])
def test_penalties_see_what_the_task_sees(name, problem, tmp_path):
    """Where all labels, or numbers, move alike, the penalty is theirs and not that of a softmax, which is zero."""
    dropout = {"hidden_dropout_prob": 0.3} if name == "r-drop" else {}
    model = ShiftedForSequenceClassification(tiny_bert(num_labels=3, problem_type=problem, **dropout).config).train()
    data = tiny_data(8).remove_columns("labels").add_column("labels", [[1.0, 0.0, 1.0]] * 8)
    (entry,) = logged(tmp_path, METHODS[name], model, data)
    assert entry["adversary_divergence"] > 1e-9
    assert (entry.get("adversary_flips") is None) == (problem == "regression")


@pytest.mark.parametrize("name", ["freelb", "trades", "smart", "vat", "mart"])
def test_a_model_that_answers_in_tuples_is_trained_alike(name, tmp_path):
    """`return_dict=False`, left in a configuration by tracing: without labels, the first of a tuple is no loss."""
    found = [
        first_gradient(tmp_path / str(i), model=tiny_bert(return_dict=whole).train(), adversary=METHODS[name])
        for i, whole in enumerate([True, False])
    ]
    assert_equal_gradients(*found)


def test_weights_in_half_precision_are_mentioned(tmp_path, caplog):
    AdversarialTrainer(tiny_bert(), arguments(tmp_path), adversary=None)
    assert "float32" not in caplog.text
    AdversarialTrainer(tiny_bert().half(), arguments(tmp_path), adversary=None)
    assert "the weights are trained in float16" in caplog.text and "dtype=torch.float32" in caplog.text
