"""Every kind of result: written, read back, opened by its file alone, and refused where it is damaged."""

from __future__ import annotations

import json

import pytest

from hf_robust_tickets.errors import CheckpointError, DataError
from hf_robust_tickets.evaluation import (
    AccuracyResult,
    AutoAttackResult,
    Calibration,
    ContrastResult,
    GateResult,
    GateRow,
    ImageTransferResult,
    NoiseResult,
    SpeedReport,
    TransferResult,
    WhiteBoxResult,
    compare_results,
    load_result,
)
from hf_robust_tickets.evaluation.datasets.noise import NoiseCell
from hf_robust_tickets.evaluation.results.base import EvaluationResult
from hf_robust_tickets.evaluation.results.compare import Comparison
from tests.testing.robustness_report import report

HOW = {"model": {"sha256": "0"}, "settings": {"data": {"rows": 9}}, "versions": {"python": "3"}, "warnings": ("w",)}


def auto_attack(robust=(True, False), rows=(4, 7), **more):
    return AutoAttackResult(
        1.0, 0.5, {"apgd-ce": 0.5}, 2, 0.03, "linf", "standard", "p 1", robust=robust, sample_ids=rows, seed=3,
        **(HOW | more),
    )  # fmt: skip


def speed():
    timing = {"batch": 1, "length": 8, "seconds": 0.1, "dense_seconds": 0.2, "flops_ratio": 0.5}
    timing |= {"examples_per_second": 10.0, "dense_examples_per_second": 5.0}
    return SpeedReport("cpu", "float32", 1, 3, [timing], (1, 2), (3, 4), (5, 6), **HOW)


RESULTS = [
    report(),
    WhiteBoxResult(0.75, {0.1: 0.5, 1.0: 0.0}, {0.1: 0.5, 1.0: 0.25}, 4, {"name": "pgd"}, 2, 1, "last", seed=3, **HOW),
    auto_attack(),
    ImageTransferResult((True, True), (True, False), (True, False), (False, False), {"name": "pixel-pgd"}, 2,
                        {"sha256": "1"}, sample_ids=(3, 4), seed=2, **HOW),
    TransferResult("pwws", 9, 8, 7, (3,), {"sha256": "1"}, sample_ids=(3, 4), **HOW),
    NoiseResult(
        0.5, (NoiseCell("typos", 1, Comparison("typos-1", "clean", "noisy", 1, 2, 3, 4), 5, {6: "a", 7: {"b": "c"}}),),
        10, seed=1, **HOW,
    ),
    ContrastResult(4, 3, 2, 1, {"original": (2, 2), "revised": (1, 2)}, 1, sample_ids=(0, 1, 2, 3), **HOW),
    AccuracyResult(Calibration.of([[0.9, 0.1], [0.2, 0.8]], [0, 0]), seed=0, sample_ids=(1, 5), **HOW),
    speed(),
    GateResult(
        (GateRow("pwws", "scores", 3, 4, 2, 4, 0.25, (-0.2, 0.6), "not told apart", ("wordnet",), "a note"),
         GateRow("bae", "scores", note="not there")),
        "no gain shown", ("a sign",), {"sha256": "1"}, seed=1, sample_ids=(0, 1, 2, 5), **HOW,
    ),
]  # fmt: skip


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.kind)
def test_a_round_trip_keeps_everything(result, tmp_path):
    path = tmp_path / "deep" / "result.json"
    result.save(path)
    assert load_result(path) == result == type(result).load(path) == type(result).from_dict(result.to_dict())
    written = json.loads(path.read_text(errors="surrogatepass"))
    assert written["schema"] == f"hf_robust_tickets/{result.kind}" and written["schema_version"] == 2
    for name in ("kind", "model", "settings", "seed", "sample_ids", "warnings", "versions"):
        assert name in written


def test_every_kind_of_result_is_tried():
    kinds = {kind.kind for kind in EvaluationResult.__subclasses__()}
    assert kinds == {result.kind for result in RESULTS}


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.kind)
def test_a_damaged_result_is_refused_in_one_line(result, tmp_path):
    path = tmp_path / "result.json"
    for name in ("settings", "warnings", "schema_version"):
        values = result.to_dict()
        del values[name]
        path.write_text(json.dumps(values))
        with pytest.raises(CheckpointError, match="evaluate again") as caught:
            load_result(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"schema": "other"}', b"\xff\xfe", b'"text"'])
def test_a_foreign_file_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "result.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="expected the result of an evaluation") as caught:
        load_result(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="no such file"):
        load_result(tmp_path / "nowhere.json")


def test_a_result_of_another_kind_is_told_from_a_damaged_one(tmp_path):
    speed().save(tmp_path / "bench.json")
    with pytest.raises(CheckpointError, match=r"'noise' .*got the schema 'hf_robust_tickets/speed'"):
        NoiseResult.load(tmp_path / "bench.json")


def test_files_of_the_first_version_are_read(tmp_path):
    values = RESULTS[1].to_dict() | {"schema_version": 1}
    del values["criterion"], values["kind"]
    assert WhiteBoxResult.from_dict(values).criterion == "any"


def test_results_with_an_answer_per_example_are_compared_in_pairs():
    (found,) = compare_results(
        {"a": auto_attack((True, False, True), (1, 2, 3)), "b": auto_attack((True, True), (3, 2))}
    )
    assert (found.both, found.only_first, found.only_second, found.neither) == (1, 0, 1, 0)
    assert found.recipe == "AutoAttack linf 0.03" and found.remarks == ()
    (remarked,) = compare_results({"a": auto_attack(), "b": auto_attack(queries=50)})
    assert remarked.remarks == ("queries: 5000 and 50",)


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        ((auto_attack(), auto_attack(settings={"data": {"rows": 8}})), "on the same data"),
        ((auto_attack(), auto_attack(rows=(8, 9))), "got none: attack both with one seed"),
        ((auto_attack(), speed()), "two results of one kind, got auto_attack of a and speed of b"),
        ((speed(), speed()), "measured times, and no answers"),
        ((RESULTS[1], RESULTS[1]), "counts, and no answer per example"),
    ],
)
def test_what_cannot_be_compared_is_said_in_words(pair, reason):
    with pytest.raises(DataError, match=reason):
        compare_results(dict(zip("ab", pair)))
