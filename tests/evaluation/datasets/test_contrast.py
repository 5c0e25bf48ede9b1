"""Contrast sets: groups, and consistency by hand."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset

from hf_robust_tickets.errors import DataError
from hf_robust_tickets.evaluation import contrast_groups, evaluate_accuracy, evaluate_contrast
from tests.testing.keyword_model import keyword_model, keyword_tokenizer
from tests.testing.real_data import real_file

ROWS = [
    {"text": "good film", "label": 1, "set": "a", "kind": "original"},
    {"text": "bad film", "label": 0, "set": "a", "kind": "revised"},
    {"text": "great plot", "label": 1, "set": "b", "kind": "original"},
    {"text": "great plot!", "label": 0, "set": "b", "kind": "revised"},  # the model says 1
    {"text": "good", "label": 1, "set": "c", "kind": "original"},  # alone
    {"text": "good", "label": 1, "set": None, "kind": "revised"},
]


def evaluate(rows=ROWS, groups="set", **options):
    return evaluate_contrast(keyword_model(), rows, keyword_tokenizer(), groups=groups, text_columns="text", **options)


@pytest.mark.parametrize("rows", [ROWS, Dataset.from_list(ROWS)])
def test_consistency_by_hand(rows, tmp_path):
    result = evaluate(rows, kind_column="kind")
    assert (result.num_groups, result.consistent, result.left_out) == (2, 1, 2)
    assert result.accuracy == 0.75 and result.consistency == 0.5
    assert result.kinds == {"original": (2, 2), "revised": (1, 2)}
    assert result.confidence_interval == pytest.approx((0.0945, 0.9055), abs=1e-4)
    result.save(tmp_path / "contrast.json")


def test_groups_are_found_by_what_rows_share():
    rows = [
        {"premise": "p", "hypothesis": "h", "kind": "original"},
        {"premise": "q", "hypothesis": "h", "kind": "revised_premise"},
        {"premise": "p", "hypothesis": "i", "kind": "revised_hypothesis"},
        {"premise": "s", "hypothesis": "t", "kind": "original"},
        {"premise": "x", "hypothesis": "y", "kind": "revised_premise"},  # nobody's
        {"premise": "p", "hypothesis": "t", "kind": "revised_premise"},  # two could own it
    ]
    assert contrast_groups(rows) == [0, 0, 0, 3, None, None]
    with pytest.raises(DataError, match="got none"):
        contrast_groups(rows, original="first")
    with pytest.raises(DataError, match="'sort'"):
        contrast_groups(rows, kind_column="sort")


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="one group per row"):
        evaluate(groups=[1, 2])
    with pytest.raises(DataError, match="two rows or more"):
        evaluate(groups=[1, 2, 3, 4, 5, 6])


def test_the_groups_of_counterfactual_inference():
    data = Dataset.from_parquet(real_file("cad_nli/validation.parquet"))
    groups = contrast_groups(data)
    sizes = [groups.count(group) for group in dict.fromkeys(groups) if group is not None]
    assert len(sizes) == 200  # 200 originals, each with two changed premises and two changed hypotheses
    assert max(sizes) <= 5 and sum(sizes) >= 900


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(DataError, match="expected a column 'sets' that names each row's group, got columns"):
        evaluate_contrast(keyword_model(), ROWS_OF_A_SET, keyword_tokenizer(), groups="sets")


ROWS_OF_A_SET = [{"text": "good film", "label": 1, "set": "a"}, {"text": "awful film", "label": 0, "set": "a"}]


def test_warnings_are_logged_and_speak_of_the_logits(caplog):
    model = keyword_model()
    with torch.no_grad():
        model.scores.weight.mul_(1000)
    contrast = evaluate_contrast(model, ROWS_OF_A_SET, keyword_tokenizer(), groups="set", text_columns="text")
    accuracy = evaluate_accuracy(model, ROWS_OF_A_SET, keyword_tokenizer(), text_columns="text")
    for result in (contrast, accuracy):
        assert "probabilities are exactly 0 or 1" in result.warnings[0]
    assert [record.getMessage() for record in caplog.records] == [*contrast.warnings, *accuracy.warnings]
