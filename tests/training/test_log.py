"""What the log says of an attack, against numbers computed by hand."""

from __future__ import annotations

import pytest
import torch
import transformers
from datasets import Dataset

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.adversaries import FreeLB
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.training.steps.outputs import share_of_flips
from tests.testing.families import tiny_config
from tests.testing.methods import METHODS
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import arguments, entries, logged, summed_loss

NO_START = FreeLB(steps=2, init_magnitude=0.0, step_size=0.3, step_unit="absolute")


def language_model():
    transformers.set_seed(0)
    ids = tiny_data()["input_ids"]
    return transformers.LlamaForCausalLM(tiny_config("llama")), Dataset.from_dict({"input_ids": ids, "labels": ids})


@pytest.mark.parametrize("kind", ["compute_loss_func", "language model", "penalty"])
def test_losses_in_the_log_do_not_depend_on_accumulation(kind, tmp_path):
    """Where the loss is normalised over all micro-batches of a step, a micro-batch's is but a share of it."""
    adversary = METHODS["trades"] if kind == "penalty" else NO_START

    def entry(batch, accumulation):
        model, data, loss = None, None, summed_loss
        if kind == "language model":
            (model, data), loss = language_model(), None
        options = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
        return logged(tmp_path / str(batch), adversary, model, data, loss, **options)[0]

    whole, parts = entry(8, 1), entry(2, 4)
    names = {"loss", *(name for name in whole if name.endswith(("_loss", "_gap")))}
    assert names >= {"loss", "adversary_clean_loss"}
    assert {name: parts[name] for name in names} == pytest.approx({name: whole[name] for name in names}, rel=2e-3)


@pytest.mark.parametrize("name", ["free-at", "random-noise"])
def test_one_pass_has_nothing_to_be_compared_with(name, tmp_path):
    entry = logged(tmp_path, METHODS[name])[0]
    assert {"adversary_loss", "adversary_start_loss", "adversary_delta_norm"} <= entry.keys()
    assert not {"adversary_gap", "adversary_flips"} & entry.keys()
    mixed = logged(tmp_path, METHODS[name], adversary_clean_weight=0.5)[0]
    assert {"adversary_gap", "adversary_flips", "adversary_clean_loss"} <= mixed.keys()


TOKENS = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
TURNED = torch.tensor([[[0.0, 1.0], [1.0, 0.0], [0.0, 9.0], [0.0, 0.0]]])


@pytest.mark.parametrize(
    ("labels", "mask", "share"),
    [
        ([1, 1, 1, 1], [1, 1, 1, 1], 2 / 4),
        ([1, 1, 1, 1], [1, 1, 0, 0], 1 / 2),
        ([-100, 1, 1, -100], [1, 1, 1, 1], 1 / 2),
        ([1, -100, -100, -100], [1, 1, 0, 0], 1.0),
        ([-100] * 4, [1, 1, 1, 1], 0.0),
    ],
)
def test_flips_are_of_tokens_that_count(labels, mask, share):
    inputs = {"attention_mask": torch.tensor([mask])}
    got = share_of_flips([TOKENS], [TURNED], [torch.tensor([labels])], inputs, None)
    assert got.item() == pytest.approx(share)


def test_flips_of_next_tokens():
    """The label of the second token says whether the prediction at the first counts."""
    model, inputs = language_model()[0], {"attention_mask": torch.ones(1, 4)}
    labels = [torch.tensor([[1, -100, 1, 1]])]
    assert share_of_flips([TOKENS], [TURNED], labels, inputs, model).item() == pytest.approx(1 / 2)
    labels = [torch.tensor([[-100, 1, 1, -100]])]
    assert share_of_flips([TOKENS], [TURNED], labels, inputs, model).item() == pytest.approx(1 / 2)
    labels = [torch.tensor([[-100, 1, -100, 1]])]
    assert share_of_flips([TOKENS], [TURNED], labels, inputs, model).item() == 1.0


def test_flips_of_several_labels_and_of_numbers():
    before, after = torch.tensor([[3.0, 1.0, -1.0]]), torch.tensor([[1.0, 3.0, 1.0]])
    several = [torch.tensor([[1.0, 0.0, 1.0]])]
    assert share_of_flips([before], [after], several, {}, tiny_bert()).item() == pytest.approx(1 / 3)
    assert share_of_flips([before], [after], several, {}, tiny_bert(problem_type="regression")) is None
    assert share_of_flips([before], [after], [torch.tensor([0])], {}, tiny_bert()).item() == 1.0
    assert share_of_flips([before[:, :1]], [after[:, :1]], [], {}, tiny_bert()) is None


def test_a_training_leaves_nothing_to_the_log_of_the_next(tmp_path):
    options = arguments(tmp_path, max_steps=3, logging_steps=2)
    trainer = AdversarialTrainer(
        args=options, model_init=lambda: tiny_bert(), train_dataset=tiny_data(), adversary=NO_START
    )
    trainer.train()
    first = entries(trainer)[0]
    assert trainer.adversarial_step.meter.steps == 1, "the third step was not logged"
    trainer.train()
    assert {**entries(trainer)[0], **first} == entries(trainer)[0]


def test_models_that_call_other_embeddings_are_told_so(tmp_path):
    class Elsewhere(transformers.BertForSequenceClassification):
        def get_input_embeddings(self):
            return self.unused

    model = tiny_bert()
    model.__class__, model.unused = Elsewhere, torch.nn.Embedding(60, 32)
    with pytest.raises(ConfigurationError, match=r"calls another one than its get_input_embeddings\(\) gives"):
        logged(tmp_path, NO_START, model, tiny_data())


def test_encoder_decoders_are_attacked_where_the_encoder_reads(tmp_path):
    config = transformers.BartConfig(
        vocab_size=60, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=40, num_labels=2,
        eos_token_id=2, pad_token_id=0, bos_token_id=1,
    )  # fmt: skip
    ends = tiny_data().map(lambda row: {"input_ids": [*row["input_ids"][:-1], 2]})
    entry = logged(tmp_path, NO_START, transformers.BartForSequenceClassification(config), ends)[0]
    assert entry["adversary_delta_norm"] == pytest.approx(0.3) and entry["adversary_gap"] > 0
