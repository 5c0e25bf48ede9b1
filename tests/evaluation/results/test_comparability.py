"""What keeps figures from being set beside published ones, beside parts that stand in for the papers'."""

from __future__ import annotations

import pytest

from hf_robust_tickets.evaluation import evaluate_hotflip, evaluate_robustness
from tests.testing.keyword_model import keyword_model, keyword_tokenizer
from tests.testing.tiny import tiny_bert, tiny_tokenizer

pytest.importorskip("nltk")

ROWS = [{"text": "Some good film", "label": 1}, {"text": "Some very good film indeed", "label": 1}]
PAIRS = [{"premise": "good film", "hypothesis": "a plot", "label": 1}]


def comparable(rows=ROWS, **options):
    report = evaluate_robustness(
        keyword_model(), rows, keyword_tokenizer(), recipes=["deepwordbug"], progress=False, **options
    )
    assert report["deepwordbug"].not_comparable or "comparable with published numbers: yes" in report.summary()
    return report["deepwordbug"].comparable


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"query_budget": 2}, "attacks were given up after 2 queries"),
        ({"max_length": 4}, "1 texts were cut at 4 tokens (max_length) where the model reads 512"),
        ({"bf16": True}, "the model ran under bfloat16 autocast"),
        (
            {"rows": PAIRS, "modify_columns": ["premise"]},
            "premise might change (modify_columns), in the papers hypothesis",
        ),
    ],
)
def test_how_the_model_was_asked_is_a_reason(options, reason):
    assert comparable(**options) == f"no, because {reason}"


@pytest.mark.parametrize(
    "options", [{}, {"max_length": 64}, {"rows": PAIRS}, {"rows": PAIRS, "modify_columns": "hypothesis"}], ids=str
)
def test_what_changes_nothing_is_none(options):
    assert comparable(**options) == "yes"


def test_hotflip_on_tokens_is_not_the_papers():
    rows = [{"text": "w6 w9 w40", "label": 0}]
    report = evaluate_hotflip(tiny_bert(), rows, tiny_tokenizer(), flips=1, progress=False)
    assert report["hotflip"].comparable.startswith("no, because the paper flips characters")
