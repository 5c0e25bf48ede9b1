"""All methods in two replicas of `torch.nn.DataParallel` on the CPU, against one model with the whole batch."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from transformers import BertForMultipleChoice, ViTConfig, ViTForImageClassification, set_seed

from hf_robust_tickets import AdversarialTrainer, FlyingBirdPlus, SparseTrainingCallback
from hf_robust_tickets.adversaries import PGD, FreeLB, InfoBERT, PixelPGD
from hf_robust_tickets.errors import ConfigurationError
from tests.testing.families import tiny_config
from tests.testing.jobs import make_trainer
from tests.testing.methods import EVERY, METHODS
from tests.testing.replicas_on_cpu import two_replicas
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import arguments, assert_equal_gradients, first_gradient, summed_loss

LAYERED = pytest.mark.parametrize("name", sorted(set(METHODS) - {"ta-vat"}))


def in_replicas(folder, batch=4, **kwargs):
    """The first gradient with `batch` examples per replica."""
    with two_replicas() as wrapper:
        gradient = first_gradient(folder, batch=batch, **kwargs)
    assert wrapper.passes > 0
    return gradient


@pytest.mark.feature("torch.nn.DataParallel")
@EVERY
def test_replicas_give_the_gradient_of_the_whole_batch(name, tmp_path):
    whole = first_gradient(tmp_path / "a", adversary=METHODS[name])
    assert_equal_gradients(whole, in_replicas(tmp_path / "b", adversary=METHODS[name]))


@pytest.mark.slow
@pytest.mark.feature("torch.nn.DataParallel, hidden layer")
@LAYERED
def test_replicas_and_hidden_layers(name, tmp_path):
    """Recomputed layers (activation checkpointing) find the share of their own replica."""
    options = {"adversary_layer": 1}
    whole = first_gradient(tmp_path / "a", adversary=METHODS[name], options=options)
    assert_equal_gradients(whole, in_replicas(tmp_path / "b", adversary=METHODS[name], options=options))
    checkpointed = {**options, "gradient_checkpointing": True}
    assert_equal_gradients(whole, in_replicas(tmp_path / "c", adversary=METHODS[name], options=checkpointed))


def test_more_rows_than_examples_and_replicas_of_unequal_size(tmp_path):
    """Three examples of two choices each in two replicas; with label smoothing the loss is that of all logits."""
    set_seed(0)
    config = tiny_config(
        "bert", vocab_size=60, intermediate_size=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    weights = BertForMultipleChoice(config).state_dict()
    ids = torch.randint(4, 60, (3, 2, 5), generator=torch.Generator().manual_seed(0))
    data = Dataset.from_dict(
        {"input_ids": ids.tolist(), "attention_mask": torch.ones_like(ids).tolist(), "labels": [0, 1, 1]}
    )

    gradients = []
    for train in (first_gradient, in_replicas):
        model = BertForMultipleChoice(config)
        model.load_state_dict(weights)
        options = {"label_smoothing_factor": 0.2}
        gradients.append(
            train(tmp_path, model=model, adversary=METHODS["freelb"], train_dataset=data, options=options)
        )
    assert_equal_gradients(*gradients)


def test_loss_functions_are_multiplied_by_the_trainer_itself(tmp_path):
    """When this fails, transformers no longer counts the devices twice: docs/distributed.md can say so."""
    for adversary in (None, METHODS["freelb"]):
        whole = first_gradient(tmp_path / "a", adversary=adversary, compute_loss_func=summed_loss)
        twice = in_replicas(tmp_path / "b", adversary=adversary, compute_loss_func=summed_loss)
        assert_equal_gradients({name: 2 * gradient for name, gradient in whole.items()}, twice)


def test_pixels_stay_in_the_box(tmp_path):
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=8, patch_size=4,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    images = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    data = Dataset.from_dict({"pixel_values": (images * 4 - 2).tolist(), "labels": [0, 1] * 4})
    adversary = PixelPGD(steps=3, step_size=0.3, max_norm=0.5, image_mean=(0.5,), image_std=(0.25,))
    gradients = []
    for train in (first_gradient, in_replicas):
        set_seed(0)
        model = ViTForImageClassification(config)
        gradients.append(train(tmp_path, model=model, adversary=adversary, train_dataset=data))
    assert_equal_gradients(*gradients)


@pytest.mark.parametrize(
    ("adversary", "options"),
    [
        (FreeLB(steps=3, step_size=0.3, step_unit="absolute"), {"label_smoothing_factor": 0.2}),
        (FreeLB(steps=3, step_size=0.3, step_unit="absolute"), {"adversary_clean_weight": 0.3}),
        (PGD(steps=2, init_magnitude=0.3, step_unit="absolute"), {"adversary_restarts": 2}),
    ],
    ids=["label smoothing", "clean share", "restarts"],
)
def test_options(adversary, options, tmp_path):
    whole = first_gradient(tmp_path / "a", adversary=adversary, options=options)
    assert_equal_gradients(whole, in_replicas(tmp_path / "b", adversary=adversary, options=options))


def test_accumulation(tmp_path):
    adversary = METHODS["freelb"]
    whole = first_gradient(tmp_path / "a", adversary=adversary)
    assert_equal_gradients(whole, in_replicas(tmp_path / "b", batch=2, accumulation=2, adversary=adversary))


def test_lora(tmp_path):
    peft = pytest.importorskip("peft")

    def gradient(train, **kwargs):
        config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"])
        return train(tmp_path, model=peft.get_peft_model(tiny_bert(), config), adversary=METHODS["freelb"], **kwargs)

    assert_equal_gradients(gradient(first_gradient), gradient(in_replicas))


def test_nothing_is_left_behind(tmp_path):
    model = tiny_bert()
    in_replicas(tmp_path, model=model, adversary=METHODS["yopo"])
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
        assert not [key for key in module.__dict__ if key.startswith("_robust")]


def test_whole_job(tmp_path):
    """Search, surgery and fine-tuning in replicas end with the ticket and the weights of one model."""
    options = {"optim": "sgd", "learning_rate": 0.1, "adversary_init_magnitude": 0.0}
    alone = make_trainer(tmp_path / "one", tiny_bert(), **options)
    alone.train()
    with two_replicas() as wrapper:
        both = make_trainer(tmp_path / "two", tiny_bert(), per_device_train_batch_size=4, **options)
        both.train()
    assert wrapper.passes > 8
    assert both.ticket.fingerprint() == alone.ticket.fingerprint()
    for weight, expected in zip(both.model.parameters(), alone.model.parameters(), strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-3, atol=1e-4)


def test_input_that_goes_round_the_embedding(tmp_path):
    data = Dataset.from_dict({"inputs_embeds": torch.randn(8, 4, 32).tolist(), "labels": [0, 1] * 4})
    with pytest.raises(ConfigurationError, match="did not go through the module to perturb"):
        in_replicas(tmp_path, adversary=METHODS["freelb"], train_dataset=data)


@pytest.mark.parametrize(
    ("adversary", "options", "reason"),
    [
        (InfoBERT(), {}, "infobert compares the words of a whole micro-batch"),
        (PGD(), {"adversary_share_dropout": True}, "adversary_share_dropout speaks of one generator"),
        (PGD(), {"torch_compile": True}, "torch_compile keeps the weights of one device"),
    ],
)
def test_what_replicas_would_make_wrong_is_refused(adversary, options, reason, tmp_path):
    with two_replicas(), pytest.raises(ConfigurationError, match=f"{reason}.*torchrun --nproc_per_node 2"):
        AdversarialTrainer(tiny_bert(), arguments(tmp_path, **options), adversary=adversary)


def test_counts_of_answers_are_refused(tmp_path):
    callback = SparseTrainingCallback(FlyingBirdPlus(density=0.5))
    with two_replicas(), pytest.raises(ConfigurationError, match="counts answers inside the model, got 2 devices"):
        trainer = AdversarialTrainer(
            tiny_bert(), arguments(tmp_path), adversary=None, train_dataset=tiny_data(), callbacks=[callback]
        )
        trainer.train()
