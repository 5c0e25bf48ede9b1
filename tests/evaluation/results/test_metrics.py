from __future__ import annotations

import math
from pathlib import Path

import pytest

import hf_robust_tickets.evaluation
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.evaluation.results import metrics


def test_definitions_on_hand_counted_outcomes():
    counts = {"succeeded": 6, "failed": 3, "skipped": 1}
    assert metrics.clean_accuracy(**counts) == pytest.approx(0.9)
    assert metrics.accuracy_under_attack(**counts) == pytest.approx(0.3)
    assert metrics.attack_success_rate(**counts) == pytest.approx(6 / 9)


def test_success_rate_of_nothing_attacked_is_not_a_number():
    assert math.isnan(metrics.attack_success_rate(0, 0, 5))
    assert metrics.accuracy_under_attack(0, 0, 5) == 0.0


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),
    [
        # worked out by hand with z = 1.96 (z² = 3.8416): centre ± half, over 1 + z²/n
        (5, 10, (0.2366, 0.7634)),
        (0, 10, (0.0, 0.2775)),
        (10, 10, (0.7225, 1.0)),
        (81, 263, (0.2553, 0.3662)),  # Newcombe 1998, table I
        (15, 148, (0.0624, 0.1605)),  # the same
    ],
)
def test_wilson_interval_against_known_values(successes, trials, expected):
    assert metrics.wilson_interval(successes, trials) == pytest.approx(expected, abs=1e-4)


def test_wilson_interval_refuses_impossible_counts_and_knows_nothing_without_trials():
    assert metrics.wilson_interval(0, 0) == (0.0, 1.0)
    with pytest.raises(ConfigurationError, match="3 of 2"):
        metrics.wilson_interval(3, 2)


def test_metric_file_loads_offline_and_agrees(monkeypatch, tmp_path):
    evaluate = pytest.importorskip("evaluate")
    folder = Path(hf_robust_tickets.evaluation.__file__).parent / "integrations" / "robustness_metric"
    metric = evaluate.load(str(folder), cache_dir=str(tmp_path))
    found = metric.compute(
        predictions=[0, 1, 1, 0, 1],
        references=[0, 1, 0, 0, 1],
        attacked_predictions=[0, 0, 1, 1, 0],
        queries=[10, 20, 1, 30, 40],
    )
    assert found["clean_accuracy"] == metrics.clean_accuracy(3, 1, 1)
    assert found["accuracy_under_attack"] == metrics.accuracy_under_attack(3, 1, 1)
    assert found["attack_success_rate"] == metrics.attack_success_rate(3, 1, 1)
    assert found["mean_queries"] == 25.0
    interval = (found["accuracy_under_attack_low"], found["accuracy_under_attack_high"])
    assert interval == pytest.approx(metrics.wilson_interval(1, 5))
