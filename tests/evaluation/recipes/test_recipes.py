"""Every recipe beside TextAttack's own: the same components, constants and outcomes, but for what is listed."""

from __future__ import annotations

import re

import pytest

from hf_robust_tickets.evaluation import evaluate_robustness, get_recipe, list_recipes
from hf_robust_tickets.evaluation.components.encoders import TextEncoder
from hf_robust_tickets.evaluation.components.masked_lm import MaskedLM
from hf_robust_tickets.evaluation.recipes import RecipeContext
from hf_robust_tickets.evaluation.recipes.pairs import columns_to_change
from hf_robust_tickets.evaluation.resources import HOWNET_FILE, RESOURCES
from hf_robust_tickets.evaluation.victim.model import Victim
from tests.testing.keyword_model import SteadyKeywordModel, keyword_model, keyword_tokenizer, rows
from tests.testing.stock_textattack import RECIPES, build_stock, run_attack
from tests.testing.tiny_parts import LetterEncoder

pytest.importorskip("nltk")

OURS = {
    "Goal": "UntargetedClassification",
    "ReductionGoal": "InputReduction",
    "SameTag": "PartOfSpeech",
    "MaskedSwap": "WordSwapMaskedLM",
    "ShownSwap": "WordSwapMaskedLM",
    "MaskedInsertion": "WordInsertionMaskedLM",
    "MaskedMerge": "WordMergeMaskedLM",
    "WordNetSwap": "WordSwapWordNet",
    "HomoglyphSwap": "WordSwapHomoglyphSwap",
    "HowNetSwap": "WordSwapHowNet",
    "WordVectors": "WordEmbedding",
}
DIFFERENT = {
    # the constants that differ from TextAttack's, each named in the departures or in the recipe's comments
    "bert-attack": [("(max_candidates):  8", "(max_candidates):  48")],
}
LANGUAGE_MODELS = {"genetic", "faster-genetic", "kuleshov"}
RAN = [  # with TextAttack's own parts, or parts made here
    *("a2t", "a2t-mlm", "bae", "bert-attack", "clare", "iga", "input-reduction", "leap", "pruthi", "pso"),
    *("deepwordbug", "pwws", "textbugger", "textfooler"),
]


def victim():
    tokenizer = keyword_tokenizer()
    tokenizer.model_max_length = 64
    return SteadyKeywordModel(keyword_model(max_position_embeddings=66).config).eval(), tokenizer


def skip_without(recipe):
    missing = [text for name in get_recipe(recipe).resources if (text := RESOURCES[name].missing())]
    if missing and recipe not in LANGUAGE_MODELS | {"checklist"}:
        pytest.skip(f"needs NLTK_DATA: {missing}")


def stand_in_language_models(patch):
    """The language models cannot be had; that they are asked for the right thing can be seen without them."""
    from textattack.constraints import Constraint
    from textattack.constraints.grammaticality import language_models as place

    for name in ("Google1BillionWordsLanguageModel", "GPT2", "LearningToWriteLanguageModel"):

        def init(self, **options):
            super(type(self), self).__init__(options.get("compare_against_original", True))
            self.options = {key: value for key, value in options.items() if key != "model_name"}

        members = {"__init__": init, "_check_constraint": None, "extra_repr_keys": lambda self: ["options"]}
        stand_in = type(name, (Constraint,), members)
        patch.setattr(place, name, stand_in)
        from textattack.attack_recipes import (
            faster_genetic_algorithm_jia_2019,
            genetic_algorithm_alzantot_2018,
            kuleshov_2017,
        )

        for module in (faster_genetic_algorithm_jia_2019, genetic_algorithm_alzantot_2018, kuleshov_2017):
            if hasattr(module, name):
                patch.setattr(module, name, stand_in)


def stock_parts(patch, tmp_path):
    """What TextAttack would ask flair and its server for."""
    from textattack.shared import AttackedText, utils
    from textattack.transformations.word_swaps import word_swap_hownet

    from hf_robust_tickets.evaluation.components.constraints import universal_tags

    patch.setattr(AttackedText, "pos_of_word_index", lambda self, index: universal_tags(self.words)[index])
    patch.setattr(utils, "download_from_s3", lambda name: str(tmp_path / HOWNET_FILE))
    assert word_swap_hownet.utils is utils


def both(recipe, parts, patch, tmp_path):
    from hf_robust_tickets.evaluation.components.word_vectors import load_word_vectors

    (model, tokenizer), encoder = victim(), LetterEncoder()
    if recipe in LANGUAGE_MODELS:
        stand_in_language_models(patch)
    stock_parts(patch, tmp_path)
    vectors = load_word_vectors()
    context = RecipeContext(
        Victim(model, tokenizer), TextEncoder("letters", encoder.encode), vectors, MaskedLM("tiny", *parts)
    )
    ours = get_recipe(recipe).build(context)
    stock = "bae" if recipe == "fudan-bertattack" else recipe
    theirs = build_stock(stock, model, tokenizer, patch, encoder, vectors, parts)
    return ours, theirs


def described(attack, names):
    text = repr(attack)
    for ours, stock in names.items():
        text = re.sub(rf"\b{ours}\b", stock, text)
    return text


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_components_and_constants_are_those_of_textattack(recipe, parts, monkeypatch, tmp_path):
    skip_without(recipe)
    ours, theirs = both(recipe, parts, monkeypatch, tmp_path)
    encoder = "SBERT" if recipe.startswith("a2t") else "UniversalSentenceEncoder"
    expected = described(theirs, OURS)
    for stock, changed in DIFFERENT.get(recipe, []):
        assert stock in expected
        expected = expected.replace(stock, changed)
    found = described(ours, OURS | {"Similarity": encoder})
    assert _sorted_constraints(found) == _sorted_constraints(expected)
    # what `repr` leaves out
    compared = set()
    for mine, stock in zip(_ordered(ours), _ordered(theirs), strict=True):
        for name in ("stopwords", "pop_size", "max_iters", "temp", "max_replace_times_per_index", "min_length"):
            if hasattr(stock, name):
                wanted = getattr(stock, name)
                if name == "stopwords" and len(wanted) not in (179, 266):
                    continue  # a newer list of NLTK's is installed; ours is pinned
                assert getattr(mine, name) == wanted, name
                compared.add(name)
    assert compared or recipe == "checklist"


def _ordered(attack):
    """Search and constraints, in an order that does not depend on which of two names a class has."""

    def name(part):
        own = OURS.get(type(part).__name__, type(part).__name__)
        return "encoder" if own in ("Similarity", "SBERT", "UniversalSentenceEncoder") else own

    return [attack.search_method, *sorted([*attack.constraints, *attack.pre_transformation_constraints], key=name)]


def _sorted_constraints(text):
    lines = re.sub(r"\(\d+\): ", "", text).splitlines()
    return sorted(line.strip() for line in lines)


@pytest.mark.parametrize("recipe", RAN)
def test_outcomes_texts_and_queries_are_those_of_textattack(recipe, parts, monkeypatch, tmp_path):
    skip_without(recipe)
    data = rows(2)[:4]
    if recipe == "leap":
        data = data[:1]  # its velocities cost a second per example that withstands
    model, tokenizer = victim()
    report = evaluate_robustness(
        model,
        data,
        tokenizer,
        recipes=[recipe],
        seed=3,
        sentence_encoder=LetterEncoder(),
        masked_language_model=parts,
        progress=False,
    )
    _, theirs = both(recipe, parts, monkeypatch, tmp_path)
    if recipe == "bert-attack":
        theirs.transformation.max_candidates = 48
    listed = [{"index": i, **row} for i, row in enumerate(data)]
    expected = run_attack(theirs, recipe, listed, 3)
    found = [{"outcome": o.outcome, "perturbed": o.perturbed, "queries": o.queries} for o in report[recipe].outcomes]
    assert found == expected
    assert any(o["perturbed"] != row["text"] for o, row in zip(found, data))


def test_every_recipe_is_compared_or_said_to_have_no_counterpart():
    without = {
        "fudan-bertattack",
        "hard-label",
        *(f"bad-characters-{kind}" for kind in ("deletions", "homoglyphs", "invisible", "reorderings")),
    }
    assert set(list_recipes()) == set(RECIPES) | without
    for name in list_recipes():
        recipe = get_recipe(name)
        assert recipe.citation and recipe.departures, name


def ours_and_earlyrobusts(parts, monkeypatch, tmp_path):
    """EarlyRobust's `attack_utils.build_weak_attacker` for "bertattack": BAE, its words and threshold replaced."""
    ours, attack = both("fudan-bertattack", parts, monkeypatch, tmp_path)
    from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder
    from textattack.transformations import WordSwapEmbedding

    kept = [each for each in attack.constraints if not isinstance(each, UniversalSentenceEncoder)]
    (before,) = [each for each in attack.constraints if isinstance(each, UniversalSentenceEncoder)]
    similarity = type(before)(
        threshold=0.2, metric="cosine", compare_against_original=True, window_size=15,
        skip_text_shorter_than_window=False,
    )  # fmt: skip
    constraints = [*kept, similarity, *attack.pre_transformation_constraints]
    transformation = WordSwapEmbedding(max_candidates=50)
    return ours, type(attack)(attack.goal_function, constraints, transformation, attack.search_method)


def test_fudans_bert_attack_is_earlyrobusts(parts, monkeypatch, tmp_path):
    skip_without("fudan-bertattack")
    ours, theirs = ours_and_earlyrobusts(parts, monkeypatch, tmp_path)
    found = described(ours, OURS | {"Similarity": "UniversalSentenceEncoder"})
    assert _sorted_constraints(found) == _sorted_constraints(described(theirs, OURS))
    similarity = next(each for each in ours.constraints if hasattr(each, "skip_text_shorter_than_window"))
    assert similarity.skip_text_shorter_than_window is False
    bae, _ = both("bae", parts, monkeypatch, tmp_path)
    assert next(c for c in bae.constraints if hasattr(c, "window_size")).skip_text_shorter_than_window is True


@pytest.mark.parametrize(
    ("columns", "allowed"),
    [
        (["sentence1", "sentence2"], ("sentence2",)),
        (["question", "sentence"], ("question",)),
        (["premise", "hypothesis"], ("hypothesis",)),
        (["question1", "question2"], ("question1", "question2")),
    ],
)
def test_fudans_rule_on_pairs(columns, allowed):
    assert columns_to_change(get_recipe("fudan-bertattack"), columns, None) == allowed
    if columns != ["premise", "hypothesis"]:
        assert columns_to_change(get_recipe("textfooler"), columns, None) == tuple(columns)
