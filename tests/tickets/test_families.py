"""The common tester: what must hold for every family and every task."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from hf_robust_tickets.architectures import get_architecture, known_model_types
from hf_robust_tickets.tickets import (
    attach_gates,
    detach_gates,
    export_dense,
    load_pruned,
    prune_,
    random_ticket,
    save_pruned,
)
from hf_robust_tickets.tickets.modeling_robust_ticket import count_units, find_layers
from tests.tickets.models import FAMILIES, IMAGES, TASKS, logits, task_inputs, task_model, tiny_config

_WITH_TOKENIZER = ("bert", "sequence")
_DECODERS = ("gemma2", "gpt-neox", "gpt2", "granite", "llama", "mistral", "opt", "qwen2", "qwen3")
_MAIN_TASK = {**dict.fromkeys(FAMILIES, "sequence"), **dict.fromkeys(IMAGES, "image"), "granite": "causal"}
# The same module paths as another family here, or a rarer one: these run with the slow tests.
_SLOW = ("data2vec-text", "ernie", "esm", "eurobert", "gemma", "gemma2", "gpt-neox", "granite", "ijepa", "layoutlm")
_SLOW += ("megatron-bert", "ministral", "nomic-bert", "olmo", "opt", "rembert", "roberta-prelayernorm", "smollm3")
_SLOW += ("vit-msn", "xlm-roberta-xl")
_CASES = list(_MAIN_TASK.items())
_CASES += [("bert", task) for task in ("token", "choice", "question", "masked")]
_CASES += [(family, task) for family in ("deberta-v2", "mpnet", "albert") for task in ("token", "choice", "masked")]
_CASES += [("modernbert", task) for task in ("token", "question", "masked")]
_CASES += [(family, "causal") for family in _DECODERS if family != "granite"]
_CASES += [("gpt2", "token"), ("llama", "question"), ("distilbert", "masked"), ("roberta", "question")]


def _marks(family):
    return [pytest.mark.slow] if family in _SLOW else []


def _families(names):
    return pytest.mark.parametrize("family", [pytest.param(name, marks=_marks(name)) for name in names])


all_cases = pytest.mark.parametrize(
    ("family", "task"), [pytest.param(*case, marks=_marks(case[0]), id="-".join(case)) for case in _CASES]
)

# Runs where this package cannot be imported.
_STOCK_SCRIPT = """
import json, pathlib, sys
sys.modules["hf_robust_tickets"] = None
import torch, transformers
from safetensors.torch import load_file, save_file
for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    auto = getattr(transformers, (folder / "auto.txt").read_text())
    model = auto.from_pretrained(folder, trust_remote_code=True).eval()
    with torch.no_grad():
        save_file({"logits": model(**load_file(folder / "inputs.st"))[0].contiguous()}, folder / "stock.st")
    if (folder / "tokenizer_config.json").exists():
        classify = transformers.pipeline(
            "text-classification", model=str(folder), trust_remote_code=True, top_k=None
        )
        (folder / "pipeline.json").write_text(json.dumps({row["label"]: row["score"] for row in classify("a b c")[0]}))
"""


def pruned_model(family, task):
    model = task_model(family, task)
    return prune_(model, random_ticket(model, 0.4, 0.5, seed=1))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    vocabulary = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijkl"]))
    return transformers.BertTokenizer(str(vocabulary))


def save_case(folder, family, task, tokenizer):
    save_pruned(pruned_model(family, task), folder, tokenizer=tokenizer if (family, task) == _WITH_TOKENIZER else None)
    save_file({k: v.contiguous() for k, v in task_inputs(family, task).items()}, folder / "inputs.st")
    (folder / "auto.txt").write_text(TASKS[task][1])


def open_without_this_package(root, home):
    script = home / "stock.py"
    script.write_text(_STOCK_SCRIPT)
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, str(script), str(root)],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, tokenizer):
    """Folder of a case; all cases of a speed are saved, and opened in one process without this package, at once."""
    roots = {}

    def folder(family, task):
        slow = family in _SLOW
        if slow not in roots:
            root = tmp_path_factory.mktemp("checkpoints")
            for case in _CASES:
                if (case[0] in _SLOW) == slow:
                    save_case(root / "-".join(case), *case, tokenizer)
            open_without_this_package(root, tmp_path_factory.mktemp("home"))
            roots[slow] = root
        return roots[slow] / f"{family}-{task}"

    return folder


def test_every_registered_family_is_tested():
    assert {tiny_config(family).model_type for family in FAMILIES} == set(known_model_types())


@all_cases
def test_mask_equals_prune(family, task):
    model, inputs = task_model(family, task), task_inputs(family, task)
    ticket = random_ticket(model, 0.4, 0.5, seed=1)
    dense = logits(model, inputs)
    gates = attach_gates(model)
    with torch.no_grad():
        for gate, mask in zip(gates.parameters(), (*ticket.heads, *ticket.neurons)):
            gate.copy_(mask)
    masked = logits(model, inputs)
    detach_gates(model)
    pruned = logits(prune_(model, ticket), inputs)
    torch.testing.assert_close(pruned, masked, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(masked, dense, atol=1e-3)  # or the comparison would say nothing


@all_cases
def test_save_equals_load_in_three_ways(family, task, checkpoint, tmp_path):
    folder, inputs = checkpoint(family, task), task_inputs(family, task)
    model = pruned_model(family, task)
    expected = logits(model, inputs)
    assert torch.equal(logits(load_pruned(folder), inputs), expected)
    assert torch.equal(load_file(folder / "stock.st")["logits"], expected)
    export_dense(model, tmp_path)
    dense = getattr(transformers, TASKS[task][1]).from_pretrained(tmp_path)
    torch.testing.assert_close(logits(dense, inputs), expected, atol=1e-6, rtol=1e-6)


@all_cases
def test_saving_again_is_exact(family, task, checkpoint, tmp_path):
    folder = checkpoint(family, task)
    load_pruned(folder).save_pretrained(tmp_path)
    for name in ("config.json", "model.safetensors", "ticket.safetensors", "modeling_robust_ticket.py"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


@all_cases
def test_plain_from_pretrained_fails_loudly(family, task, checkpoint):
    with pytest.raises(RuntimeError, match="mismatch"):
        getattr(transformers, TASKS[task][1]).from_pretrained(checkpoint(family, task))


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
    first = random_ticket(model, 0.25, 0.3, seed=2)
    prune_(model, first)
    second = random_ticket(model, 0.3, 0.3, seed=3)
    prune_(model, second)
    prune_(at_once, first.compose(second))
    assert torch.equal(logits(model, inputs), logits(at_once, inputs))
    assert json.loads(json.dumps(model.config.robust_ticket)) == at_once.config.robust_ticket


@_families(FAMILIES)
def test_the_travelling_file_finds_what_the_description_finds(family):
    model = pruned_model(family, _MAIN_TASK[family])
    architecture = get_architecture(model)
    layout = architecture.layout()
    layers = find_layers(model, layout["layers"])
    assert layers == architecture.layers(model)
    assert [count_units(layer, layout["heads"]) for layer in layers] == architecture.num_heads(model)
    assert [count_units(layer, layout["neurons"]) for layer in layers] == architecture.num_neurons(model)


@_families(_DECODERS)
def test_pruned_decoders_generate_with_their_cache(family):
    model, inputs = pruned_model(family, "causal"), {"input_ids": torch.tensor([[5, 6, 7, 8]])}
    settings = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    with_cache = model.generate(**inputs, **settings, use_cache=True)
    assert torch.equal(with_cache, model.generate(**inputs, **settings, use_cache=False))


def test_a_pipeline_opens_a_checkpoint_without_this_package(checkpoint, tokenizer):
    scores = json.loads((checkpoint(*_WITH_TOKENIZER) / "pipeline.json").read_text())
    expected = logits(pruned_model(*_WITH_TOKENIZER), tokenizer("a b c", return_tensors="pt")).softmax(-1)[0].tolist()
    assert [scores[f"LABEL_{i}"] for i in range(3)] == pytest.approx(expected, abs=1e-6)
