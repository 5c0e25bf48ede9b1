"""`per_layer_config` of pruned checkpoints: the true widths, in the words of transformers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedConfig,
)
from transformers.models.llama import modeling_llama

from hf_robust_tickets import RobustTicket, export_dense, load_pruned, prune_, random_ticket
from hf_robust_tickets.architectures import get_architecture
from tests.testing.families import FAMILIES, LLAMA, TEXT

# Their layers are shared, or as wide as a ratio says, or counted under a name of their own; two stacks are silent too.
SILENT = ("albert", "dinov2", "distilbert", "gpt2")


def pruned(name: str, **more):
    kind, values, _ = FAMILIES[name]
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(getattr(transformers, kind)(**{**values, **more}))
    return prune_(model, random_ticket(model, head_sparsity=0.5, neuron_sparsity=0.5, seed=1, round_to=1))


@pytest.mark.parametrize("name", FAMILIES)
def test_it_says_the_widths_that_each_layer_has(name, tmp_path):
    model = pruned(name)
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    if name in SILENT or model.config.is_encoder_decoder:
        assert "per_layer_config" not in written and "allow_global_per_layer_attribute_access" not in written
        return
    family = get_architecture(model)
    layers = AutoConfig.from_pretrained(tmp_path).per_layer_config
    query = getattr(model.config, "num_key_value_heads", None)
    for layer, heads, neurons in zip(layers, family.num_heads(model), family.num_neurons(model), strict=True):
        assert (layer.num_attention_heads if query is None else layer.num_key_value_heads) == heads
        if query is not None:
            assert layer.num_attention_heads == heads * model.config.num_attention_heads // query
        names = [width for width in ("ffn_dim", "hidden_dim", "n_inner") if hasattr(layer, width)]
        assert getattr(layer, (names or ["intermediate_size"])[0]) == neurons
    # The configuration of the open model is the stock code's: one width for all layers.
    # The Trainer opens it as a configuration of no family.
    assert PreTrainedConfig.from_json_file(tmp_path / "config.json").is_heterogeneous
    assert not model.config.is_heterogeneous and not load_pruned(tmp_path).config.is_heterogeneous


@pytest.mark.parametrize("name", ["bert", "llama", "vit"])
def test_it_survives_saving_again_a_second_cut_and_goes_with_the_dense_export(name, tmp_path):
    model = pruned(name)
    model.save_pretrained(tmp_path / "first")
    again = load_pruned(tmp_path / "first")
    again.save_pretrained(tmp_path / "second")
    first, second = (json.loads((tmp_path / n / "config.json").read_text()) for n in ("first", "second"))
    assert first["per_layer_config"] == second["per_layer_config"]
    family = get_architecture(again)
    prune_(again, random_ticket(again, head_sparsity=0.0, neuron_sparsity=0.5, seed=2, round_to=1))
    again.save_pretrained(tmp_path / "third")
    third = json.loads((tmp_path / "third" / "config.json").read_text())["per_layer_config"]
    width = next(key for key in third["0"] if "head" not in key)
    assert [layer[width] for layer in third.values()] == family.num_neurons(again)
    export_dense(model, tmp_path / "dense")
    dense = json.loads((tmp_path / "dense" / "config.json").read_text())
    assert not {"per_layer_config", "allow_global_per_layer_attribute_access"} & set(dense)


def test_a_removed_block_is_skipped_and_a_whole_layer_not_named(tmp_path):
    config = transformers.BertConfig(**TEXT)
    model = transformers.BertForSequenceClassification(config)
    heads = [torch.zeros(4, dtype=torch.bool), torch.ones(4, dtype=torch.bool)]
    neurons = [torch.zeros(24, dtype=torch.bool), torch.ones(24, dtype=torch.bool)]
    prune_(model, RobustTicket(heads=heads, neurons=neurons)).save_pretrained(tmp_path)
    layers = AutoConfig.from_pretrained(tmp_path).per_layer_config
    assert [layer.skip for layer in layers] == [["attention", "mlp"], []]
    assert set(json.loads((tmp_path / "config.json").read_text())["per_layer_config"]) == {"0"}


def test_an_older_checkpoint_gets_it_when_it_is_saved_again(tmp_path):
    pruned("bert").save_pretrained(tmp_path / "old")
    content = json.loads((tmp_path / "old" / "config.json").read_text())
    wanted = content.pop("per_layer_config")
    (tmp_path / "old" / "config.json").write_text(json.dumps(content))
    load_pruned(tmp_path / "old").save_pretrained(tmp_path / "new")
    assert json.loads((tmp_path / "new" / "config.json").read_text())["per_layer_config"] == wanted


def test_layers_that_are_built_by_it_take_the_weights(tmp_path, monkeypatch):
    """What transformers announces (pull request 45332), in its least form: a layer gets a configuration of its own."""
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(LlamaConfig(**LLAMA)).eval()
    ticket = random_ticket(model, head_sparsity=0.5, neuron_sparsity=0.5, seed=1, round_to=1)
    prune_(model, ticket).save_pretrained(tmp_path)
    stock = modeling_llama.LlamaDecoderLayer.__init__

    def by_layer(self, config, layer_idx):
        stock(self, config.per_layer_config[layer_idx], layer_idx)

    monkeypatch.setattr(modeling_llama.LlamaDecoderLayer, "__init__", by_layer)
    # Today's refusal of what is not pruned-aware stands in the name of the attention.
    native = LlamaForSequenceClassification.from_pretrained(tmp_path, attn_implementation="sdpa")
    assert not hasattr(type(native), "_dense_class")
    tokens = torch.randint(3, 64, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(native(tokens).logits, model(tokens).logits, atol=1e-6)


def test_without_this_package_it_opens_as_before_and_stock_classes_refuse(tmp_path):
    kind = transformers.BertForSequenceClassification
    model = kind(transformers.BertConfig(**TEXT))
    prune_(model, random_ticket(model, head_sparsity=0.5, neuron_sparsity=0.5, seed=1, round_to=1))
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="this model is pruned"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path)
    code = (
        "import sys; sys.modules['hf_robust_tickets'] = None\n"
        "from transformers import AutoModelForSequenceClassification as Auto\n"
        f"model = Auto.from_pretrained({str(tmp_path)!r}, trust_remote_code=True)\n"
        f"model.save_pretrained({str(tmp_path / 'again')!r}); print(model.num_parameters())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) == model.num_parameters()
    assert "global config value" not in done.stderr
    first, second = (json.loads((p / "config.json").read_text()) for p in (tmp_path, tmp_path / "again"))
    assert first["per_layer_config"] == second["per_layer_config"]
