"""`robust-tickets evaluate --task labels` and `--task tags`."""

from __future__ import annotations

import importlib.util
import json

import pytest
from transformers import BertForTokenClassification

from hf_robust_tickets.cli.main import main
from hf_robust_tickets.tickets import prune_, random_ticket
from tests.testing.tiny import tiny_bert, tiny_tokenizer

pytestmark = pytest.mark.skipif(importlib.util.find_spec("textattack") is None, reason="TextAttack is not installed")

NAMES = {0: "praise", 1: "price", 2: "place"}
CONFIG = {"num_labels": 3, "id2label": NAMES, "label2id": {name: i for i, name in NAMES.items()}}


def saved(model, folder):
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def evaluate(task, model, rows, folder, *options):
    """The exit code, and the report."""
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    arguments = ["--task", task, "--model_name_or_path", str(model), "--validation_file", str(folder / "rows.jsonl")]
    code = main(["evaluate", *arguments, "--recipes", "deepwordbug", "--output_dir", str(folder / "out"), *options])
    page = folder / "out" / f"{task}.json"
    return code, json.loads(page.read_text()) if page.exists() else None


def test_several_labels(tmp_path, capsys):
    model = saved(tiny_bert(**CONFIG, problem_type="multi_label_classification"), tmp_path / "model")
    rows = [
        {"text": f"w{6 + i} w9 w{40 + i}", "labels": labels} for i, labels in enumerate([[0, 1, 0], ["price"], []])
    ]
    code, report = evaluate("labels", model, rows, tmp_path, "--threshold", "0.4")
    assert (code, report["task"], report["settings"]["threshold"]) == (0, "labels", 0.4)
    assert [outcome["truth"] for outcome in report["results"][0]["outcomes"]] == [[1], [1], []]
    assert "deepwordbug: whole label sets right" in capsys.readouterr().out


@pytest.mark.parametrize("pruned", [False, True], ids=["dense", "pruned"])
def test_tags(tmp_path, capsys, pruned):
    model = BertForTokenClassification(tiny_bert(**CONFIG).config)
    if pruned:
        prune_(model, random_ticket(model, head_sparsity=0.5, neuron_sparsity=0.5, seed=0))
    model = saved(model, tmp_path / "model")
    rows = [{"tokens": ["w6", "w9", "w40"], "ner_tags": ["place", 0, -100]}, {"tokens": ["w7"], "ner_tags": [2]}]
    options = ["--label_column", "ner_tags", "--num_examples", "2", "--query_budget", "20"]
    code, report = evaluate("tags", model, rows, tmp_path, *options)
    assert (code, report["task"], report["settings"]["query_budget"]) == (0, "tags", 20)
    # The tiny tokenizer knows all of these words, and what has no tag is -1.
    assert [outcome["truth"] for outcome in report["results"][0]["outcomes"]] == [[2, 0, -1], [2]]
    assert "deepwordbug: sentences with their tags right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        ("tag", [], "expected a task among classes, labels, tags, got 'tag'"),
        ("tags", ["--gate", "True"], "expected --task tags without --gate, got both"),
        ("labels", ["--num_processes", "2"], "expected --task labels without --num_processes, got both"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(tmp_path, capsys, task, options, words):
    assert evaluate(task, "nowhere", [{"text": "a", "labels": []}], tmp_path, *options) == (2, None)
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("task", ["tags", "labels"])
def test_a_model_of_another_task_is_refused(tmp_path, capsys, task):
    dense = tiny_bert(**CONFIG)
    # The heads of both have one name in BERT: what the checkpoint was saved as decides.
    model = saved(dense if task == "tags" else BertForTokenClassification(dense.config), tmp_path / "model")
    assert evaluate(task, model, [{"tokens": ["w6"], "tags": [0]}], tmp_path) == (2, None)
    kinds = ("ForTokenClassification", "BertForSequenceClassification")
    if task == "labels":
        kinds = ("ForSequenceClassification", "BertForTokenClassification")
    assert f"expected a model {kinds[0]} at" in (said := capsys.readouterr().err)
    assert kinds[1] in said
