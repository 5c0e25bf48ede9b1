"""Losses that call the model several times in a pass, and trainers of other libraries beside ours."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import Trainer, TrainingArguments

from hf_robust_tickets import AdversarialTrainer, AdversaryOptions
from hf_robust_tickets.adversaries import FGM, PGD, FreeLB
from hf_robust_tickets.errors import ConfigurationError
from tests.testing.methods import METHODS
from tests.testing.tiny import tiny_bert, tiny_tokenizer
from tests.testing.training import KeepGradient, arguments, assert_equal_gradients

# Two texts in a row, of different lengths and with padding in the second one.
TEXTS = {
    "text_0_input_ids": [[5, 6, 7, 8], [9, 10, 11, 12]],
    "text_0_attention_mask": [[1, 1, 1, 1], [1, 1, 1, 1]],
    "text_1_input_ids": [[13, 14, 15, 16, 17, 18], [19, 20, 0, 0, 0, 0]],
    "text_1_attention_mask": [[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]],
    "labels": [0, 1],
}


class EachText(Trainer):
    """The sum of the losses of some of the texts, each a call of the model: what one is perturbed by does not bear on
    the others.
    """

    texts = (0, 1)
    repeats = False

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        losses = []
        for i in self.texts:
            text = {name: inputs[f"text_{i}_{name}"] for name in ("input_ids", "attention_mask")}
            losses.append(model(**text, labels=inputs["labels"]).loss)
            if self.repeats:
                with torch.no_grad():
                    model(**text)
        return (sum(losses), {}) if return_outputs else sum(losses)


class Ours(AdversarialTrainer, EachText):
    """The attack before the loss."""


class Theirs(EachText, AdversarialTrainer):
    """The loss before the attack."""


def gradient(folder, adversary, texts=(0, 1), kind=Ours, repeats=False, **options):
    keep = KeepGradient()
    args = arguments(folder, max_steps=1, max_grad_norm=0, remove_unused_columns=False, **options)
    trainer = kind(tiny_bert(), args, train_dataset=Dataset.from_dict(TEXTS), adversary=adversary, callbacks=[keep])
    trainer.texts, trainer.repeats = texts, repeats
    trainer.train()
    return keep.gradient


@pytest.mark.parametrize("adversary", [FGM(step_size=0.5), PGD(steps=3, step_size=0.1, init_magnitude=0.0)])
@pytest.mark.parametrize("repeats", [False, True])
def test_each_call_has_a_perturbation_of_its_own(tmp_path, adversary, repeats):
    """Together they give the sum of the gradients that each text gives alone; metrics without gradients add none."""
    both = gradient(tmp_path / "both", adversary, repeats=repeats)
    alone = [gradient(tmp_path / str(i), adversary, texts=(i,)) for i in (0, 1)]
    assert_equal_gradients(both, {name: alone[0][name] + alone[1][name] for name in both})
    clean = gradient(tmp_path / "clean", None)
    assert any(not torch.allclose(both[name], clean[name], rtol=1e-3) for name in both)


def test_padding_of_each_call_stays_as_it_is(tmp_path):
    seen = []

    class Watching(FreeLB):
        def ascend(self, delta, grad, mask):
            moved = super().ascend(delta, grad, mask)
            seen.append((tuple(delta.shape[:2]), moved.norm(dim=-1).gt(0)))
            return moved

    gradient(tmp_path, Watching(steps=2, init_magnitude=0.1))
    assert [shape for shape, _ in seen] == [(2, 4), (2, 6)]
    # The Trainer shuffles the two rows.
    assert [sorted(moved.sum(1).tolist()) for _, moved in seen] == [[4, 4], [2, 6]]


@pytest.mark.parametrize("name", ["free-at", "yopo"])
def test_methods_with_one_perturbation_per_batch_say_so(tmp_path, name):
    with pytest.raises(ConfigurationError, match="expected a model that is called once in a pass, got another call"):
        gradient(tmp_path, METHODS[name])


def test_a_shared_perturbation_of_hidden_layers_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="adversary_layer speaks of one call"):
        gradient(tmp_path, PGD(steps=2), adversary_layer=1)


# --- other libraries ------------------------------------------------------------------------------------------------


@dataclass
class Mixed(AdversaryOptions, TrainingArguments):
    """The arguments of another library with ours."""


@pytest.mark.parametrize("kind", [Ours, Theirs])
def test_arguments_name_the_adversary_whichever_base_comes_first(tmp_path, kind):
    args = Mixed(output_dir=str(tmp_path), use_cpu=True, report_to="none", adversary="pgd")
    trainer = kind(model=tiny_bert(), args=args, train_dataset=Dataset.from_dict(TEXTS))
    assert trainer.adversary == PGD()


class Counting(Trainer):
    """Counts tokens in its loss, as TRL's trainers do."""

    _total_train_tokens = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._total_train_tokens = 0

    def compute_loss(self, model, inputs, *args, **kwargs):
        self._total_train_tokens += inputs["attention_mask"].sum().item()
        return super().compute_loss(model, inputs, *args, **kwargs)


class CountingUnderAttack(AdversarialTrainer, Counting):
    """The same under attack."""


@pytest.mark.parametrize("name", ["pgd", "freelb", "trades", None])
def test_what_a_loss_counts_is_counted_once_per_batch(tmp_path, name):
    data = Dataset.from_dict({"input_ids": [[5, 6, 7]] * 8, "attention_mask": [[1, 1, 1]] * 8, "labels": [0, 1] * 4})
    args = arguments(tmp_path, max_steps=3, per_device_train_batch_size=2)
    trainer = CountingUnderAttack(tiny_bert(), args, train_dataset=data, adversary=name and METHODS[name])
    trainer.train()
    assert trainer._total_train_tokens == 3 * 2 * 3


@pytest.mark.slow
@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_sentence_transformers(tmp_path, first):
    library = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer import losses, modules

    @dataclass
    class Arguments(AdversaryOptions, library.SentenceTransformerTrainingArguments):
        pass

    bases = [AdversarialTrainer, library.SentenceTransformerTrainer]
    kind = type("Both", tuple(bases if first == "ours" else bases[::-1]), {})
    tiny_bert().bert.save_pretrained(tmp_path / "bert")
    tiny_tokenizer().save_pretrained(tmp_path / "bert")
    model = library.SentenceTransformer(
        modules=[modules.Transformer(str(tmp_path / "bert")), modules.Pooling(32)], device="cpu"
    )
    data = Dataset.from_dict(
        {"anchor": [f"w{i + 5} w{i + 6}" for i in range(8)], "positive": [f"w{i + 5} w9 w{i + 7}" for i in range(8)]}
    )
    args = Arguments(
        output_dir=str(tmp_path / "out"), max_steps=2, per_device_train_batch_size=8, report_to="none", use_cpu=True,
        adversary="freelb", adversary_steps=3, logging_steps=1, save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = kind(model=model, args=args, train_dataset=data, loss=losses.MultipleNegativesRankingLoss(model))
    trainer.train()
    assert trainer.cost_meter.passes == 6 and trainer.state.log_history[0]["adversary_gap"] > 0


# --- a step outside of train() --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_training_step_outside_of_train(tmp_path, name):
    options = {} if name == "free-at" else {"adversary_warmup": 0.1, "adversary_schedule": "linear"}
    trainer = AdversarialTrainer(tiny_bert(), arguments(tmp_path, **options), adversary=METHODS[name])
    assert isinstance(trainer.model, nn.Module)
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([0, 1])}
    if name == "infobert":
        with pytest.raises(ConfigurationError, match=r"call train\(\), not training_step\(\)"):
            trainer.training_step(trainer.model, batch)
        return
    assert torch.isfinite(trainer.training_step(trainer.model, batch))
    assert all(p.grad is not None for p in trainer.model.parameters() if p.requires_grad)
