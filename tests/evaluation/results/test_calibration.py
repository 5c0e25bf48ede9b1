"""Calibration, worked out by hand."""

from __future__ import annotations

import json
import math

import pytest

from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.evaluation import Calibration, ExampleOutcome, RecipeResult, RobustnessReport
from hf_robust_tickets.evaluation.results.calibration import (
    area_under_risk_coverage,
    brier_score,
    expected_calibration_error,
    risk_coverage,
)


def test_ece_has_bins_of_equal_mass():
    confidences, correct = [0.9, 0.6, 0.8, 0.5], [True, False, True, True]
    # bins {0.5, 0.6}: accuracy 1/2, confidence 0.55; {0.8, 0.9}: 1 and 0.85
    assert expected_calibration_error(confidences, correct, bins=2) == pytest.approx((0.05 + 0.15) / 2)
    assert expected_calibration_error(confidences, correct, bins=1) == pytest.approx(0.75 - 0.7)
    # more bins than examples: each its own
    assert expected_calibration_error(confidences, correct) == pytest.approx((0.1 + 0.6 + 0.2 + 0.5) / 4)
    assert math.isnan(expected_calibration_error([], []))


def test_brier_counts_all_classes():
    assert brier_score([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]], [0, 0]) == pytest.approx((0.09 + 0.04 + 0.01 + 2) / 2)


def test_risk_coverage_and_its_area():
    curve = risk_coverage([0.9, 0.6, 0.8, 0.5], [True, False, False, True])
    assert curve == [(0.25, 0.0), (0.5, 0.5), (0.75, pytest.approx(2 / 3)), (1.0, 0.5)]
    assert area_under_risk_coverage([0.9, 0.6, 0.8, 0.5], [True, False, False, True]) == pytest.approx(
        (0 + 0.5 + 2 / 3 + 0.5) / 4
    )


def test_equal_confidences_have_no_order():
    one = area_under_risk_coverage([0.8, 0.8], [True, False])
    assert one == area_under_risk_coverage([0.8, 0.8], [False, True]) == pytest.approx(0.5)


def test_bins_do_not_part_the_right_from_the_wrong_of_equal_confidence():
    # right nine times of ten with a confidence of 0.9: calibrated, however many bins there are
    correct = [False] * 2 + [True] * 18
    for verdicts in (correct, correct[::-1]):
        assert expected_calibration_error([0.9] * 20, verdicts, bins=5) == pytest.approx(0)


def test_wrong_arguments():
    with pytest.raises(ConfigurationError, match="probabilities, not logits"):
        risk_coverage([1.7], [True])
    with pytest.raises(ConfigurationError, match="one verdict"):
        risk_coverage([0.7], [])
    with pytest.raises(ConfigurationError, match="got none"):
        Calibration.of([], [])


def report():
    def outcome(index, kind, before, after):
        return ExampleOutcome(
            index,
            1,
            "a",
            "b",
            kind,
            3,
            1,
            0,
            probabilities=(1 - before, before),
            perturbed_probabilities=(1 - after, after),
        )

    outcomes = (outcome(0, "succeeded", 0.9, 0.25), outcome(1, "failed", 0.75, 0.75))
    return RobustnessReport({"x": RecipeResult("x", outcomes)}, 1.0, sample_ids=(0, 1), seed=0)


def test_reports_hold_it_before_and_after(tmp_path):
    before = report()
    found = before["x"].calibration
    assert found["clean"].accuracy == 1.0 and found["clean"].ece == pytest.approx((0.1 + 0.25) / 2)
    assert found["clean"].aurc == 0.0
    # after: 0.75 and wrong, 0.75 and right
    assert found["under_attack"].accuracy == 0.5 and found["under_attack"].aurc == pytest.approx(0.5)
    assert found["under_attack"].brier == pytest.approx((2 * 0.75**2 + 2 * 0.25**2) / 2)
    before.save(tmp_path / "robustness.json")
    assert RobustnessReport.load(tmp_path / "robustness.json") == before
    values = json.loads((tmp_path / "robustness.json").read_text())
    assert values["recipes"]["x"]["calibration"]["under_attack"]["risk_coverage"] == [[0.5, 0.5], [1.0, 0.5]]


def test_reports_of_the_first_version_are_still_read(tmp_path):
    values = report().to_dict() | {"schema_version": 1}
    del values["recipes"]["x"]["calibration"]
    for outcome in values["recipes"]["x"]["outcomes"]:
        del outcome["probabilities"], outcome["perturbed_probabilities"]
    (tmp_path / "old.json").write_text(json.dumps(values))
    old = RobustnessReport.load(tmp_path / "old.json")
    assert old["x"].accuracy_under_attack == 0.5 and old["x"].calibration is None
    assert old.to_dict()["recipes"]["x"]["calibration"] is None
