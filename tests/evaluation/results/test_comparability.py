"""What keeps figures from being set beside published ones, beside parts that stand in for the papers'."""

from __future__ import annotations

import pytest

from hf_robust_tickets.evaluation import evaluate_accuracy, evaluate_hotflip, evaluate_noise, evaluate_robustness
from hf_robust_tickets.evaluation.victim import reading
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


CHINESE = [{"text": "这部电影很好看,演员也很好", "label": 0}] * 2


def test_texts_that_nothing_reads_or_cuts_into_words_are_reasons(monkeypatch):
    unknown = [{"text": f"{word} story", "label": 0} for word in ("lovely", "long", "dull", "quiet")]
    assert comparable(unknown) == "no, because 4 texts are not read: the tokenizer knows less than 20% of their tokens"
    assert "1 texts are not read" in comparable([*unknown[:1], *ROWS])
    tokenizer = keyword_tokenizer()
    model, more = keyword_model(), {"recipes": ["deepwordbug"], "progress": False}
    monkeypatch.setattr(reading.importlib.util, "find_spec", lambda name: None)
    report = evaluate_robustness(model, CHINESE, tokenizer, **more)
    assert "2 texts are in a script without spaces" in report["deepwordbug"].comparable
    assert report.settings["segmenter"] == "spaces and punctuation"
    assert "segmenter" not in evaluate_robustness(model, ROWS, tokenizer, **more).settings
    # where there is a segmenter it is named, and its words are the papers'
    monkeypatch.setattr(reading.importlib.util, "find_spec", lambda name: name == "jieba")
    monkeypatch.setattr(reading.importlib.metadata, "version", lambda name: "0.42.1")
    texts = [row["text"] for row in CHINESE]
    assert reading.describe_segmentation([{"text": text} for text in texts]) == "jieba 0.42.1"
    assert reading.unsegmented_reason([{"text": text} for text in texts]) is None
    assert (
        reading.unsegmented_reason([{"text": "とても面白い映画でした"}]) is not None
    )  # Japanese is none of its languages
    assert not reading.is_unspaced("a film by 王家卫, and a good one")


@pytest.mark.parametrize("evaluate", [evaluate_accuracy, evaluate_noise, evaluate_hotflip])
def test_every_evaluation_warns_of_texts_that_are_not_read(evaluate):
    rows = [{"text": "zebra crossing ahead", "label": i % 2} for i in range(4)]
    result = evaluate(tiny_bert().eval(), rows, tiny_tokenizer())
    assert any("4 texts are not read" in warning for warning in result.warnings)


def test_hotflip_on_tokens_is_not_the_papers():
    rows = [{"text": "w6 w9 w40", "label": 0}]
    report = evaluate_hotflip(tiny_bert(), rows, tiny_tokenizer(), flips=1, progress=False)
    assert report["hotflip"].comparable.startswith("no, because the paper flips characters")
