"""The common tester: what must hold for every family and every task."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from transformers import Trainer, TrainingArguments

from hf_robust_tickets.architectures import get_architecture, known_model_types
from hf_robust_tickets.tickets import attach_gates, detach_gates, export_dense, load_pruned, prune_, random_ticket
from hf_robust_tickets.tickets.robust_ticket_surgery import count_units, find_places
from tests.testing.device import USE_CPU
from tests.testing.elsewhere import logits_elsewhere, open_elsewhere, save_case, scores_elsewhere
from tests.testing.families import (
    DECODERS,
    FAMILIES,
    MAIN_TASK,
    TASKS,
    families,
    has_task,
    is_slow,
    logits,
    task_inputs,
    task_model,
    tiny_config,
)
from tests.testing.rounding import assert_same_outputs, assert_same_weights

CODE = ("modeling_robust_ticket.py", "robust_ticket_surgery.py")
_WITH_TOKENIZER = ("bert", "sequence")
_ALL = [(family, task) for family in FAMILIES for task in TASKS if has_task(family, task)]
# Every family with its main task, and every head of the families whose attention differs most: the others are slow.
_FAST = {case for case in MAIN_TASK.items() if not is_slow(case[0])}
_FAST |= {case for case in _ALL if case[0] == "bert"}
_FAST |= {(family, task) for family in ("deberta-v2", "mpnet", "albert") for task in ("token", "choice", "masked")}
_FAST |= {("modernbert", task) for task in ("token", "question", "masked")}
_FAST |= {(family, "causal") for family in DECODERS if not is_slow(family)}
_FAST |= {("t5", "sequence"), ("t5", "token"), ("bart", "sequence"), ("mt5", "seq2seq")}
_FAST |= {("gpt2", "token"), ("llama", "question"), ("distilbert", "masked"), ("roberta", "question")}
_MARKS = {True: [], False: [pytest.mark.slow]}
all_cases = pytest.mark.parametrize(
    ("family", "task"), [pytest.param(*case, marks=_MARKS[case in _FAST], id="-".join(case)) for case in _ALL]
)


def pruned_model(family, task):
    model = task_model(family, task)
    return prune_(model, random_ticket(model, 0.4, 0.5, seed=1, round_to=1))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    vocabulary = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijkl"]))
    return transformers.BertTokenizer(str(vocabulary))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, tokenizer):
    """Folder of a case; all cases of a speed are saved, and opened in one process without this package, at once."""
    roots = {}

    def folder(*case):
        fast = case in _FAST
        if fast not in roots:
            roots[fast] = tmp_path_factory.mktemp("checkpoints")
            for each in _ALL:
                if (each in _FAST) == fast:
                    with_tokenizer = tokenizer if each == _WITH_TOKENIZER else None
                    save_case(roots[fast] / "-".join(each), *each, pruned_model(*each), tokenizer=with_tokenizer)
            open_elsewhere(roots[fast], tmp_path_factory.mktemp("home"))
        return roots[fast] / "-".join(case)

    return folder


# Channels in place of heads and neurons: tests/tickets/test_channels.py.
CONVOLUTIONAL = {"resnet", "cifar_resnet", "small_image_resnet", "preact_resnet", "wide_resnet"}


def test_every_registered_family_is_tested():
    assert {tiny_config(family).model_type for family in FAMILIES} | CONVOLUTIONAL == set(known_model_types())


@all_cases
def test_mask_equals_prune(family, task):
    model, inputs = task_model(family, task), task_inputs(family, task)
    ticket = random_ticket(model, 0.4, 0.5, seed=1, round_to=1)
    dense = logits(model, inputs)
    gates = attach_gates(model)
    with torch.no_grad():
        for gate, mask in zip(gates.parameters(), (*ticket.heads, *ticket.neurons)):
            gate.copy_(mask)
    masked = logits(model, inputs)
    detach_gates(model)
    pruned = logits(prune_(model, ticket), inputs)
    assert_same_outputs(pruned, masked)
    assert not torch.allclose(masked, dense, atol=1e-3)  # or the comparison would say nothing


@all_cases
def test_save_equals_load_in_three_ways(family, task, checkpoint, tmp_path):
    folder, inputs = checkpoint(family, task), task_inputs(family, task)
    model = pruned_model(family, task)
    expected = logits(model, inputs)
    assert_same_outputs(logits_elsewhere(folder), expected)
    for path in (folder, folder / "again"):  # the latter was saved by the process without this package
        opened = load_pruned(path)
        assert_same_weights(opened, model)
        assert_same_outputs(logits(opened, inputs), expected)
    export_dense(model, tmp_path)
    dense = getattr(transformers, TASKS[task][1]).from_pretrained(tmp_path)
    assert_same_outputs(logits(dense, inputs), expected)


@all_cases
def test_saving_again_is_exact(family, task, checkpoint, tmp_path):
    folder = checkpoint(family, task)
    load_pruned(folder).save_pretrained(tmp_path)
    for name in ("config.json", "model.safetensors", "ticket.safetensors", *CODE):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


@all_cases
def test_plain_from_pretrained_fails_loudly(family, task, checkpoint):
    stock, folder = getattr(transformers, TASKS[task][1]), checkpoint(family, task)
    for options in ({}, {"ignore_mismatched_sizes": True}):
        with pytest.raises(ValueError, match="this model is pruned; open it with"):
            stock.from_pretrained(folder, **options)


@all_cases
def test_every_remaining_parameter_gets_a_gradient_and_learns(family, task):
    dense, model, inputs = task_model(family, task), pruned_model(family, task), task_inputs(family, task, labels=True)
    dense.train()(**inputs).loss.backward()
    unused = {name for name, parameter in dense.named_parameters() if parameter.grad is None}
    assert not any("layer" in name or ".h." in name for name in unused)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    for _ in range(2):
        loss = model(**inputs).loss
        loss.backward()
        assert {name for name, parameter in model.named_parameters() if parameter.grad is None} == unused
        optimizer.step()
        model.zero_grad()
    assert model(**inputs).loss.isfinite()


@all_cases
def test_pruning_twice_equals_pruning_once(family, task):
    inputs = task_inputs(family, task)
    model, at_once = task_model(family, task), task_model(family, task)
    first = random_ticket(model, 0.25, 0.3, seed=2, round_to=1)
    prune_(model, first)
    second = random_ticket(model, 0.3, 0.3, seed=3, round_to=1)
    prune_(model, second)
    prune_(at_once, first.compose(second))
    assert_same_weights(model, at_once)
    assert_same_outputs(logits(model, inputs), logits(at_once, inputs))
    assert json.loads(json.dumps(model.config.robust_ticket)) == at_once.config.robust_ticket


@families(FAMILIES)
def test_the_travelling_file_finds_what_the_description_finds(family):
    model = pruned_model(family, MAIN_TASK[family])
    architecture = get_architecture(model)
    layout = architecture.layout()
    places = find_places(model, layout)
    assert [layer for layer, _ in places] == [place.layer for place in architecture.places(model)]
    assert [count_units(layer, part["heads"]) for layer, part in places] == architecture.num_heads(model)
    assert [count_units(layer, part["neurons"]) for layer, part in places] == architecture.num_neurons(model)


@families(DECODERS)
def test_pruned_decoders_generate_with_their_cache(family):
    model, inputs = pruned_model(family, "causal"), {"input_ids": torch.tensor([[5, 6, 7, 8]])}
    settings = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    with_cache = model.generate(**inputs, **settings, use_cache=True)
    assert torch.equal(with_cache, model.generate(**inputs, **settings, use_cache=False))


@families(FAMILIES, varied=True)
def test_sharded_weights_dtype_and_device_map(family, tmp_path):
    task = MAIN_TASK[family]
    model, inputs = pruned_model(family, task), task_inputs(family, task)
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    opened = load_pruned(tmp_path, device_map="cpu")
    assert_same_weights(opened, model)
    assert_same_outputs(logits(opened, inputs), logits(model, inputs))
    task_model(family, task).save_pretrained(tmp_path / "dense")
    stock = getattr(transformers, TASKS[task][1])
    for dtype in (torch.bfloat16, "auto"):
        dense = stock.from_pretrained(tmp_path / "dense", dtype=dtype)
        small = load_pruned(tmp_path, dtype=dtype)
        assert [p.dtype for p in small.parameters()] == [p.dtype for p in dense.parameters()]
    assert small.dtype == torch.float32


@families(FAMILIES)
def test_a_model_on_the_meta_device_is_cut_to_the_same_shapes(family):
    task = MAIN_TASK[family]
    model = pruned_model(family, task)
    with torch.device("meta"):
        empty = type(task_model(family, task))(tiny_config(family, num_labels=3))
    prune_(empty, random_ticket(empty, 0.4, 0.5, seed=1, round_to=1))
    assert {parameter.device.type for parameter in empty.parameters()} == {"meta"}
    assert {k: v.shape for k, v in empty.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}


@families(FAMILIES)
def test_tied_weights_and_frozen_ones_stay_so(family):
    task = next(task for task in ("masked", "causal", MAIN_TASK[family]) if has_task(family, task))
    model = task_model(family, task)
    for name in [name for name, _ in model.named_parameters()][::2]:
        model.get_parameter(name).requires_grad_(False)
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    heads = (model.get_input_embeddings(), model.get_output_embeddings())
    tied = heads[1] is not None and heads[0].weight is heads[1].weight
    prune_(model, random_ticket(model, 0.4, 0.5, round_to=1))
    assert [name for name, parameter in model.named_parameters() if not parameter.requires_grad] == frozen
    if heads[1] is not None:
        assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied


@families(FAMILIES, varied=True)
def test_fine_tuning_resumes_from_a_trainer_checkpoint(family, tmp_path):
    task = MAIN_TASK[family]
    batch = task_inputs(family, task, labels=True)
    data = [{key: value[i % 3] for key, value in batch.items()} for i in range(8)]
    settings = {"output_dir": tmp_path, "per_device_train_batch_size": 2, "save_steps": 1, "max_steps": 2}
    settings |= {"disable_tqdm": True, "use_cpu": USE_CPU, "report_to": "none", "save_total_limit": None}

    def train(model, **options):
        trainer = Trainer(model, TrainingArguments(**settings), train_dataset=data)
        trainer.train(**options)
        return model.eval()

    # Dropout makes the two runs draw different numbers unless its generator is restored too.
    expected = train(pruned_model(family, task).train())
    reopened = load_pruned(tmp_path / "checkpoint-1")
    # Stock transformers thaws the tables of sines of Marian and Pegasus where it opens them.
    for one, other in zip(expected.parameters(), reopened.parameters()):
        other.requires_grad_(one.requires_grad)
    resumed = train(reopened, resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    # The stock T5, unpruned, differs in last bits here too.
    exact = family not in ("mt5", "t5")
    for (name, one), other in zip(expected.named_parameters(), resumed.parameters()):
        assert torch.equal(one, other) if exact else torch.allclose(one, other, rtol=0, atol=1e-7), name


def test_a_pipeline_opens_a_checkpoint_without_this_package(checkpoint, tokenizer):
    scores = scores_elsewhere(checkpoint(*_WITH_TOKENIZER))
    expected = logits(pruned_model(*_WITH_TOKENIZER), tokenizer("a b c", return_tensors="pt")).softmax(-1)[0].tolist()
    assert [scores[f"LABEL_{i}"] for i in range(3)] == pytest.approx(expected, abs=1e-6)
