"""What cannot be right under attack is said when the trainer is made, in one line."""

from __future__ import annotations

import pytest
from accelerate import ParallelismConfig
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.adversaries import PGD, FreeAT
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.training.callbacks.overfitting import RobustOverfittingCallback
from hf_robust_tickets.training.checks.validation import check_adversary
from tests.testing.families import tiny_model
from tests.testing.jobs import make_trainer
from tests.testing.methods import METHODS
from tests.testing.tiny import tiny_bert, tiny_data, tiny_tokenizer
from tests.testing.training import arguments, assert_equal_gradients, first_gradient

REENTRANT = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in ("pgd", "fgsm", "trades", "smart", "mart", "yopo", "infobert")),
        ("random-noise", {"adversary_weight_perturbation": 0.01}),
    ],
)
def test_reentrant_checkpoints_have_no_gradient_of_delta_alone(name, options, tmp_path):
    with pytest.raises(ConfigurationError, match=f"{name} takes gradients of the perturbation alone.*=False"):
        AdversarialTrainer(tiny_bert(), arguments(tmp_path, **REENTRANT, **options), adversary=name)
    AdversarialTrainer(tiny_bert(), arguments(tmp_path, gradient_checkpointing=True, **options), adversary=name)


@pytest.mark.parametrize("name", ["freelb", "fgm", "ta-vat", "free-at", "r-drop", "random-noise"])
def test_passes_that_all_train_may_be_checkpointed_either_way(name, tmp_path, same_starts):
    plain = first_gradient(tmp_path / "a", adversary=METHODS[name])
    assert_equal_gradients(plain, first_gradient(tmp_path / "b", adversary=METHODS[name], options=REENTRANT))


def test_layers_that_are_not_there(tmp_path):
    for name, layer, message in [
        ("pgd", 3, r"a layer from 1 to 2 .*, got 3"),
        ("yopo", 2, "yopo runs the layer above .* got adversary_layer=2, the last one"),
        ("pixel-pgd", 1, "pixel-pgd perturbs pixels, got adversary_layer=1"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            AdversarialTrainer(tiny_bert(), arguments(tmp_path, adversary_layer=layer), adversary=name)
    AdversarialTrainer(tiny_bert(), arguments(tmp_path, adversary_layer=1), adversary="yopo")


def test_the_search_of_a_job_is_looked_at_when_the_trainer_is_made(tmp_path):
    with pytest.raises(ConfigurationError, match=r"a layer from 1 to 2 .*, got 9"):
        make_trainer(tmp_path, adversary_layer=9)


@pytest.mark.parametrize("option", [{"adversary_every": 2}, {"adversary_start_step": 0.1}])
def test_replayed_batches_are_all_attacked(option, tmp_path):
    with pytest.raises(ConfigurationError, match="free-at gives every batch 3 times in a row, attacked or not"):
        AdversarialTrainer(tiny_bert(), arguments(tmp_path, **option), adversary="free-at")
    AdversarialTrainer(tiny_bert(), arguments(tmp_path, **option), adversary=FreeAT(steps=1))


@pytest.mark.parametrize("start", [float("nan"), float("inf"), -1.0, 1.5])
@pytest.mark.parametrize("name", ["adversary_start_step", "adversary_warmup"])
def test_starts_that_are_no_steps(name, start, tmp_path):
    with pytest.raises(ConfigurationError, match=f"{name} (must be a number of steps|to be a number)"):
        arguments(tmp_path, **{name: start})


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(60, 8), nn.Linear(8, 2)

    def forward(self, input_ids, attention_mask=None, labels=None):
        logits = self.out(self.words(input_ids).mean(1))
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class Named(Plain):
    def get_input_embeddings(self):
        return self.words


def test_models_that_do_not_name_their_embeddings(tmp_path):
    images = ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1], num_labels=2)
    for model in (Plain(), ResNetForImageClassification(images)):
        with pytest.raises(ConfigurationError, match=r"get_input_embeddings\(\) gives the module to perturb, got "):
            AdversarialTrainer(model, arguments(tmp_path), adversary="pgd")
    trainer = AdversarialTrainer(Named(), arguments(tmp_path, max_steps=1), train_dataset=tiny_data(), adversary="pgd")
    trainer.train()
    assert int(trainer.skipped_ascents) == 0 and trainer.cost_meter.passes == PGD().num_passes


@pytest.mark.parametrize("kind", ["cp", "sp"])
def test_parts_of_sentences_on_several_ranks(kind, tmp_path, monkeypatch):
    trainer = AdversarialTrainer(tiny_bert(), arguments(tmp_path), adversary="pgd")
    monkeypatch.setattr(
        type(trainer.accelerator), "parallelism_config", ParallelismConfig(**{f"{kind}_size": 2}), raising=False
    )
    with pytest.raises(ConfigurationError, match="context or sequence parallelism do not go together"):
        check_adversary(trainer, trainer.adversary, trainer.adversary_options)
    monkeypatch.setattr(type(trainer.accelerator), "parallelism_config", ParallelismConfig(dp_replicate_size=2))
    check_adversary(trainer, trainer.adversary, trainer.adversary_options)


@pytest.mark.parametrize("adversary", ["freelb", None])
def test_padding_on_the_left_is_refused_where_positions_are_counted(adversary, tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = "left"
    callbacks = [] if adversary else [RobustOverfittingCallback({"dev": tiny_data(4)}, PGD())]
    data = {"train_dataset": tiny_data(4), "processing_class": tokenizer}
    with pytest.raises(ConfigurationError, match="expected padding on the right"):
        AdversarialTrainer(tiny_bert(), arguments(tmp_path), adversary=adversary, callbacks=callbacks, **data).train()
    # Rotary positions are differences: the side makes none.
    AdversarialTrainer(tiny_model("llama", pad_token_id=0), arguments(tmp_path), adversary=adversary, **data)
