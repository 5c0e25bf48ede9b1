"""Paired comparisons, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from hf_robust_tickets.errors import DataError
from hf_robust_tickets.evaluation import Comparison, compare_reports
from tests.testing.reports import report_of


def test_counts_are_paired_by_example():
    clean, attacked = compare_reports({"a": report_of("wwfffsw"), "b": report_of("wfwwsww")})
    assert (clean.recipe, attacked.recipe) == ("clean", "pwws")
    assert (clean.both, clean.only_first, clean.only_second, clean.neither) == (5, 1, 1, 0)
    assert (attacked.both, attacked.only_first, attacked.only_second, attacked.neither) == (2, 1, 3, 1)
    assert attacked.difference == pytest.approx(2 / 7)
    assert clean.difference == 0


def test_mcnemar_by_hand():
    # 1 against 5 discordant: 2 * (C(6,0) + C(6,1)) / 64 = 14 / 64
    assert Comparison("pwws", "a", "b", 10, 1, 5, 4).p_value == pytest.approx(0.21875)
    assert Comparison("pwws", "a", "b", 10, 3, 3, 4).p_value == 1.0
    assert Comparison("pwws", "a", "b", 10, 0, 0, 4).p_value == 1.0
    assert Comparison("pwws", "a", "b", 10, 0, 10, 4).p_value == pytest.approx(2 / 1024)


def test_interval_by_hand():
    # b = 1.5, c = 5.5, N = 22: 4/22 -+ 1.95996 * sqrt(7 - 16/22) / 22
    lower, upper = Comparison("pwws", "a", "b", 10, 1, 5, 4).confidence_interval
    assert (lower, upper) == pytest.approx((0.181818 - 0.223128, 0.181818 + 0.223128), abs=1e-5)
    assert Comparison("pwws", "a", "b", 0, 0, 1, 0).confidence_interval[1] == 1.0


def test_only_shared_examples_count():
    (_, attacked) = compare_reports({"a": report_of("wwff"), "b": report_of("wfwf", first_row=2)})
    assert attacked.num_examples == 2
    assert (attacked.only_second, attacked.neither) == (1, 1)


def test_reports_that_cannot_be_compared():
    with pytest.raises(DataError, match="recipe that a and b share"):
        compare_reports({"a": report_of("w"), "b": report_of("w", recipe="bae")})
    with pytest.raises(DataError, match="attack both with one seed"):
        compare_reports({"a": report_of("ww"), "b": report_of("ww", first_row=5)})
    with pytest.raises(DataError, match="different data sets"):
        compare_reports({"a": report_of("ww"), "b": report_of("ww", text="line")})
