"""Natural noise: what each kind does to a text, and accuracy worked out by hand."""

from __future__ import annotations

import json
import random

import pytest

from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.evaluation import add_noise, evaluate_noise
from hf_robust_tickets.evaluation.datasets.noise_tables import KEYBOARD, OCR
from hf_robust_tickets.evaluation.datasets.noise_text import KINDS, SEVERITIES
from tests.testing.keyword_model import keyword_model, keyword_tokenizer, rows

TEXT = "The quick brown fox, it seems, jumps over 13 lazy dogs; nobody knows why."


def noisy(kind, severity=3, seed=0, text=TEXT):
    return add_noise(text, kind, severity, random.Random(seed))


def changed_words(text, other):
    before, after = text.split(" "), other.split(" ")
    assert len(before) == len(after)
    return [(a, b) for a, b in zip(before, after) if a != b]


def test_neighbours_are_those_of_a_keyboard():
    assert (
        set(KEYBOARD["g"]) == set("fhtyvb") and set(KEYBOARD["q"]) == set("12wa") and set(KEYBOARD["p"]) == set("o0l")
    )
    assert all(a in KEYBOARD[b] for a, near in KEYBOARD.items() for b in near)
    assert all(seen != read for seen, reads in OCR.items() for read in reads)


@pytest.mark.parametrize("kind", ["typos", "keyboard", "casing", "ocr"])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_severity_is_the_share_of_words_that_change(kind, severity):
    for seed in range(20):
        words = changed_words(TEXT, noisy(kind, severity, seed))
        most = max(1, round(SEVERITIES[severity] * len(TEXT.split())))
        # casing and ocr cannot change every word
        assert len(words) == most or (severity == 5 and 8 <= len(words) < most)


def test_each_kind_makes_its_own_edit():
    for seed in range(40):
        for before, after in changed_words(TEXT, noisy("typos", seed=seed)):
            assert (abs(len(before) - len(after)) <= 1 and set(after) == set(before)) or len(after) == len(before) - 1
        for before, after in changed_words(TEXT, noisy("keyboard", seed=seed)):
            (pair,) = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
            assert pair[1].lower() in KEYBOARD[pair[0].lower()] and pair[0].isupper() == pair[1].isupper()
        assert noisy("casing", seed=seed).lower() == TEXT.lower() and noisy("casing", seed=seed) != TEXT
        spaced = noisy("whitespace", seed=seed)
        assert spaced.replace(" ", "") == TEXT.replace(" ", "") and len(spaced) > len(TEXT)
        for before, after in changed_words(TEXT, noisy("ocr", seed=seed)):
            assert any(after == before.replace(a, b, 1) or a in before for a, bs in OCR.items() for b in bs)


def test_noise_repeats_with_its_seed_and_keeps_what_it_cannot_change():
    assert noisy("typos", seed=3) == noisy("typos", seed=3) != noisy("typos", seed=4)
    for kind in KINDS:
        assert noisy(kind, 5, text="  \n ") == "  \n "
    assert (
        noisy("casing", 5, text="12 13 ...")
        == "12 13 ..."
        == noisy("keyboard", 5, text="12 13 ...")[0:0] + "12 13 ..."
    )
    assert noisy("keyboard", 5, text="фильм 电影") == "фильм 电影"  # no key of this keyboard
    assert noisy("typos", 5, text="фильм") != "фильм"


def test_accuracy_by_hand():
    """The model knows words in any case, and no misspelt one: misspelt, what is left is a bias towards class 0."""
    data = [{"text": "good", "label": 1}, {"text": "bad", "label": 0}, {"text": "dull", "label": 1}]
    result = evaluate_noise(
        keyword_model(), data, keyword_tokenizer(), kinds=["casing", "keyboard", "typos"], severities=[1]
    )
    assert result.clean_accuracy == pytest.approx(2 / 3) and result.num_examples == 3
    assert result.accuracy("casing", 1) == pytest.approx(2 / 3)
    assert result.accuracy("keyboard", 1) == result.accuracy("typos", 1) == pytest.approx(1 / 3)
    cell = result.cells[1]
    assert (cell.paired.both, cell.paired.only_first, cell.paired.only_second, cell.paired.neither) == (1, 1, 0, 1)
    assert list(cell.broken) == [0] and cell.broken[0] != "good" and cell.changed == 3
    assert cell.confidence_interval == pytest.approx((0.0615, 0.7923), abs=1e-4)
    with pytest.raises(ConfigurationError, match="that were evaluated"):
        result.accuracy("ocr", 1)


def test_two_models_see_the_same_noise_whatever_the_sample(tmp_path):
    one = evaluate_noise(keyword_model(), rows(4), keyword_tokenizer(), severities=[3], seed=5)
    two = evaluate_noise(
        keyword_model().train(), rows(8), keyword_tokenizer(), kinds=["keyboard"], severities=[3], seed=5
    )
    (cell,) = two.cells
    (same,) = [c for c in one.cells if c.kind == "keyboard"]
    assert {i: t for i, t in cell.broken.items() if i < 12} == same.broken
    assert two.warnings == ("the model was in train mode: evaluated without dropout",)
    one.save(tmp_path / "noise.json")
    values = json.loads((tmp_path / "noise.json").read_text())
    assert len(values["cells"]) == 5 and len(one.to_table()) == 5


def test_pairs_get_noise_on_both_sides():
    data = [{"premise": "good plot", "hypothesis": "good film", "label": 1}]
    result = evaluate_noise(keyword_model(), data, keyword_tokenizer(), kinds=["keyboard"], severities=[5])
    (text,) = result.cells[0].broken.values()
    assert text["premise"] != "good plot" and text["hypothesis"] != "good film"


def test_what_does_not_exist_is_refused():
    with pytest.raises(ConfigurationError, match="typos, keyboard"):
        noisy("mumbling")
    with pytest.raises(ConfigurationError, match="1 to 5"):
        noisy("ocr", 6)
    with pytest.raises(ConfigurationError, match="got none"):
        evaluate_noise(keyword_model(), rows(), keyword_tokenizer(), kinds=[])
