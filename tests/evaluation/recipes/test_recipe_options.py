"""Pairs of texts, recipes by a path, stand-ins, Input Reduction's figures, characters nobody sees, odd data."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest

from hf_robust_tickets.cli.main import main
from hf_robust_tickets.errors import (
    CheckpointError,
    ConfigurationError,
    DataError,
    MissingResourceError,
    UnknownNameError,
)
from hf_robust_tickets.evaluation import (
    RobustnessReport,
    compare_reports,
    evaluate_robustness,
    get_recipe,
    list_recipes,
)
from hf_robust_tickets.evaluation.components.masked_lm import check_masked_lm, load_masked_lm
from hf_robust_tickets.evaluation.recipes import columns_to_change
from hf_robust_tickets.evaluation.resources import HOMOGLYPHS_FILE, VECTORS_FOLDER
from tests.testing.keyword_model import keyword_model, keyword_tokenizer, rows
from tests.testing.stock_textattack import pin_stopwords, run_attack
from tests.testing.tiny_parts import LetterEncoder, masked_lm, write_vectors

pytest.importorskip("nltk")

CPU = next(keyword_model().parameters()).device
PAIR = [{"premise": "Some great film", "hypothesis": "Some great plot", "label": 1}]


@pytest.fixture
def parts(tmp_path, monkeypatch):
    monkeypatch.setenv("TA_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_vectors(tmp_path)
    (tmp_path / HOMOGLYPHS_FILE).parent.mkdir()
    (tmp_path / HOMOGLYPHS_FILE).write_text("# a comment\n0061 ;\t0430 #* ( a → а ) LATIN\n006F ; 043E # ( o → о )\n")
    return masked_lm(tmp_path)


def evaluate(data, *recipes, model=None, tokenizer=None, **options):
    options = {"sentence_encoder": LetterEncoder(), "progress": False} | options
    model, tokenizer = model or keyword_model(), tokenizer or keyword_tokenizer()
    return evaluate_robustness(model, data, tokenizer, recipes=list(recipes), **options)


@pytest.mark.slow
def test_of_an_inference_pair_each_recipe_changes_the_side_of_its_papers(parts):
    # the slowest are those that try in vain
    slow = {"leap", "iga", *(f"bad-characters-{kind}" for kind in ("deletions", "invisible", "reorderings"))}
    report = evaluate(PAIR, *(set(list_recipes()) - slow), masked_language_model=parts, seed=1)
    assert len(report) >= 8
    for name, result in report.items():
        changed = result.outcomes[0].perturbed
        side = "premise" if name.startswith("bad-characters") else "hypothesis"
        other = "hypothesis" if side == "premise" else "premise"
        assert changed[other] == PAIR[0][other], name
    assert report["input-reduction"].outcomes[0].perturbed["hypothesis"] != PAIR[0]["hypothesis"]
    assert report["bad-characters-homoglyphs"].outcomes[0].perturbed["premise"] != PAIR[0]["premise"]


@pytest.mark.parametrize("recipe", ["deepwordbug", "textfooler", "bad-characters-invisible", "clare"])
def test_modify_columns_decides_otherwise(parts, recipe):
    for columns in (["premise"], ["premise", "hypothesis"]):
        try:
            report = evaluate(PAIR, recipe, masked_language_model=parts, modify_columns=columns, seed=1)
        except MissingResourceError as error:
            pytest.skip(str(error))
        outcome = report[recipe].outcomes[0]
        unchanged = {column for column in ("premise", "hypothesis") if outcome.perturbed[column] == PAIR[0][column]}
        if columns == ["premise"]:
            assert "hypothesis" in unchanged
        elif recipe != "bad-characters-invisible":
            assert outcome.outcome == "succeeded"  # one great word is not enough for the model
    with pytest.raises(ConfigurationError, match="expected modify_columns among the text columns"):
        evaluate(PAIR, recipe, masked_language_model=parts, modify_columns=["text"])


def test_pairs_without_a_rule_change_on_both_sides():
    data = [{"sentence1": "great film", "sentence2": "great plot good", "label": 1}]
    outcome = evaluate(data, "deepwordbug")["deepwordbug"].outcomes[0]
    assert outcome.outcome == "succeeded" and all(
        outcome.perturbed[c] != data[0][c] for c in ("sentence1", "sentence2")
    )


CUSTOM = """
from textattack import Attack
from textattack.attack_recipes import Pruthi2019

def build(context):
    return Pruthi2019.build(context.model_wrapper)

def nothing(context):
    return None

def wants(context):
    return build(context)

wants.resources = ("hownet",)
NUMBER = 3
"""


def test_a_recipe_by_a_path_is_named_with_its_sha256(tmp_path, monkeypatch):
    pin_stopwords(monkeypatch)
    (tmp_path / "my_recipe.py").write_text(CUSTOM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    report = evaluate(rows(1), "my_recipe.py:build", "my_recipe:build", output_dir=tmp_path / "out")
    by_file, by_name = report["my_recipe.py:build"], report["my_recipe:build"]
    assert [o.outcome for o in by_file.outcomes] == ["succeeded", "failed", "skipped"]
    source = by_file.resources["recipe_source"]
    assert source == by_name.resources["recipe_source"] and len(source["sha256"]) == 64
    assert "my_recipe.py (sha256" in by_file.comparable
    # the stock recipe with our wrapper does what ours does
    assert evaluate(rows(1), "pruthi")["pruthi"].counts == by_file.counts


def test_a_changed_file_does_not_continue_an_evaluation(tmp_path, monkeypatch):
    from hf_robust_tickets.evaluation.recipes import custom

    pin_stopwords(monkeypatch)
    (tmp_path / "mine.py").write_text(CUSTOM)
    name = f"{tmp_path}/mine.py:build"
    evaluate(rows(1), name, output_dir=tmp_path / "out")
    (tmp_path / "mine.py").write_text(CUSTOM + "\n")
    custom.load_custom.cache_clear()
    with pytest.raises(CheckpointError, match="recipe"):
        evaluate(rows(1), name, output_dir=tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("mine.py:absent", UnknownNameError, "expected 'absent' in"),
        ("nowhere.py:build", UnknownNameError, "expected a Python file"),
        ("no_such_package.module:build", UnknownNameError, "expected an importable module"),
        ("mine.py:NUMBER", ConfigurationError, "got int"),
        ("mine.py:nothing", ConfigurationError, "expected a textattack.Attack"),
        ("mine.py:", ConfigurationError, "path/to/file.py:build"),
        ("mine.py:wants", MissingResourceError, "resources fetch hownet"),
    ],
)
def test_paths_that_name_no_recipe(tmp_path, parts, name, error, says, monkeypatch):
    (tmp_path / "mine.py").write_text(CUSTOM)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=says):
        evaluate(rows(1), name)


def test_masked_language_models_are_named_and_stand_ins_are_not_comparable(parts, tmp_path):
    folder = tmp_path / "lm"
    for part in parts:
        part.save_pretrained(folder)
    result = evaluate(rows(1), "bert-attack", masked_language_model=str(folder))["bert-attack"]
    assert result.resources["masked_language_model"] == str(folder)
    assert f"{folder} stands in for google-bert/bert-base-uncased" in result.comparable
    assert "(max_candidates):  48" in result.description
    assert check_masked_lm(str(folder)) == (None, "")


def test_masked_language_models_that_cannot_be_used(parts, tmp_path):
    with pytest.raises(MissingResourceError, match="hf download google-bert/bert-base-uncased"):
        evaluate(rows(1), "bert-attack")
    problem, command = check_masked_lm("some/model")
    assert "some/model" in problem and command == "hf download some/model"
    parts[0].config.model_type = "modernbert"
    with pytest.raises(ConfigurationError, match="got modernbert"):
        load_masked_lm(parts, "google-bert/bert-base-uncased", CPU)
    with pytest.raises(ConfigurationError, match=r"expected masked_language_model \(model, tokenizer\)"):
        load_masked_lm((parts[0],), "google-bert/bert-base-uncased", CPU)


def test_a_handed_over_model_counts_as_the_papers(parts, tmp_path):
    for part in parts:
        part.save_pretrained(tmp_path / "models/google-bert--bert-base-uncased")
    found = load_masked_lm(None, "google-bert/bert-base-uncased", CPU)
    assert found.published and found.name == "google-bert/bert-base-uncased"


def test_input_reduction_has_words_left_and_no_accuracy_under_attack(tmp_path):
    report = evaluate(rows(1), "input-reduction", "deepwordbug", output_dir=tmp_path)
    result = report["input-reduction"]
    assert [o.perturbed.split() for o in result.outcomes[:2]] == [["good"], ["awful"]]
    assert all(o.perturbed_prediction == o.label for o in result.outcomes[:2])
    assert (result.mean_words, result.mean_words_left) == (4.0, 1.0) and result.counts["succeeded"] == 0
    assert math.isnan(result.accuracy_under_attack) and math.isnan(result.attack_success_rate)
    assert report.clean_accuracy == pytest.approx(2 / 3)
    assert "1.0 of 4.0 words left" in report.summary()
    again = RobustnessReport.load(tmp_path / "robustness.json")
    assert again["input-reduction"].goal == "reduce" and again["input-reduction"].mean_words_left == 1.0
    assert main(["report", str(tmp_path), "--output_file", str(tmp_path / "page.html")]) == 0
    assert "1.0 of 4.0 words left" in (tmp_path / "page.html").read_text()
    compared = compare_reports({"a": report, "b": again})
    assert [comparison.recipe for comparison in compared] == ["clean", "deepwordbug"]


@pytest.mark.parametrize("kind", ["deletions", "homoglyphs", "invisible", "reorderings"])
def test_bad_characters_are_those_of_textattack_against_the_other_class(parts, kind, monkeypatch, tmp_path):
    import textattack
    from textattack.transformations import WordSwapHomoglyphSwap

    from hf_robust_tickets.evaluation.components.characters import read_homoglyphs

    name = f"bad-characters-{kind}"
    data = [{"text": "Some good film", "label": 1}]
    ours = evaluate(data, name, seed=2)[name].outcomes
    if kind == "homoglyphs":

        def init(self):
            self.random_one, self.homos_intentional = False, read_homoglyphs(tmp_path / HOMOGLYPHS_FILE)

        monkeypatch.setattr(WordSwapHomoglyphSwap, "__init__", init)
    wrapper = textattack.models.wrappers.HuggingFaceModelWrapper(keyword_model(), keyword_tokenizer())
    # of two classes the target is the other one: the same search
    stock = textattack.attack_recipes.BadCharacters2021.build(
        wrapper, "targeted_classification", perturbation_type=kind, allow_skip=True, target_class=0
    )
    theirs = run_attack(stock, name, [{"index": i, **row} for i, row in enumerate(data)], 2)
    assert [{"outcome": o.outcome, "perturbed": o.perturbed, "queries": o.queries} for o in ours] == theirs
    assert ours[0].outcome == "succeeded" and ours[0].perturbed != "Some good film"


def test_a_text_without_look_alikes_withstands(parts):
    outcome = evaluate([{"text": "Fishy ﬁlm great", "label": 1}], "bad-characters-homoglyphs")
    assert outcome["bad-characters-homoglyphs"].outcomes[0].outcome in ("succeeded", "failed")
    none = [{"text": "GREEK THEN", "label": 0}]
    assert evaluate(none, "bad-characters-homoglyphs")["bad-characters-homoglyphs"].counts["failed"] == 1


def test_the_rule_on_pairs_holds_in_any_order():
    recipe = get_recipe("deepwordbug")
    assert columns_to_change(recipe, ["hypothesis", "premise"], None) == ("hypothesis",)
    data = [{"hypothesis": "good film", "premise": "great plot", "label": 1}]
    outcome = evaluate(data, "deepwordbug", text_columns=["hypothesis", "premise"])["deepwordbug"].outcomes[0]
    assert list(outcome.original) == ["hypothesis", "premise"] and outcome.queries > 2
    assert outcome.perturbed["premise"] == "great plot" and outcome.perturbed["hypothesis"] != "good film"


def test_four_classes_and_texts_that_are_cut():
    import torch

    from tests.testing.tiny import tiny_bert

    torch.manual_seed(0)
    model = tiny_bert(num_labels=4).eval()
    model.config.id2label = {0: "World", 1: "Sports", 2: "Business", 3: "Sci/Tech"}
    tokenizer = keyword_tokenizer()
    tokenizer.model_max_length = 16
    texts = ["good film", "bad plot awful", "great " * 400, "film plot " * 200]
    data = [{"text": text, "label": label} for text, label in zip(texts, range(4))]
    report = evaluate(data, "deepwordbug", model=model, tokenizer=tokenizer)
    outcomes = report["deepwordbug"].outcomes
    assert report.model["num_labels"] == 4 and {o.original_prediction for o in outcomes} <= {0, 1, 2, 3}
    assert [o.outcome == "skipped" for o in outcomes] == [o.original_prediction != o.label for o in outcomes]


def test_a_tokenizer_with_more_tokens_than_the_model_has_embeddings_is_refused():
    tokenizer = keyword_tokenizer()
    tokenizer.add_tokens(["unheard"])
    with pytest.raises(DataError, match=r"expected token numbers below 8, .*got 8"):
        evaluate([{"text": "an unheard film", "label": 0}], "deepwordbug", tokenizer=tokenizer)


def test_labels_in_another_order_are_matched_by_name_and_too_many_are_refused():
    from datasets import ClassLabel, Dataset, Features, Value

    def dataset(names):
        features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
        return Dataset.from_dict({"text": ["good film", "awful film"], "label": [0, 1]}, features=features)

    model = keyword_model(id2label={0: "negative", 1: "positive"}, label2id={"negative": 0, "positive": 1})
    report = evaluate(dataset(["positive", "negative"]), "deepwordbug", model=model)
    assert [o.label for o in report["deepwordbug"].outcomes] == [1, 0] and report.clean_accuracy == 1.0
    with pytest.raises(DataError, match="expected the model to have the data set's 3 classes"):
        evaluate(dataset(["negative", "neutral", "positive"]), "deepwordbug", model=model)
    with pytest.raises(DataError, match="got a blank text: fill the cell"):
        evaluate([{"text": " ", "label": 0}], "deepwordbug")
    other = evaluate([{"text": "плохой фильм 好电影 bad", "label": 0}], "deepwordbug", "bad-characters-reorderings")
    assert other["deepwordbug"].outcomes[0].outcome in ("succeeded", "failed")


def test_word_vectors_from_a_folder_are_named_by_their_checksum(tmp_path, monkeypatch):
    monkeypatch.setenv("TA_CACHE_DIR", str(tmp_path / "empty"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_vectors(tmp_path)
    folder = tmp_path / VECTORS_FOLDER
    data = [{"text": "Some good film", "label": 1}]
    with pytest.raises(MissingResourceError, match="counter-fitted"):
        evaluate(data, "iga")
    options = {"word_vectors": folder, "output_dir": tmp_path / "out"}
    report = evaluate(data, "iga", **options)
    first = report["iga"].resources["word_vectors_sha256"]
    assert len(first) == 64 and report["iga"].outcomes[0].queries > 1
    assert evaluate(data, "iga", word_vectors=str(folder))["iga"].sha256 == report["iga"].sha256
    matrix = np.load(folder / "paragram.npy")
    np.save(folder / "paragram.npy", matrix[::-1])
    with pytest.raises(CheckpointError, match="another recipe iga"):
        evaluate(data, "iga", **options)
    swapped = evaluate(data, "iga", word_vectors=folder)
    assert swapped["iga"].resources["word_vectors_sha256"] != first and swapped["iga"].sha256 != report["iga"].sha256
    assert RobustnessReport.from_dict(report.to_dict())["iga"].sha256 == report["iga"].sha256
    with pytest.raises(MissingResourceError, match=r"without paragram\.npy, wordlist\.pickle, nn\.npy"):
        evaluate(data, "iga", word_vectors=tmp_path)


def test_a_folder_of_vectors_runs_no_code(tmp_path):
    write_vectors(tmp_path)
    folder = tmp_path / VECTORS_FOLDER
    data = [{"text": "Some good film", "label": 1}]
    words = folder / "wordlist.pickle"
    plain = words.read_bytes()
    for content in (pickle.dumps(Path("/")), pickle.dumps(["good"]), pickle.dumps({"good": 10**6}), b"cut"):
        words.write_bytes(content)
        with pytest.raises(CheckpointError, match="expected"):
            evaluate(data, "iga", word_vectors=folder)
    words.write_bytes(plain)
    np.save(folder / "nn.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(CheckpointError, match=r"expected an array at .*nn\.npy"):
        evaluate(data, "iga", word_vectors=folder)
