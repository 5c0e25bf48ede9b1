from __future__ import annotations

import pytest

from hf_robust_tickets.errors import DataError
from hf_robust_tickets.reporting.formatting import format_parameters
from hf_robust_tickets.reporting.tables import (
    format_percent,
    format_ratio,
    format_seconds,
    format_value,
    markdown_table,
    text_table,
)

ROWS = [{"model": "plain", "clean": 0.5, "steps": 1200}, {"model": "ticket", "clean": None, "steps": 90}]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.00 s"),
        (0.42, "0.42 s"),
        (9.996, "10.0 s"),
        (12.34, "12.3 s"),
        (59.97, "1 min 00 s"),
        (245, "4 min 05 s"),
        (3599.7, "1 h 00 min"),
        (3720, "1 h 02 min"),
        (86_399, "1 d 00 h"),
        (183_600, "2 d 03 h"),
    ],
)
def test_seconds(seconds, expected):
    assert format_seconds(seconds) == expected


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_impossible_durations_are_refused(seconds):
    with pytest.raises(DataError, match="a duration is a finite number"):
        format_seconds(seconds)


def test_amounts_are_readable():
    assert format_parameters(5_240_000) == "5.2 M" and format_parameters(21_282) == "21,282"


def test_percent():
    assert format_percent(0.8824) == "88.2 %"
    assert format_percent(0.8824, 0.86, 0.901) == "88.2 % (86.0–90.1)"
    assert format_percent(0.5, digits=0) == "50 %"
    with pytest.raises(DataError, match="both of its ends"):
        format_percent(0.5, low=0.4)


@pytest.mark.parametrize(("value", "expected"), [(0.678, "0.68×"), (0.999, "1.0×"), (7.34, "7.3×"), (9.97, "10×")])
def test_ratio(value, expected):
    assert format_ratio(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        (True, "yes"),
        (12345, "12,345"),
        (0.123456, "0.1235"),
        (1234567.8, "1,234,568"),
        (float("nan"), "nan"),
        ([1, 2], "1, 2"),
        ({"a": 1}, "a: 1"),
        ("text", "text"),
    ],
)
def test_values(value, expected):
    assert format_value(value) == expected


def test_markdown_table():
    assert markdown_table(ROWS) == (
        "| model  | clean | steps |\n"
        "| ------ | ----: | ----: |\n"
        "| plain  |   0.5 | 1,200 |\n"
        "| ticket |     – |    90 |"
    )


def test_markdown_table_keeps_its_cells_together():
    assert markdown_table([{"a": "x|y\nz"}]).splitlines()[-1] == "| x\\|y z |"


def test_text_table():
    assert text_table(ROWS, {"model": "Model", "steps": "Steps"}, indent=2) == (
        "  Model   Steps\n"
        "  ──────  ─────\n"
        "  plain   1,200\n"
        "  ticket     90"
    )  # fmt: skip


def test_a_column_of_formatted_numbers_is_flush_right():
    rows = [{"time": "4 min 05 s", "aua": "5.0 % (4.0–6.0)"}, {"time": "12.3 s", "aua": "15.6 % (13.0–18.1)"}]
    assert text_table(rows).splitlines()[-1].startswith("    12.3 s  15.6 %")


def test_wide_characters_stay_aligned():
    assert text_table([{"a": "東京", "b": "x"}, {"a": "abcd", "b": "y"}]).splitlines()[2:] == ["東京  x", "abcd  y"]


@pytest.mark.parametrize("table", [markdown_table, text_table])
def test_no_columns_no_table(table):
    assert table([]) == ""
    assert "model" in table([], ["model"])
