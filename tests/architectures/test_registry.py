from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from transformers import (
    BartConfig,
    BartForCausalLM,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    T5Config,
    T5EncoderModel,
    T5Model,
)

from hf_robust_tickets.architectures import Cut, UnitGroup, get_architecture, known_model_types, register_architecture
from hf_robust_tickets.architectures import registry as registry_module
from hf_robust_tickets.errors import ConfigurationError, TicketError, UnknownArchitectureError
from hf_robust_tickets.tickets import attach_gates, random_ticket

CONFIG = BertConfig(
    vocab_size=16, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=20, num_labels=2
)


@pytest.fixture
def scratch_registry(monkeypatch):
    monkeypatch.setattr(registry_module, "_KNOWN", dict(registry_module._KNOWN))


def test_widths_and_layers_of_a_task_model_and_its_base():
    for model in (BertForSequenceClassification(CONFIG), BertModel(CONFIG)):
        bert = get_architecture(model)
        assert bert.num_heads(model) == [4, 4, 4]
        assert bert.num_neurons(model) == [20, 20, 20]
        assert bert.layers(model) == list(model.base_model.encoder.layer)


def test_unknown_architecture_names_the_known_ones_and_the_remedy():
    model = SimpleNamespace(config=SimpleNamespace(model_type="mamba"))
    with pytest.raises(UnknownArchitectureError, match=r"bert.*'mamba'.*register_architecture") as error:
        get_architecture(model)
    assert "\n" not in str(error.value)
    with pytest.raises(UnknownArchitectureError, match="unwrap"):
        get_architecture(object())


def test_an_unknown_encoder_decoder_is_refused_for_what_it_is():
    model = SimpleNamespace(config=SimpleNamespace(model_type="prophetnet", is_encoder_decoder=True))
    for ask in (get_architecture, attach_gates, random_ticket):
        with pytest.raises(UnknownArchitectureError, match=r"encoder-decoder.*'prophetnet'.*cross-attention"):
            ask(model)


def test_half_of_an_encoder_decoder():
    sizes = {"vocab_size": 16, "d_model": 8, "d_kv": 4, "d_ff": 6, "num_layers": 1, "num_heads": 2}
    config = T5Config(**sizes, num_decoder_layers=2)
    both, encoder = T5Model(config), T5EncoderModel(config)
    t5 = get_architecture(both)
    # The encoder, the decoder's own attention with its feed-forward, and its cross-attention.
    assert (t5.num_heads(both), t5.num_neurons(both)) == ([2] * 5, [6, 6, 6, 0, 0])
    assert (t5.num_heads(encoder), t5.num_neurons(encoder)) == ([2], [6])
    with pytest.raises(TicketError, match="'encoder'"):
        attach_gates(
            BartForCausalLM(BartConfig(vocab_size=16, d_model=8, decoder_layers=1, decoder_attention_heads=2))
        )


def test_duplicates_are_refused_unless_replaced(scratch_registry):
    bert = get_architecture(BertModel(CONFIG))
    with pytest.raises(ConfigurationError, match="already described"):
        register_architecture(bert)
    other = replace(bert, name="mine")
    register_architecture(other, replace=True)
    assert get_architecture(BertModel(CONFIG)) is other


def test_registering_a_new_family(scratch_registry):
    bert = get_architecture(BertModel(CONFIG))
    register_architecture(replace(bert, name="mine", model_types=("my-bert",)))
    assert "my-bert" in known_model_types()
    with pytest.raises(ConfigurationError, match="expected an Architecture"):
        register_architecture("bert")


def test_a_group_without_its_output_among_the_cuts_is_refused():
    bert = get_architecture(BertModel(CONFIG))
    with pytest.raises(ConfigurationError, match=r"must contain Cut\('output.dense', 'in'\)"):
        replace(bert, neurons=UnitGroup(output="output.dense", cuts=(Cut("intermediate.dense"),)))


def test_a_path_that_the_model_lacks_is_named():
    model = BertModel(CONFIG)
    wrong = replace(get_architecture(model), layer_path="decoder.layer.*")
    with pytest.raises(TicketError, match=r"decoder\.layer.*BertModel has no 'decoder'"):
        wrong.layers(model)


def test_the_layout_is_json_and_survives_it():
    layout = get_architecture(BertModel(CONFIG)).layout()
    assert json.loads(json.dumps(layout)) == layout
