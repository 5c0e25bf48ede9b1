"""`robust-tickets attack "a sentence"`."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from hf_robust_tickets.cli.main import main
from hf_robust_tickets.evaluation import attack_text
from tests.testing.tiny import tiny_bert, tiny_tokenizer

pytestmark = pytest.mark.skipif(importlib.util.find_spec("textattack") is None, reason="TextAttack is not installed")

TEXT = "w6 w9 w40"
NAMES = {0: "negative", 1: "positive"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model whose answer to TEXT is "positive", and "negative" once the word that matters most is unknown."""
    folder = tmp_path_factory.mktemp("attack")
    model = tiny_bert(id2label=NAMES, label2id={name: number for number, name in NAMES.items()}).eval()
    tokenizer = tiny_tokenizer()
    words = TEXT.split()
    texts = [TEXT, *(" ".join([*words[:i], "?", *words[i + 1 :]]) for i in range(len(words)))]
    with torch.no_grad():
        model.classifier.weight[1] = -model.classifier.weight[0]
        model.classifier.bias.zero_()
        logits = model(**tokenizer(texts, return_tensors="pt")).logits
        changes = (logits[1:] - logits[0])[:, 1]
        largest = changes[changes.abs().argmax()]
        sign = -1 if largest > 0 else 1
        model.classifier.weight *= 50 * sign
        model.classifier.bias[1] = -50 * sign * (logits[0, 1] + largest / 2)
        model.classifier.bias[0] = -model.classifier.bias[1]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def attack(folder, *line):
    return main(["attack", *line, "--model_name_or_path", str(folder)])


def test_it_prints_what_the_function_returns_and_how_sure_the_model_was(folder, capsys):
    assert attack(folder, TEXT, "--label", "positive", "--recipe", "deepwordbug") == 0
    said = capsys.readouterr().out.splitlines()
    model = type(tiny_bert()).from_pretrained(folder)
    outcome = attack_text(model, tiny_tokenizer(), TEXT, "positive", "deepwordbug")
    assert outcome.outcome == "succeeded" and said[:3] == str(outcome).splitlines()
    assert said[0] == f"succeeded after {outcome.queries} queries: positive → negative"
    assert "[[" in said[1] and "[[" in said[2] and said[1].replace("[[", "").replace("]]", "") == f"before: {TEXT}"
    before, after = outcome.probabilities[1], outcome.perturbed_probabilities[1]
    assert said[3:] == [f"probability of positive: {before:.1%} → {after:.1%}"] and before > 0.5 > after


def test_without_a_label_the_models_answer_stands_for_it(folder, capsys):
    assert attack(folder, TEXT, "--recipe", "deepwordbug") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "no --label: taken to be positive, as the model says" and said[1].startswith("succeeded after")
    assert attack(folder, TEXT, "--label", "0", "--recipe", "deepwordbug") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "skipped: the model says positive, not negative" and "→" not in said[2]


def test_of_a_pair_the_columns_that_may_change_do(folder, tmp_path, capsys):
    pair = ["w40 w7", TEXT, "--text_columns", "premise", "hypothesis", "--recipe", "deepwordbug"]
    assert attack(folder, *pair) == 0
    hypothesis = capsys.readouterr().out
    assert attack(folder, *pair, "--modify_columns", "premise") == 0
    premise = capsys.readouterr().out
    for said, still in ((hypothesis, "premise: w40 w7 |"), (premise, f"hypothesis: {TEXT}")):
        assert [still in line for line in said.splitlines() if line.startswith(("before", "after"))] == [True, True]
    lines = [f"model_name_or_path: {folder}", "text: [w40 w7, w6 w9 w40]", "recipe: deepwordbug"]
    (tmp_path / "attack.yaml").write_text("\n".join([*lines, "text_columns: [premise, hypothesis]"]))
    assert main(["attack", str(tmp_path / "attack.yaml")]) == 0
    assert capsys.readouterr().out == hypothesis


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["a", "b", "c"], "expected a text or a pair of texts, got 3"),
        ([" "], "expected words in Unicode to attack, got ' '"),
        (["w5", "\udcff"], "expected words in Unicode to attack"),
        ([TEXT, "--label", "neutral"], "neutral"),
        ([TEXT, "--label", "2"], "2"),
        ([TEXT, "--recipe", "textfoler"], "expected a recipe among"),
        ([TEXT, "--recipe", "hard-label", "--query_budget", "0"], "query_budget"),
        ([TEXT, "--text_columns", "premise", "hypothesis"], "got one text"),
        ([TEXT, "w5", "--text_columns", "a"], "expected two text_columns"),
        ([TEXT, "w5", "--modify_columns", "c"], "c"),
        ([TEXT, "--max_length", "99"], "expected max_length <= 32"),
        ([TEXT, "--batch_size", "0"], "batch_size"),
        ([], "--text"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_in_one_line(folder, capsys, line, message):
    recipe = [] if "--recipe" in line else ["--recipe", "deepwordbug"]
    try:
        code = attack(folder, *line, *recipe)
    except SystemExit as stop:
        code = stop.code
    said = [text for text in capsys.readouterr().err.splitlines() if text.startswith("robust-tickets")]
    assert code == 2 and len(said) == 1 and message in said[0] and "--debug" not in said[0], said
