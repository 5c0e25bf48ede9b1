"""Texts without anything to change, queries that run out anywhere, and texts of thousands of words."""

from __future__ import annotations

import time

import pytest

from hf_robust_tickets.evaluation import RobustnessReport, evaluate_robustness, get_recipe, list_recipes
from hf_robust_tickets.evaluation.resources import RESOURCES
from hf_robust_tickets.evaluation.victim.long_texts import LONG_TEXT, beginnings
from tests.testing.keyword_model import SteadyKeywordModel, keyword_model, keyword_tokenizer
from tests.testing.tiny_parts import LetterEncoder

pytest.importorskip("nltk")

ODD = ["!!!", "...", "👍", "_ _ _", "a", "1", "'", "-", "the", "it is the", "qqxz", "好电影"]
UNAVAILABLE = {"checklist", "faster-genetic", "genetic", "kuleshov"}
SLOW = {"a2t", "a2t-mlm", "clare", "iga", "leap", "pso"}
RECIPES = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
    for name in sorted(set(list_recipes()) - UNAVAILABLE)
]


def evaluate(*arguments, **options):
    recipe = arguments[1]
    return report_of(*arguments, **options)[recipe].outcomes


def report_of(texts, recipe, parts, label=0, **options):
    missing = [text for name in get_recipe(recipe).resources if (text := RESOURCES[name].missing())]
    if missing:
        pytest.skip(f"needs NLTK_DATA: {missing}")
    if get_recipe(recipe).label_only:
        options.setdefault("query_budget", 200)
    tokenizer = keyword_tokenizer()
    tokenizer.model_max_length = 64
    return evaluate_robustness(
        SteadyKeywordModel(keyword_model(max_position_embeddings=66).config).eval(),
        [{"text": text, "label": label} for text in texts],
        tokenizer,
        recipes=[recipe],
        sentence_encoder=LetterEncoder(),
        masked_language_model=parts,
        progress=False,
        **options,
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_texts_without_anything_to_change_withstand(recipe, parts):
    characters = recipe.startswith("bad-characters")
    outcomes = evaluate(["!!!", "1"] if characters else ODD, recipe, parts)
    assert {o.outcome for o in outcomes} <= {"failed", "succeeded"}  # "a" has neighbours that the model knows
    if not characters:
        assert [(o.outcome, o.queries, o.perturbed) for o in outcomes[:4]] == [("failed", 1, t) for t in ODD[:4]]
    wrong = evaluate(["!!!", "a"], recipe, parts, label=1)
    assert [(o.outcome, o.queries, o.perturbed) for o in wrong] == [("skipped", 1, "!!!"), ("skipped", 1, "a")]


@pytest.mark.parametrize("recipe", RECIPES)
def test_queries_may_run_out_anywhere(recipe, parts):
    for budget in (1, 2, 5, 40):
        for outcome in evaluate(["an awful film and a bad plot"], recipe, parts, query_budget=budget):
            assert outcome.queries <= budget and outcome.outcome in ("failed", "succeeded")
            if budget == 1:
                assert (outcome.outcome, outcome.perturbed) == ("failed", outcome.original)


def test_what_was_found_before_queries_ran_out_counts(parts):
    # differential evolution asks on after a success; the first of its 64 texts that hits "good" is one
    outcomes = evaluate(["good film"], "bad-characters-invisible", parts, label=1, query_budget=60)
    assert (outcomes[0].outcome, outcomes[0].queries) == ("succeeded", 60)
    assert outcomes[0].perturbed_prediction == 0


def test_a_text_of_ten_thousand_words_is_attacked_where_the_model_reads(parts):
    tail = " ".join(["film", "plot"] * 5000)
    start = time.perf_counter()
    report = report_of([f"good film {tail}", f"awful film {tail}"], "deepwordbug", parts, label=1, max_length=16)
    assert time.perf_counter() - start < 10
    outcomes = report["deepwordbug"].outcomes
    assert any("2 texts of more than 1000 words" in warning for warning in report.warnings)
    assert [o.outcome for o in outcomes] == ["succeeded", "skipped"]
    assert outcomes[0].original == f"good film {tail}" and outcomes[0].perturbed.endswith(f" film {tail}")
    assert outcomes[0].perturbed_prediction == 0
    # as the beginning alone
    head = beginnings({"text": outcomes[0].original}, keyword_tokenizer(), 16)[0]["text"]
    assert len(head.split()) == 20
    whole = report_of([head], "deepwordbug", parts, label=1, max_length=16)
    alone = whole["deepwordbug"].outcomes
    assert not any("words" in warning for warning in whole.warnings)
    assert outcomes[0].queries == alone[0].queries and outcomes[0].perturbed.startswith(alone[0].perturbed)
    reduced = evaluate([f"good film {tail}"], "input-reduction", parts, label=1, max_length=16)
    assert reduced[0].perturbed_prediction == 1 and len(reduced[0].perturbed.split()) < 20


SPLIT, SURROGATE = "good <SPLIT> film", "good \ud800 film"


@pytest.mark.parametrize("together", [1, 4])
def test_a_row_that_an_attack_cannot_digest_is_recorded_and_the_others_are_attacked(parts, tmp_path, together):
    """TextAttack separates pairs by <SPLIT>, and no tokenizer takes a lone surrogate."""
    texts = ["good film", SPLIT, "awful film", SURROGATE, "great plot", "good plot"]
    options = {"concurrent_examples": together, "output_dir": tmp_path}
    report = report_of(texts, "deepwordbug", parts, label=1, **options)
    outcomes = report["deepwordbug"].outcomes
    assert [o.outcome for o in outcomes] == ["succeeded", "failed", "skipped", "skipped", "succeeded", "succeeded"]
    assert [o.index for o in outcomes if o.error] == [1, 3]
    assert outcomes[1].error == "ValueError: substring not found" and outcomes[1].perturbed == SPLIT
    assert outcomes[3].original == SURROGATE and outcomes[3].original_prediction == -1
    assert "not attacked" in str(outcomes[1]) and report["deepwordbug"].calibration is not None
    assert any("could not treat 2 of 6 rows (1, 3), first for ValueError" in warning for warning in report.warnings)
    alone = evaluate([text for text in texts if text not in (SPLIT, SURROGATE)], "deepwordbug", parts, label=1)
    # the rows have other numbers there, and so other random letters
    assert [(o.outcome, o.queries) for o in outcomes if not o.error] == [(o.outcome, o.queries) for o in alone]
    assert RobustnessReport.load(tmp_path / "robustness.json") == report
    again = report_of(texts, "deepwordbug", parts, label=1, **options)
    assert again["deepwordbug"].outcomes == outcomes


def test_an_attack_that_digests_nothing_is_broken(parts):
    with pytest.raises(ValueError, match="substring not found"):
        report_of([SPLIT] * 5, "deepwordbug", parts, label=1)


@pytest.mark.parametrize(
    "unit",
    [
        pytest.param("电影情节很糟", id="Chinese"),
        pytest.param("电影情节很糟,", id="Chinese clauses"),
        pytest.param("iVBORw0KGgo", id="encoded data"),
        pytest.param("film,plot,", id="a list"),
        pytest.param("http://film.org/plot?bad=1;", id="addresses"),
        pytest.param('{"id":7,"text":"film","of":["plot"]},', id="JSON"),
    ],
)
def test_long_texts_without_spaces_cost_no_more_than_their_beginnings(unit, parts):
    """Words end at signs too, and where there are none, characters count: the rest of a text is not tried."""
    queries = []
    for length in (10_000, 100_000):
        text = unit * (length // len(unit))
        start = time.perf_counter()
        report = report_of([text], "deepwordbug", parts, max_length=16)
        assert time.perf_counter() - start < 10
        (outcome,) = report["deepwordbug"].outcomes
        assert outcome.original == text and outcome.perturbed.endswith(text[-3000:])
        assert any("1 texts of more than 1000" in w or "1 texts hold words of more" in w for w in report.warnings)
        queries.append(outcome.queries)
    assert queries[0] == queries[1]
    assert "ShorterWords" not in report["deepwordbug"].description


def test_texts_that_are_not_long_or_read_to_the_end_are_left_whole():
    tokenizer = keyword_tokenizer()
    short, long = {"text": "film " * LONG_TEXT}, {"text": " film" * (LONG_TEXT + 1)}
    assert beginnings(short, tokenizer, 16) == (short, {"text": ""})
    heads, rests = beginnings(long, tokenizer, 16)
    assert heads == {"text": " film" * 20} and heads["text"] + rests["text"] == long["text"]
    assert beginnings(long, tokenizer, 900) == (long, {"text": ""})
    pair = {"premise": long["text"], "hypothesis": "good plot"}
    assert beginnings(pair, tokenizer, 16)[0] == {"premise": " film" * 20, "hypothesis": "good plot"}
    tokenizer.truncation_side = "left"  # the model reads the end
    ends = {"text": " film" * (LONG_TEXT + 1) + " good"}
    assert beginnings(ends, tokenizer, 16) == (ends, {"text": ""})
