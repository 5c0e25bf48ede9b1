"""Mixtures of word embeddings while a model trains."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, TrainerCallback

from hf_robust_tickets import AdversarialTrainer, AdversarialTrainingArguments
from hf_robust_tickets._provenance import training_resources
from hf_robust_tickets.augmentation import DirichletNeighbourhoods, NeighbourList, row_seed
from hf_robust_tickets.errors import ConfigurationError, DataError
from hf_robust_tickets.training.augmentation.mixing import EmbeddingMixer
from tests.testing.augmented import NEIGHBOURS, augmented_data, augmented_trainer
from tests.testing.device import device
from tests.testing.families import tiny_model
from tests.testing.ranks import TORCHRUN, launch
from tests.testing.small_tokenizers import wordpiece
from tests.testing.tiny import tiny_bert


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "list.json"
    path.write_text(json.dumps(NEIGHBOURS))
    return str(path)


def mixer(words, alpha=1.0):
    return EmbeddingMixer(DirichletNeighbourhoods(wordpiece(), NeighbourList.from_file(words), alpha), seed=0)


def embedded(model, inputs):
    """What the input embeddings of a model put out."""
    seen = []
    handle = model.get_input_embeddings().register_forward_hook(lambda *hook: seen.append(hook[-1]))
    model(**inputs)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("family", ["bert", "gpt2", "gemma", "modernbert"])
def test_embeddings_are_mixtures_by_hand(words, family):
    """Gemma scales what it looks up; a mixture is scaled once."""
    model, tokenizer = tiny_model(family, vocab_size=200), wordpiece()
    inputs = dict(tokenizer(["the film was dull", "great"], padding=True, return_tensors="pt").to(device()))
    plain = embedded(model, inputs)
    with mixer(words).around(model, inputs, step=3):
        mixed = embedded(model, inputs)
        table = model.get_input_embeddings()
        expected = plain.clone()
        row = inputs["input_ids"][0][inputs["attention_mask"][0].bool()].tolist()
        drawn = mixer(words).neighbourhoods.draw([row], [row_seed(0, 3, row)])
        assert list(drawn.columns) == [2, 4]
    for column, ids, weights in zip(drawn.columns, drawn.ids, drawn.weights, strict=True):
        near = type(table).forward(table, torch.tensor(ids))
        expected[0, column] = (torch.tensor(weights)[:, None] * near).sum(0)
    torch.testing.assert_close(mixed[0], expected[0])
    assert torch.equal(mixed[1, 0], plain[1, 0]) and not torch.equal(mixed[1, 1], plain[1, 1])
    assert torch.equal(embedded(model, inputs), plain)


def test_neighbours_get_gradients_by_their_weights(words):
    model, tokenizer = tiny_bert(vocab_size=200), wordpiece()
    inputs = dict(tokenizer(["film"], return_tensors="pt").to(device()))
    table, (film, movie) = model.get_input_embeddings(), tokenizer.convert_tokens_to_ids(["film", "movie"])
    with mixer(words).around(model, inputs, step=0):
        model(**inputs).logits.sum().backward()
    row = inputs["input_ids"][0].tolist()
    weights = mixer(words).neighbourhoods.draw([row], [row_seed(0, 0, row)]).weights[0]
    torch.testing.assert_close(
        table.weight.grad[movie] * weights[0].item(), table.weight.grad[film] * weights[1].item()
    )


class KeepLosses(TrainerCallback):
    """The gradient of the embeddings in each step."""

    def __init__(self):
        self.norms = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.norms.append(model.get_input_embeddings().weight.grad.norm().item())


def norms(folder, words, resume=None, **options):
    watch = KeepLosses()
    options = {"augment_rate": 0.0, "augment_with": None, "dirichlet_neighbours": words, **options}
    trainer = augmented_trainer(folder, **options)
    trainer.add_callback(watch)
    trainer.train(resume_from_checkpoint=resume)
    return watch.norms, trainer


def test_a_training_repeats_resumes_and_does_what_no_mixing_does_not(tmp_path, words):
    saving = {"save_strategy": "steps", "save_steps": 3}
    whole, trainer = norms(tmp_path, words, **saving)
    resumed, _ = norms(tmp_path, words, resume=str(tmp_path / "checkpoint-3"), **saving)
    assert len(whole) == 8 and resumed == whole[3:]
    assert norms(tmp_path / "none", None)[0] != whole != norms(tmp_path / "sharp", words, dirichlet_alpha=0.1)[0]
    assert training_resources(AutoConfig.from_pretrained(tmp_path / "checkpoint-3")) == ("neighbours:list.json",)
    assert not trainer.model.get_input_embeddings()._forward_hooks
    trainer.save_model()
    assert "list.json" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("method", ["freelb", "pgd", "trades"])
def test_an_adversary_adds_to_the_mixture(tmp_path, words, method):
    """With steps of length zero, an attack is a training without one, of equal mixtures in all its passes."""
    options = {"max_steps": 1, "num_train_epochs": 1, "max_grad_norm": 0.0}
    plain, _ = norms(tmp_path / "plain", words, **options)
    start = 1e-9 if method == "trades" else 0.0  # at none its divergence has no gradient
    none = {"adversary_step_unit": "absolute", "adversary_init_magnitude": start, "adversary_max_norm": 0.0}
    still = {**none, "adversary_step_size": 1e-12, "adversary_steps": 2}
    attacked, trainer = norms(tmp_path / "still", words, adversary=method, **options, **still)
    assert trainer.adversary.name == method
    assert attacked == pytest.approx(plain, rel=1e-4)
    moving = {**none, "adversary_step_size": 0.5, "adversary_steps": 2}
    assert norms(tmp_path / "moving", words, adversary=method, **options, **moving)[0] != pytest.approx(
        plain, rel=1e-3
    )


def test_two_ranks_train_as_one_does(tmp_path, words):
    options = {"augment_rate": 0.0, "augment_with": None, "dirichlet_neighbours": words}
    (tmp_path / "two").mkdir()
    told = {"output_dir": str(tmp_path / "two"), "per_device_train_batch_size": 4, "save_strategy": "epoch", **options}
    launch(TORCHRUN, "-m", "tests.testing.augmented", json.dumps(told))
    one = augmented_trainer(tmp_path / "one", **options)
    one.train()
    two = load_file(tmp_path / "two" / "checkpoint-8" / "model.safetensors")
    for name, value in one.model.state_dict().items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=2e-4, msg=name)


def test_what_cannot_be_is_refused(tmp_path, words):
    with pytest.raises(ConfigurationError, match="dirichlet_alpha must be positive, got 0"):
        AdversarialTrainingArguments(str(tmp_path), dirichlet_alpha=0.0)
    args = AdversarialTrainingArguments(str(tmp_path), dirichlet_neighbours=words)
    with pytest.raises(ConfigurationError, match="dirichlet_neighbours needs a tokenizer"):
        AdversarialTrainer(tiny_bert(), args, train_dataset=augmented_data())
    args = AdversarialTrainingArguments(str(tmp_path), dirichlet_neighbours=words, torch_compile=True)
    with pytest.raises(ConfigurationError, match="got torch_compile: use DDP"):
        AdversarialTrainer(tiny_bert(), args, train_dataset=augmented_data(), processing_class=wordpiece())
    with pytest.raises(DataError, match=r"none\.json, which does not exist"):
        augmented_trainer(tmp_path, dirichlet_neighbours=str(tmp_path / "none.json"))
    with pytest.raises(DataError, match="input_ids of one text per row"), mixer(words).around(tiny_bert(), {}, 0):
        pass
