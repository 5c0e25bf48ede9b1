"""Gates and pruned models inside what surrounds them: wrappers, checkpointing, attention kernels, other classes."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
)
from transformers.masking_utils import flash_attention_mask
from transformers.models.bert.modeling_bert import BertPreTrainedModel

from hf_robust_tickets.architectures import Cut, get_architecture, register_architecture
from hf_robust_tickets.architectures import registry as registry_module
from hf_robust_tickets.errors import CheckpointError, TicketError
from hf_robust_tickets.tickets import (
    attach_gates,
    detach_gates,
    export_dense,
    is_pruned,
    load_pruned,
    prune_,
    pruned_ticket,
    random_ticket,
    save_pruned,
)
from hf_robust_tickets.tickets.modeling_robust_ticket import PrunedModel
from hf_robust_tickets.tickets.robust_ticket_surgery import derive
from tests.testing.families import logits, tiny_inputs, tiny_model
from tests.testing.rounding import assert_same_outputs, assert_same_weights
from tests.testing.tickets import emptying_ticket

INPUTS = tiny_inputs()


class MyConfig(BertConfig):
    model_type = "my-bert"


class MyClassifier(BertPreTrainedModel):
    """A model of the user's own, which transformers does not know."""

    config_class = MyConfig

    def __init__(self, config):
        super().__init__(config)
        self.bert = BertModel(config)
        self.head = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None):
        return (self.head(self.bert(input_ids, attention_mask).last_hidden_state[:, 0]),)


@pytest.fixture
def scratch_registry(monkeypatch):
    monkeypatch.setattr(registry_module, "_KNOWN", dict(registry_module._KNOWN))


KERNELS = [
    (family, kernel)
    for family in ("bert", "llama", "gpt2", "modernbert", "vit", "distilbert")
    for kernel in ("eager", "sdpa")
]


@pytest.mark.parametrize(
    ("family", "kernel"),
    [*KERNELS, pytest.param("bert", "flex_attention", marks=pytest.mark.slow)],  # it is compiled
)
def test_mask_equals_prune_with_every_attention_kernel(family, kernel):
    head = "ForImageClassification" if family == "vit" else "ForSequenceClassification"
    model, inputs = tiny_model(family, head, attn_implementation=kernel), tiny_inputs(family)
    assert model.config._attn_implementation == kernel
    ticket = random_ticket(model, 0.4, 0.5, seed=1, round_to=1)
    gates = attach_gates(model)
    with torch.no_grad():
        for gate, mask in zip(gates.parameters(), (*ticket.heads, *ticket.neurons)):
            gate.copy_(mask)
    masked = logits(model, inputs)
    detach_gates(model)
    assert_same_outputs(logits(prune_(model, ticket), inputs), masked)


@pytest.fixture
def flash_stand_in():
    """What flash attention is for a model: 2D masks, texts without their padding, no weights of attention."""

    def forward(module, query, key, value, attention_mask, scaling=None, is_causal=None, dropout=0.0, **kwargs):
        causal = getattr(module, "is_causal", False) if is_causal is None else is_causal
        out = query.new_zeros(query.shape[0], query.shape[2], query.shape[1], value.shape[-1])
        shared = {"scale": scaling, "is_causal": bool(causal), "enable_gqa": query.shape[1] != key.shape[1]}
        for i in range(len(query)):
            kept = slice(None) if attention_mask is None else attention_mask[i].bool()
            parts = (x[i : i + 1, :, kept] for x in (query, key, value))
            out[i, kept] = nn.functional.scaled_dot_product_attention(*parts, **shared)[0].transpose(0, 1)
        return out, None

    AttentionInterface.register("stand_in", forward)
    AttentionMaskInterface.register("stand_in", flash_attention_mask)
    yield "stand_in"
    AttentionInterface._global_mapping.pop("stand_in")
    AttentionMaskInterface._global_mapping.pop("stand_in")


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2", "vit"])
@pytest.mark.parametrize("draw", [random_ticket, emptying_ticket])
def test_flash_attention_sees_the_heads_that_are_left(family, draw, flash_stand_in):
    head = "ForImageClassification" if family == "vit" else "ForSequenceClassification"
    model, inputs = tiny_model(family, head, attn_implementation="sdpa"), tiny_inputs(family)
    ticket, gates = draw(model), attach_gates(model)
    with torch.no_grad():
        for gate, mask in zip(gates.parameters(), (*ticket.heads, *ticket.neurons)):
            gate.copy_(mask)
    expected = logits(model, inputs)
    model.config._attn_implementation = flash_stand_in
    assert_same_outputs(logits(model, inputs), expected)
    detach_gates(model)
    prune_(model, ticket)
    model.config._attn_implementation = flash_stand_in
    assert_same_outputs(logits(model, inputs), expected)


def test_kernels_of_the_hub_and_gates_exclude_each_other():
    model = tiny_model("llama")
    model._use_kernels = True  # what `use_kernels=True` leaves; the kernels themselves need an accelerator
    with pytest.raises(TicketError, match=r"set model.use_kernels = False first"):
        attach_gates(model)


@pytest.mark.parametrize("family", ["bert", "llama", "deberta-v2"])
def test_recomputing_activations_gives_the_same_gradients(family):
    model, inputs = tiny_model(family), tiny_inputs(family)
    prune_(model, random_ticket(model, 0.4, 0.5, round_to=1))
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    gates = attach_gates(model.train())
    model(**inputs)[0].sum().backward()
    expected = [gate.grad.clone() for gate in gates.parameters()]
    model.zero_grad()
    model.gradient_checkpointing_enable()
    model(**inputs)[0].sum().backward()
    for gate, gradient in zip(gates.parameters(), expected):
        torch.testing.assert_close(gate.grad, gradient)


def test_gates_under_autocast():
    model = tiny_model()
    gates = attach_gates(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(**INPUTS)[0].sum().backward()
    assert all(gate.grad.dtype == torch.float32 for gate in gates.parameters())


def test_a_model_opened_by_remote_code_is_pruned_exported_and_saved_like_any_other(tmp_path):
    model = tiny_model()
    save_pruned(prune_(model, random_ticket(model, 0.25, 0.4, round_to=1)), tmp_path / "one")
    remote = AutoModelForSequenceClassification.from_pretrained(tmp_path / "one", trust_remote_code=True)
    assert type(remote).__module__.startswith("transformers_modules")
    assert is_pruned(remote)
    assert_same_weights(copy.deepcopy(remote), model)
    assert_same_outputs(logits(copy.deepcopy(remote), INPUTS), logits(model, INPUTS))
    remote.save_pretrained(tmp_path / "two")
    code = ("modeling_robust_ticket.py", "robust_ticket_surgery.py")
    for name in ("config.json", "model.safetensors", "ticket.safetensors", *code):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    dense = export_dense(remote, tmp_path / "dense")
    assert type(dense) is BertForSequenceClassification
    second = random_ticket(remote, 0.25, 0.4, seed=5, round_to=1)
    prune_(remote, second)
    prune_(model, second)
    assert_same_weights(remote, model)
    assert_same_outputs(logits(remote, INPUTS), logits(model, INPUTS))
    assert type(remote) is type(model)


def test_a_class_and_a_family_of_the_users_own(tmp_path, scratch_registry):
    config = MyConfig(**{k: v for k, v in tiny_model().config.to_dict().items() if k != "model_type"})
    torch.manual_seed(0)
    model = MyClassifier(config).eval()
    register_architecture(replace(get_architecture(tiny_model()), name="mine", model_types=("my-bert",)))
    prune_(model, random_ticket(model, 0.4, 0.5, round_to=1))
    save_pruned(model, tmp_path)
    with pytest.raises(CheckpointError, match="my-bert"):
        load_pruned(tmp_path)  # transformers does not know the configuration
    again = load_pruned(tmp_path, MyClassifier)
    assert_same_weights(again, model)
    assert_same_outputs(logits(again, INPUTS), logits(model, INPUTS))
    assert type(again) is type(model)


def test_options_of_from_pretrained_reach_it(tmp_path):
    model = tiny_model()
    save_pruned(prune_(model, random_ticket(model, round_to=1)), tmp_path / "here" / "below")
    again = load_pruned(
        tmp_path / "here", subfolder="below", attn_implementation="eager", id2label={0: "a", 1: "b", 2: "c"}
    )
    mapped = load_pruned(tmp_path / "here" / "below", device_map="cpu")
    assert_same_weights(mapped, model)
    assert_same_outputs(logits(mapped, INPUTS), logits(model, INPUTS))
    assert again.config._attn_implementation == "eager"
    assert again.config.id2label[2] == "c"
    assert pruned_ticket(again) == pruned_ticket(model)


def test_our_files_are_uploaded_although_they_are_older_than_the_look_at_the_folder():
    class Stock:
        def _upload_modified_files(self, working_dir, repo_id, files_timestamps, commit_message=None):
            return files_timestamps, commit_message

    model = object.__new__(derive(Stock, PrunedModel))
    stamps = {"config.json": 1.0, "ticket.safetensors": 1.0, "modeling_robust_ticket.py": 1.0}
    stamps["robust_ticket_surgery.py"] = 1.0
    assert model._upload_modified_files("x", "me/y", stamps, commit_message="m") == ({"config.json": 1.0}, "m")


def test_a_wrong_description_is_noticed_before_the_first_cut(scratch_registry):
    model = tiny_model()
    bert = get_architecture(model)
    wrong_blocks = replace(bert.neurons, cuts=(Cut("intermediate.dense", blocks=5), Cut("output.dense", "in")))
    wrong_path = replace(bert.neurons, cuts=(Cut("intermediate.up"), Cut("output.dense", "in")))
    for neurons, message in ((wrong_blocks, "5 x 24 units, got 24"), (wrong_path, r"intermediate\.up.*description")):
        register_architecture(replace(bert, neurons=neurons), replace=True)
        with pytest.raises(TicketError, match=message):
            prune_(model, random_ticket(model, round_to=1))
    register_architecture(bert, replace=True)
    assert bert.num_heads(model) == [4, 4]
    prune_(model, random_ticket(model, round_to=1))


def test_talking_heads_are_refused():
    model = tiny_model("deberta", talking_head=True)
    with pytest.raises(TicketError, match="depends on all others"):
        attach_gates(model)
    with pytest.raises(TicketError, match="talking_head"):
        prune_(model, random_ticket(model, round_to=1))


def test_albert_layers_of_a_group_share_one_entry():
    model = tiny_model("albert")
    assert model.config.num_hidden_layers == 4
    assert get_architecture(model).num_heads(model) == [4, 4]
    gates = attach_gates(model)
    model(**INPUTS)[0].sum().backward()
    assert gates.heads[0].grad.abs().sum() > 0


def test_grouped_heads_are_counted_and_cut_as_groups():
    model = tiny_model("llama")
    assert get_architecture(model).num_heads(model) == [4, 4]  # eight query heads, four groups
    ticket = random_ticket(model, 0.5, 0.0, head_scope="layer", round_to=1)
    prune_(model, ticket)
    attention = model.model.layers[0].self_attn
    assert attention.q_proj.out_features == 2 * attention.k_proj.out_features == 16
    assert attention.o_proj.in_features == 16
