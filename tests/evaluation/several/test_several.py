"""Attacks on label sets and on tags, against models that can be worked out by hand."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput

from hf_robust_tickets.errors import CheckpointError, ConfigurationError, DataError
from hf_robust_tickets.evaluation.several import evaluate_label_sets, evaluate_tags

WORDS = ["[PAD]", "[UNK]", "good", "cheap", "film", "city", "paris", "the", "visiting"]
# Of each word: how much it says for "praise" and for "price".
LABELS = [[0, 0], [0, 0], [4, 0], [0, 4], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0]]
NAMES = {0: "praise", 1: "price"}


class WordsConfig(PretrainedConfig):
    model_type = "several-words"


class LabelModel(PreTrainedModel):
    """A label is there where one of its words is."""

    config_class = WordsConfig

    def __init__(self, config):
        super().__init__(config)
        self.scores = nn.Embedding.from_pretrained(torch.tensor(LABELS, dtype=torch.float32))

    def get_input_embeddings(self):
        return self.scores

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_):
        return SequenceClassifierOutput(logits=self.scores(input_ids).sum(dim=1) - 2)


class TagModel(LabelModel):
    """A word that follows "visiting" is a place, tag 1, and so is "paris"; all others are tag 0."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_):
        before = nn.functional.pad(input_ids, (1, 0))[:, :-1]
        place = 4.0 * (before == WORDS.index("visiting")) + 4.0 * (input_ids == WORDS.index("paris")) - 2
        return TokenClassifierOutput(logits=torch.stack([torch.zeros_like(place), place], dim=-1))


@pytest.fixture(autouse=True)
def textattack():
    if importlib.util.find_spec("textattack") is None:
        pytest.skip("TextAttack is not installed")


@pytest.fixture
def tokenizer():
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16)


def model(kind, names=NAMES):
    return kind(WordsConfig(id2label=names, label2id={v: k for k, v in names.items()}, num_labels=2)).eval()


def test_label_sets(tokenizer, tmp_path):
    rows = [
        {"text": "the good cheap film", "labels": [1, 1]},
        {"text": "the film", "labels": [0, 0]},  # nothing to take away: no misspelling adds a label
        {"text": "the good film", "labels": ["praise", "price"]},  # wrong to begin with
    ]
    report = evaluate_label_sets(model(LabelModel), rows, tokenizer, recipes=["deepwordbug"])
    result = report["deepwordbug"]
    assert [one.outcome for one in result.outcomes] == ["succeeded", "failed", "skipped"]
    first, second, third = result.outcomes
    assert (first.truth, first.before) == ((0, 1), (0, 1)) and len(first.after) == 1
    assert (second.before, second.after, third.truth, third.before) == ((), (), (0, 1), (0,))
    assert len(set(first.perturbed.split()) - set(first.original.split())) == 1  # one word was enough
    figures = (result.accuracy, result.accuracy_under_attack, result.success_rate)
    assert figures == pytest.approx((2 / 3, 1 / 3, 0.5))
    saved = json.loads(report.save(tmp_path / "several.json").read_text())
    assert saved["task"] == "labels" and saved["results"][0]["accuracy"] == result.accuracy
    assert "whole label sets right 66.7%, under attack 33.3%" in str(report)
    # A label counts as given from another probability on: sigmoid(2) is 0.88.
    strict = evaluate_label_sets(model(LabelModel), rows, tokenizer, recipes=["deepwordbug"], threshold=0.9)
    assert [one.outcome for one in strict["deepwordbug"].outcomes] == ["skipped", "failed", "skipped"]


def test_tags_of_words_that_stay(tokenizer):
    rows = [
        {
            "tokens": ["The", "film", "visiting", "city"],
            "tags": [0, 0, 0, 1],
        },  # misspelt, it makes "city" no place
        {"tokens": ["paris", "film"], "tags": ["place", "none"]},  # "paris" misspelt changes its own tag alone
        {"tokens": ["the", "visiting", "film"], "tags": [0, 0, 0]},  # wrong to begin with
        {"tokens": ["visiting", "film"], "tags": [0, -100]},  # the word whose tag would change has none
    ]
    report = evaluate_tags(model(TagModel, {0: "none", 1: "place"}), rows, tokenizer, recipes=["deepwordbug"])
    result = report["deepwordbug"]
    assert [one.outcome for one in result.outcomes] == ["succeeded", "failed", "skipped", "failed"]
    first = result.outcomes[0]
    assert (first.before, first.after, first.truth) == ((0, 0, 0, 1), (0, 0, 0, 0), (0, 0, 0, 1))
    words = list(zip(first.original.split(" "), first.perturbed.split(" "), strict=True))
    assert [one == other for one, other in words][2:] == [False, True]
    # Half of the four tags cannot be changed by way of one word that stays.
    half = evaluate_tags(
        model(TagModel, {0: "none", 1: "place"}), rows[:1], tokenizer, recipes=["deepwordbug"], min_share=0.5
    )
    assert half["deepwordbug"].outcomes[0].outcome == "failed"


def test_words_that_are_not_read_have_no_tag(tokenizer):
    row = {"tokens": ["the", "film", "visiting", "city"], "tags": [0, 0, 0, 0]}
    report = evaluate_tags(model(TagModel), [row], tokenizer, recipes=["deepwordbug"], max_length=3, query_budget=5)
    (one,) = report["deepwordbug"].outcomes
    assert one.outcome == "failed" and one.before == (0, 0, 0, -1) and one.queries <= 5


@pytest.mark.parametrize(
    ("recipe", "message"),
    [("input-reduction", "another goal"), ("clare", "replace word for word"), ("a2t", "gradients")],
)
def test_recipes_that_do_not_do(recipe, message, tokenizer, parts):
    row = {"tokens": ["the", "film"], "tags": [0, 0]}
    with pytest.raises(ConfigurationError, match=message) as found:
        evaluate_tags(
            model(TagModel),
            [row],
            tokenizer,
            recipes=[recipe],
            masked_language_model=parts,
            sentence_encoder=Lengths(),
        )
    assert "\n" not in str(found.value)


class Lengths:
    def encode(self, texts, **_):
        return np.array([[1.0, len(text)] for text in texts])


def test_what_does_not_fit(tokenizer):
    for rows, message in (
        ([{"text": "the film", "labels": [1]}], "2 numbers of 0 or 1.*row 0"),
        ([{"text": "the film", "labels": ["cheap"]}], "names of the model's labels"),
        ([{"text": " ", "labels": [0, 0]}], "a blank text"),
    ):
        with pytest.raises(DataError, match=message):
            evaluate_label_sets(model(LabelModel), rows, tokenizer)
    for tokens, tags, message in (
        (["a b"], [0], "words without spaces"),
        (["a"], [0, 1], "expected 1 tags"),
        (["a"], [2], "tags of the model"),
        ("a", [0], "list of words"),
    ):
        with pytest.raises(DataError, match=message):
            evaluate_tags(model(TagModel), [{"tokens": tokens, "tags": tags}], tokenizer)
    row = {"tokens": ["a"], "tags": [0]}
    with pytest.raises(ConfigurationError, match=r"texts, tokens, tags.*\(1, 2\)"):
        evaluate_tags(model(LabelModel), [row], tokenizer, recipes=["deepwordbug"])
    for options, message in (
        ({"min_share": 2.0}, "min_share"),
        ({"recipe": "x"}, "expected options of evaluate_tags"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            evaluate_tags(model(TagModel), [row], tokenizer, **options)


class Killed(BaseException):
    """Ends an evaluation as Ctrl-C does."""


class CountingModel(LabelModel):
    """Counts its calls, and ends at one of them."""

    calls, last = 0, None

    def forward(self, *args, **inputs):
        self.calls += 1
        if self.calls == self.last:
            raise Killed
        return super().forward(*args, **inputs)


@pytest.mark.parametrize("recipes", [["deepwordbug"], ["deepwordbug", "pruthi"]])
def test_a_run_that_was_cut_off_goes_on_and_ends_alike(recipes, tokenizer, tmp_path):
    rows = [{"text": f"the good {word} film", "labels": ["praise"]} for word in ("city", "paris", "the", "visiting")]
    options = {"recipes": recipes, "progress": False}
    whole, cut = model(CountingModel), model(CountingModel)
    expected = evaluate_label_sets(whole, rows, tokenizer, **options)
    outcomes = {one.recipe: one.outcomes for one in expected.results}
    # In the middle of the third example, more or less: each asks about a handful of texts.
    cut.last = round(0.6 * whole.calls)
    with pytest.raises(Killed):
        evaluate_label_sets(cut, rows, tokenizer, output_dir=tmp_path, **options)
    lines = (tmp_path / "outcomes.jsonl").read_text().splitlines()
    assert 0 < len(lines) < len(rows) * len(recipes) and not (tmp_path / "labels.json").exists()
    before, cut.last = cut.calls, None
    found = evaluate_label_sets(cut, rows, tokenizer, output_dir=tmp_path, **options)
    assert {one.recipe: one.outcomes for one in found.results} == outcomes
    assert cut.calls - before < whole.calls
    saved = json.loads((tmp_path / "labels.json").read_text())
    assert [len(one["outcomes"]) for one in saved["results"]] == [len(rows)] * len(recipes)
    # All is there: no text is asked about again.
    before = cut.calls
    evaluate_label_sets(cut, rows, tokenizer, output_dir=tmp_path, **options)
    assert cut.calls == before


def test_a_folder_of_another_run(tokenizer, tmp_path):
    rows = [{"text": "the good film", "labels": ["praise"]}]
    options = {"recipes": ["deepwordbug"], "output_dir": tmp_path}
    evaluate_label_sets(model(LabelModel), rows, tokenizer, **options)
    with pytest.raises(CheckpointError, match=r"threshold: 0\.5, now 0\.4"):
        evaluate_label_sets(model(LabelModel), rows, tokenizer, threshold=0.4, **options)
    with pytest.raises(CheckpointError, match="sample: 1 examples, now 2 examples"):
        evaluate_label_sets(model(LabelModel), [*rows, *rows], tokenizer, **options)
    report = evaluate_label_sets(model(LabelModel), rows, tokenizer, threshold=0.4, resume=False, **options)
    assert report.settings["threshold"] == 0.4
    tags = [{"tokens": ["the", "film"], "tags": [0, 0]}]
    with pytest.raises(CheckpointError, match="task: labels, now tags"):
        evaluate_tags(model(TagModel), tags, tokenizer, **options)
