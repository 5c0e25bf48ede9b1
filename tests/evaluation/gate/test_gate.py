"""The whole gate on small models."""

from __future__ import annotations

import pytest

from hf_robust_tickets._provenance import note_training_resources
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.evaluation import evaluate_gate, load_result
from hf_robust_tickets.evaluation.resources import RESOURCES
from tests.testing.headed_model import headed_model, headed_rows, headed_tokenizer
from tests.testing.keyword_model import SteadyKeywordModel, keyword_model, keyword_tokenizer, rows
from tests.testing.tiny_parts import LetterEncoder

pytest.importorskip("nltk")

DATA, DEVELOPMENT = headed_rows(18, seed=1), headed_rows(40, seed=2)
TOKENIZER = headed_tokenizer()


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch, tmp_path_factory):
    import nltk

    monkeypatch.setenv("TA_CACHE_DIR", str(tmp_path_factory.mktemp("absent")))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(nltk.data, "path", [])


def gate(model=None, **options):
    defaults = {"recipes": ["deepwordbug", "pwws"], "noise": ["typos", "keyboard"], "progress": False}
    defaults["development_data"] = DEVELOPMENT
    return evaluate_gate(model or headed_model(), DATA, TOKENIZER, **(defaults | options))


def test_beside_itself_a_model_gains_nothing_and_what_was_not_run_says_why(tmp_path):
    result = gate(reference=(headed_model(), TOKENIZER), output_dir=tmp_path)
    checks = ["clean", "deepwordbug", "pwws", "hard-label", "deepwordbug (transferred)", "pwws (transferred)"]
    assert [row.check for row in result.rows] == [*checks, "typos", "keyboard"]
    assert [row.was_run for row in result.rows] == [True, True, False, False, True, False, True, True]
    assert {row.difference for row in result.rows if row.was_run} == {0.0}
    assert result.verdict == "no gain shown: no row can be told apart" and result.signs == ()
    assert "WordNet not found" in result["pwws"].note and "counter-fitted" in result["hard-label"].note
    assert result["deepwordbug"].note.startswith("T = 1: ")
    said = result.summary()
    assert "not run: pwws: WordNet not found" in said and said.endswith(result.verdict)
    assert load_result(tmp_path / "gate.json") == result
    assert {path.name for path in (tmp_path / "model").iterdir()} >= {"scores", "noise.json"}


def test_the_same_call_goes_on_where_it_was(tmp_path, monkeypatch):
    first = gate(output_dir=tmp_path, noise=[])
    path = tmp_path / "model" / "scores" / "outcomes.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:10]))
    from hf_robust_tickets.evaluation.runner.attacker import Attacker

    attacked, run = [], Attacker.run
    monkeypatch.setattr(Attacker, "run", lambda self, example, seed: (attacked.append(1), run(self, example, seed))[1])
    assert gate(output_dir=tmp_path, noise=[]).rows == first.rows
    assert len(attacked) == 2 * (len(lines) - 10)  # at T = 1 and at T*


def test_a_model_whose_logits_are_multiplied_is_not_believed():
    result = gate(headed_model(scale=100.0), reference=(headed_model(), TOKENIZER), recipes=["deepwordbug"], noise=[])
    assert result["deepwordbug"].difference == 0
    assert result.verdict == "not to be believed: 1 sign of false robustness"
    assert "the scale of the logits hid the rest" in result.signs[0]
    assert result["noise"].note == "no kind was asked for"


def test_without_a_reference_there_are_figures_alone():
    model = headed_model()
    note_training_resources(model.config, ["qwerty"])
    result = gate(model, recipes=["deepwordbug"])
    assert "no reference" in result.verdict and result["transfer"].note.startswith("no second model")
    assert all(row.judgement == "" for row in result.rows)
    assert result["keyboard"].shares == ("qwerty",) and result["typos"].shares == ()
    assert "reference" not in result.to_table()[0] and result.to_table()[-1]["shares with the training"] == "qwerty"


def test_what_cannot_work_is_refused_before_anything_is_written(tmp_path):
    for options, said in [
        ({"development_data": None}, "expected development data, got none"),
        ({"label_queries": 0}, "label_queries >= 1"),
        ({"recipes": ["hard-label"]}, "recipes that see scores, got hard-label"),
        ({"severity": 9}, "severit"),
    ]:
        with pytest.raises(ConfigurationError, match=said):
            gate(output_dir=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_with_all_resources(parts, monkeypatch):
    import os

    import nltk

    monkeypatch.setattr(nltk.data, "path", os.environ.get("NLTK_DATA", "").split(os.pathsep))
    if missing := RESOURCES["pos-tagger"].missing():
        pytest.skip(f"needs NLTK_DATA: {missing}")
    model = SteadyKeywordModel(keyword_model(max_position_embeddings=66).config).eval()
    tokenizer = keyword_tokenizer()
    result = evaluate_gate(
        model,
        rows(),
        tokenizer,
        development_data=[*rows(), {"text": "good film", "label": 0}],
        recipes=["textfooler", "bae"],
        label_queries=60,
        noise=[],
        attack={"sentence_encoder": LetterEncoder(), "masked_language_model": parts},
        progress=False,
    )
    assert [row.check for row in result.rows if not row.was_run] == ["transfer", "noise"]
    assert result["hard-label"].right == 0 and result["hard-label"].note == "60 queries"
    assert result["clean"].right == 4
