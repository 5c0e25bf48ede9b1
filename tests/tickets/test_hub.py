from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertForSequenceClassification,
    Trainer,
    TrainingArguments,
)

from hf_robust_tickets.errors import CheckpointError, ConfigurationError, TicketError
from hf_robust_tickets.tickets import (
    RobustTicket,
    attach_gates,
    export_dense,
    is_pruned,
    load_pruned,
    prune_,
    pruned_ticket,
    random_ticket,
    save_pruned,
)
from hf_robust_tickets.tickets.hub import ALIGNMENT
from hf_robust_tickets.tickets.modeling_robust_ticket import PrunedModel
from hf_robust_tickets.tickets.robust_ticket_surgery import derive
from tests.testing.device import USE_CPU
from tests.testing.families import logits, tiny_inputs, tiny_model
from tests.testing.rounding import assert_same_outputs, assert_same_weights

INPUTS = tiny_inputs()


@pytest.fixture(scope="module")
def pruned():
    model = tiny_model()
    return prune_(model, random_ticket(model, 0.4, 0.5, seed=3, round_to=1))


@pytest.fixture
def folder(pruned, tmp_path):
    save_pruned(pruned, tmp_path / "pruned")
    return tmp_path / "pruned"


def edit_config(folder: Path, change):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))


def test_what_a_folder_holds(pruned, folder):
    assert {p.name for p in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "modeling_robust_ticket.py",
        "robust_ticket_surgery.py",
        "ticket.safetensors",
    }
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["auto_map"]["AutoModel"] == "modeling_robust_ticket.BertModel"
    assert config["robust_ticket"] == pruned.config.robust_ticket
    assert RobustTicket.load(folder / "ticket.safetensors") == pruned_ticket(pruned)


def test_loading_is_exact_and_saving_again_gives_the_same_folder(pruned, folder, tmp_path):
    model = load_pruned(folder)
    assert type(model) is type(pruned)
    assert is_pruned(model)
    assert_same_weights(model, pruned)
    assert_same_outputs(logits(model, INPUTS), logits(pruned, INPUTS))
    model.save_pretrained(tmp_path / "again")
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name


def test_opened_weights_lie_where_torch_allocates_and_not_in_the_file(pruned, folder):
    """Or matrix products would be summed in another order than in the model that was saved."""
    stock = derive(BertForSequenceClassification, PrunedModel).from_pretrained(folder)
    assert any(p.data_ptr() % ALIGNMENT for p in stock.parameters()), "or there is nothing to mend any more"
    model = load_pruned(folder)
    assert not any(t.data_ptr() % ALIGNMENT for t in (*model.parameters(), *model.buffers()))
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())
    masked = tiny_model(head="ForMaskedLM")
    save_pruned(prune_(masked, random_ticket(masked, round_to=1)), folder / "tied")
    tied = load_pruned(folder / "tied")
    assert tied.get_input_embeddings().weight is tied.get_output_embeddings().weight


def test_the_task_can_be_chosen(pruned, folder):
    assert type(load_pruned(folder, AutoModel)).__name__ == "BertModel"
    assert type(load_pruned(folder, "AutoModelForTokenClassification")).__name__ == "BertForTokenClassification"
    model = load_pruned(folder, BertForSequenceClassification, num_labels=5, ignore_mismatched_sizes=True)
    assert model.config.num_labels == 5
    _, report = load_pruned(folder, AutoModelForTokenClassification, output_loading_info=True)
    assert "classifier.bias" not in report["missing_keys"]
    with pytest.raises(ConfigurationError, match="auto_class="):
        load_pruned(folder, "AutoModelForSomething")
    with pytest.raises(ConfigurationError, match="auto_class="):
        load_pruned(folder, 3)


def test_hidden_states_of_a_pruned_base_model(folder):
    base = load_pruned(folder, AutoModel)
    assert len(base(**INPUTS, output_hidden_states=True).hidden_states) == 3
    model = tiny_model(head="Model")
    prune_(model, random_ticket(model, round_to=1))
    assert len(model(**INPUTS, output_hidden_states=True).hidden_states) == 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_kept(tmp_path, dtype):
    model = tiny_model().to(dtype)
    save_pruned(prune_(model, random_ticket(model, 0.4, 0.5, round_to=1)), tmp_path)
    again = load_pruned(tmp_path)
    assert {p.dtype for p in again.parameters()} == {dtype}
    assert_same_weights(again, model)
    assert_same_outputs(logits(again, INPUTS), logits(model, INPUTS))
    assert load_pruned(tmp_path, dtype=torch.float32).dtype == torch.float32


def test_shards(pruned, tmp_path):
    pruned.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert_same_weights(load_pruned(tmp_path), pruned)
    assert_same_outputs(logits(load_pruned(tmp_path), INPUTS), logits(pruned, INPUTS))
    next(tmp_path.glob("model-*.safetensors")).unlink()
    with pytest.raises(CheckpointError):
        load_pruned(tmp_path)


def test_plain_from_pretrained_fails_loudly(folder):
    for stock in (AutoModelForSequenceClassification, BertForSequenceClassification):
        # With the option random weights would take the place of those whose sizes differ.
        for options in ({}, {"ignore_mismatched_sizes": True}, {"num_labels": 3, "ignore_mismatched_sizes": True}):
            with pytest.raises(ValueError, match=r"this model is pruned; open it with .*load_pruned"):
                stock.from_pretrained(folder, **options)
    config = AutoConfig.from_pretrained(folder)
    with pytest.raises(ValueError, match="this model is pruned"):
        AutoModelForSequenceClassification.from_config(config)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_attention_can_be_chosen(pruned, folder, tmp_path, attention):
    model = load_pruned(folder, attn_implementation=attention)
    assert model.config._attn_implementation == attention
    torch.testing.assert_close(logits(model, INPUTS), logits(pruned, INPUTS))
    remote = AutoModelForSequenceClassification.from_pretrained(
        folder, trust_remote_code=True, attn_implementation=attention
    )
    assert remote.config._attn_implementation == attention
    model.save_pretrained(tmp_path / "again")
    assert load_pruned(tmp_path / "again").config._attn_implementation == "sdpa"


def test_a_checkpoint_of_an_earlier_version_opens_and_is_marked(pruned, folder, tmp_path):
    edit_config(folder, lambda config: config.pop("attn_implementation"))
    model = load_pruned(folder)
    assert torch.equal(logits(model, INPUTS), logits(pruned, INPUTS))
    model.save_pretrained(tmp_path / "again")
    with pytest.raises(ValueError, match="this model is pruned"):
        BertForSequenceClassification.from_pretrained(tmp_path / "again", ignore_mismatched_sizes=True)


def test_no_remote_code_is_run_and_nobody_is_asked(folder, tmp_path, monkeypatch, caplog):
    def ask(*_):
        raise AssertionError("asked on the terminal")

    monkeypatch.setattr("builtins.input", ask)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\n")
    for name in ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification", "AutoTokenizer"):
        edit_config(folder, lambda config, name=name: config["auto_map"].update({name: "evil.C"}))
    for options in ({}, {"trust_remote_code": False}, {"trust_remote_code": True}):
        assert is_pruned(load_pruned(folder, **options))
        assert is_pruned(load_pruned(folder, BertForSequenceClassification, **options))
    assert "has no effect" in caplog.text and not (tmp_path / "ran").exists()
    edit_config(folder, lambda config: config.update(model_type="mine"))
    with pytest.raises(CheckpointError, match="expected a whole pruned checkpoint"):
        load_pruned(folder)
    assert not (tmp_path / "ran").exists()


def test_the_dense_export_opens_with_the_stock_classes(pruned, tmp_path):
    dense = export_dense(pruned, tmp_path)
    assert type(dense) is BertForSequenceClassification
    assert is_pruned(pruned)
    config = json.loads((tmp_path / "config.json").read_text())
    assert not {"robust_ticket", "auto_map", "attn_implementation"} & set(config)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert_same_outputs(logits(model, INPUTS), logits(pruned, INPUTS))
    # What was kept is at its old place, so cutting again gives the pruned model back.
    prune_(model, pruned_ticket(pruned))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), pruned.parameters()))


def test_a_checkpoint_without_its_ticket_opens_exports_but_cannot_be_cut_again(pruned, folder, tmp_path, caplog):
    (folder / "ticket.safetensors").unlink()
    model = load_pruned(folder)
    assert "no ticket.safetensors" in caplog.text
    assert_same_weights(model, pruned)
    assert_same_outputs(logits(model, INPUTS), logits(pruned, INPUTS))
    dense = export_dense(model, tmp_path / "dense")
    assert_same_outputs(logits(dense, INPUTS), logits(pruned, INPUTS))
    with pytest.raises(TicketError, match=r"put ticket\.safetensors back"):
        prune_(model, random_ticket(model, round_to=1))


def test_saving_and_exporting_what_is_not_pruned_or_still_gated_is_refused(pruned, tmp_path):
    with pytest.raises(TicketError, match="prune_"):
        save_pruned(tiny_model(), tmp_path)
    with pytest.raises(TicketError, match="prune_"):
        export_dense(tiny_model(), tmp_path)
    model = tiny_model()
    attach_gates(prune_(model, random_ticket(model, round_to=1)))
    with pytest.raises(TicketError, match="detach_gates"):
        save_pruned(model, tmp_path)


def test_truncated_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=str(folder)) as error:
        load_pruned(folder)
    assert "\n" not in str(error.value)


def test_missing_weights_in_a_layer(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.bias"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"layer\.1\.output\.dense\.bias"):
        load_pruned(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["neurons"].__setitem__(0, record["neurons"][0] + 1),
        lambda record: record["heads"].__setitem__(1, 1 if record["heads"][1] > 1 else 2),
        lambda record: record["heads"].__setitem__(1, 100),
        lambda record: record["heads"].__setitem__(1, 0),
        lambda record: record["neurons"].__setitem__(0, 0),
        lambda record: record["heads"].__setitem__(1, -1),
        lambda record: record.__setitem__("heads", "all"),
        lambda record: record["heads"].pop(),
        lambda record: record.pop("layout"),
        lambda record: record.__setitem__("version", 99),
        lambda record: record["layout"].__setitem__("layers", "decoder.*"),
    ],
)
@pytest.mark.parametrize("ignore", [False, True])
def test_an_altered_record(folder, change, ignore):
    edit_config(folder, lambda config: change(config["robust_ticket"]))
    with pytest.raises(CheckpointError) as error:
        load_pruned(folder, ignore_mismatched_sizes=ignore)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("auto_class", [None, AutoModel])
def test_a_record_that_denies_a_block_whose_weights_are_there(folder, auto_class):
    (folder / "ticket.safetensors").unlink()  # which would tell too
    edit_config(folder, lambda config: config["robust_ticket"]["heads"].__setitem__(0, 0))
    with pytest.raises(CheckpointError, match=r"layer\.0\.attention.*altered"):
        load_pruned(folder, auto_class)


def test_dense_weights_in_a_pruned_folder(folder, tmp_path):
    tiny_model().save_pretrained(tmp_path / "dense")
    shutil.copy(tmp_path / "dense" / "model.safetensors", folder)
    with pytest.raises(CheckpointError, match="mismatch"):
        load_pruned(folder)
    with pytest.raises(CheckpointError, match="none that fit"):
        load_pruned(folder, ignore_mismatched_sizes=True)


def test_bits_flipped_in_the_ticket(folder):
    file = folder / "ticket.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([1 - content[-1]]))
    with pytest.raises(CheckpointError, match="altered"):
        load_pruned(folder)


def remote_code(folder):
    """Opened by the code of the checkpoint."""
    return AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)


def test_remote_code_of_another_version(pruned, folder):
    code = folder / "modeling_robust_ticket.py"
    code.write_text(code.read_text().replace("RECORD_VERSION = 1", "RECORD_VERSION = 2"))
    with pytest.raises(ValueError, match=r"version 2, got 1.*another version of hf_robust_tickets"):
        remote_code(folder)
    # This package opens it all the same: it runs no code of the checkpoint.
    assert_same_weights(load_pruned(folder), pruned)


def test_remote_code_refuses_what_load_pruned_refuses(folder):
    good = (folder / "config.json").read_text()
    for change, message in (
        (lambda record: record.__setitem__("version", 99), "version 1, got 99"),
        (lambda record: record["heads"].__setitem__(1, 100), "was altered"),
        (lambda record: record["neurons"].__setitem__(0, record["neurons"][0] + 1), "mismatch"),
    ):
        edit_config(folder, lambda config, change=change: change(config["robust_ticket"]))
        with pytest.raises((ValueError, RuntimeError), match=message):
            remote_code(folder)
        (folder / "config.json").write_text(good)
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(Exception, match="incomplete"):
        remote_code(folder)


def test_a_ticket_of_another_checkpoint(folder):
    random_ticket(tiny_model(), 0.4, 0.5, seed=9, round_to=1).save(folder / "ticket.safetensors")
    with pytest.raises(CheckpointError, match="different checkpoints"):
        load_pruned(folder)


def test_what_is_no_pruned_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="missing"):
        load_pruned(tmp_path / "missing")
    tiny_model().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="not a pruned one"):
        load_pruned(tmp_path)


def test_trainer_checkpoints_open_and_resume(tmp_path):
    model = tiny_model()
    prune_(model, random_ticket(model, 0.4, 0.5, round_to=1))
    data = [{**{k: v[i % 3] for k, v in INPUTS.items()}, "labels": i % 3} for i in range(8)]
    settings = {"output_dir": tmp_path, "per_device_train_batch_size": 2, "save_steps": 2, "use_cpu": USE_CPU}
    settings |= {"disable_tqdm": True, "max_steps": 4}
    Trainer(model, TrainingArguments(**settings), train_dataset=data).train()
    reopened = load_pruned(tmp_path / "checkpoint-4").eval()
    assert_same_weights(reopened, model)
    assert_same_outputs(logits(reopened, INPUTS), logits(model.eval(), INPUTS))
    shutil.rmtree(tmp_path / "checkpoint-4")
    resumed = load_pruned(tmp_path / "checkpoint-2")
    Trainer(resumed, TrainingArguments(**settings), train_dataset=data).train(resume_from_checkpoint=True)
    torch.testing.assert_close(logits(resumed.eval(), INPUTS), logits(model, INPUTS), atol=1e-6, rtol=0)
