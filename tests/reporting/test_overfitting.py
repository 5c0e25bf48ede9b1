"""Best and final accuracy of a training, the table in the columns of the paper, and the pictures."""

from __future__ import annotations

import pytest

from hf_robust_tickets.errors import DataError
from hf_robust_tickets.reporting.overfitting import (
    AccuracyRecord,
    RobustOverfitting,
    overfitting_rows,
    overfitting_table,
    summarize_overfitting,
)

# Test accuracy peaks at epoch 2, but validation accuracy, which decides, at epoch 3.
RECORDS = [
    AccuracyRecord(10, 1.0, {"test": 0.60}, {"train": 0.40, "validation": 0.38, "test": 0.39}),
    AccuracyRecord(20, 2.0, {"test": 0.70}, {"train": 0.50, "validation": 0.44, "test": 0.47}),
    AccuracyRecord(30, 3.0, {"test": 0.75}, {"train": 0.60, "validation": 0.45, "test": 0.46}),
    AccuracyRecord(40, 4.0, {"test": 0.80}, {"train": 0.81, "validation": 0.41, "test": 0.42}),
]


def test_summary():
    summary = summarize_overfitting(RECORDS)
    assert summary.best_epoch == 3.0
    assert (summary.best_robust, summary.final_robust) == (0.46, 0.42)
    assert (summary.best_standard, summary.final_standard) == (0.75, 0.80)
    assert summary.robust_difference == pytest.approx(0.04)
    assert summary.standard_difference == pytest.approx(-0.05)
    assert summary.robust_generalization_gap == pytest.approx(0.39)
    assert summarize_overfitting([record.to_dict() for record in RECORDS]) == summary
    assert summarize_overfitting(RECORDS, chosen_on="test").best_epoch == 2.0
    assert summary.to_dict()["robust_difference"] == pytest.approx(0.04)


def test_without_training_accuracy_there_is_no_gap():
    record = AccuracyRecord(1, 1.0, {"test": 0.5}, {"test": 0.3})
    assert summarize_overfitting([record], chosen_on="test").robust_generalization_gap is None


def test_bad_records():
    with pytest.raises(DataError, match="expected at least one record"):
        summarize_overfitting([])
    with pytest.raises(DataError, match=r"expected accuracies of 'test' and 'development', got \['test', 'train'"):
        summarize_overfitting(RECORDS, chosen_on="development")


def test_table():
    one = summarize_overfitting(RECORDS)
    other = RobustOverfitting("test", "validation", 3.0, 0.75, 0.80, 0.48, 0.44, 0.81)
    rows = overfitting_rows(
        {"dense": [one, other], "Flying Bird": [one]},
        training_flops={"dense": 7.72e17},
        inference_flops={"dense": 1.1e9, "Flying Bird": 2.2e8},
        seconds={"dense": 100.4, "Flying Bird": 100.4},
    )
    assert list(rows[0]) == [
        "method", "SA best", "SA final", "SA diff", "RA best", "RA final", "RA diff", "training FLOPs",
        "inference FLOPs", "measured seconds", "robust generalisation gap",
    ]  # fmt: skip
    # Two values 2 points apart: the standard deviation of the sample is the square root of 2.
    assert rows[0]["RA best"] == "47.00 ± 1.41" and rows[0]["robust generalisation gap"] == "38.00 ± 1.41"
    assert rows[1]["RA diff"] == "4.00" and rows[1]["SA diff"] == "-5.00" and rows[1]["training FLOPs"] is None
    table = overfitting_table({"dense": [one, other]}, markdown=True)
    assert "| -5.00 ± 0.00 |" in table and "-----:" in table
    assert "RA final" in overfitting_table({"dense": [one]}, markdown=False)
    with pytest.raises(DataError, match="expected at least one training of 'dense'"):
        overfitting_rows({"dense": []})


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    from hf_robust_tickets.reporting.plots import plot_layer_densities, plot_robust_overfitting

    curves = {"dense": RECORDS, "Flying Bird": [record.to_dict() for record in RECORDS], "other": RECORDS}
    first = plot_robust_overfitting(curves, tmp_path / "curves.png", updates={"Flying Bird": [0.5, 1.5]})
    log = [
        {"epoch": epoch, "density": 0.2, "layer_density": {"conv.weight": 0.1 * (1 + i), "fc.weight": 1.0}}
        for i, epoch in enumerate((0.0, 0.5, 1.0))
    ]
    second = plot_layer_densities(log, tmp_path / "densities.png", end=1.0)
    third = plot_layer_densities(log[:1], tmp_path / "one.png")
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (first, second, third))
    with pytest.raises(DataError, match="expected records with robust accuracy on 'validation2'"):
        plot_robust_overfitting(curves, tmp_path / "none.png", split="validation2")
    with pytest.raises(DataError, match="expected at least one change of masks"):
        plot_layer_densities([], tmp_path / "none.png")
