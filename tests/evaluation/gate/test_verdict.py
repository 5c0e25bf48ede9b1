from __future__ import annotations

import re

import pytest

from hf_robust_tickets.evaluation import ExampleOutcome, RecipeResult, RobustnessReport, TransferResult
from hf_robust_tickets.evaluation.gate.result import GateRow
from hf_robust_tickets.evaluation.gate.verdict import signs_of_false_robustness, verdict_of
from hf_robust_tickets.evaluation.results.compare import Comparison


def row(check, kind, judgement="not told apart", shares=(), run=True):
    return GateRow(check, kind, 1 if run else None, 2, judgement=judgement if run else "", shares=shares)


def test_the_interval_of_two_shares_is_newcombes():
    # Newcombe 1998, table II, 56/70 and 48/80 under method 10
    found = GateRow.unpaired((56, 70), (48, 80), check="typos", kind="noise")
    assert found.difference == pytest.approx(0.2) and found.judgement == "better"
    assert found.interval == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert GateRow.unpaired((48, 80), (56, 70), check="typos", kind="noise").judgement == "worse"
    nothing = GateRow.unpaired((1, 2), (0, 0), check="typos", kind="noise")
    assert nothing.was_run and nothing.judgement == "" and nothing.interval is None


def test_rows_of_pairs():
    found = GateRow.paired(Comparison("x", "reference", "model", 50, 1, 30, 19), check="x", kind="scores")
    assert (found.right, found.reference_right, found.examples) == (80, 51, 100)
    assert found.difference == pytest.approx(0.29) and found.judgement == "better"
    shown = found.to_row()
    assert shown["model"] == "80.0 % of 100" and shown["difference"] == "+29.0"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row("clean", "clean"), row("x", "scores")], "no gain shown: no row can be told apart"),
        ([row("typos", "noise", "better")], "no gain shown: better under typos alone"),
        ([row("x", "scores", "better"), row("y", "labels", "better")], "confirmed without scores"),
        ([row("x", "scores", "better"), row("y", "transfer", "better")], "confirmed without scores"),
        ([row("y", "transfer", "better")], "no gain shown: better under y alone"),
        ([row("x", "scores", "better"), row("y", "labels")], r"not confirmed by labels or transfer$"),
        ([row("x", "scores", "better"), row("y", "labels", run=False)], "not run: y"),
        ([row("x", "scores", "better"), row("clean", "clean", "worse")], "mixed: better under x, worse under clean"),
        ([row("x", "scores", "worse"), row("y", "labels")], "worse under x"),
        ([row("x", "scores", "better", ("wordnet",))], "no gain shown beyond attacks that the training has met"),
        ([row("y", "labels", "better")], "not under attacks that see scores"),
    ],
)
def test_the_verdict_by_its_rules(rows, said):
    assert re.search(said, verdict_of(rows, (), True))


def test_a_sign_comes_before_everything_and_without_reference_there_is_no_verdict():
    better = [row("x", "scores", "better"), row("y", "labels", "better")]
    assert verdict_of(better, ("a sign",), True).startswith("not to be believed: 1 sign of")
    assert "no reference" in verdict_of(better, (), False)


def report(name, withstood, **more):
    outcomes = tuple(
        ExampleOutcome(i, 1, "a", "b", "failed" if right else "succeeded", 3, 1, 0)
        for i, right in enumerate(withstood)
    )
    return RobustnessReport({name: RecipeResult(name, outcomes, **more)}, 1.0, sample_ids=tuple(range(len(outcomes))))


def test_signs_by_hand():
    steady = report("textfooler", [True] * 20)
    both = {"temperature": 9.0, "accuracy_at_1": 0.5, "accuracy_at_temperature": 0.2}
    assert signs_of_false_robustness(steady, None, {}) == ()
    (hidden,) = signs_of_false_robustness(report("x", [True], at_temperatures=both), None, {})
    assert "50.0% accuracy at T = 1, 20.0% at T* = 9" in hidden
    (blind,) = signs_of_false_robustness(steady, report("hard-label", [True] * 12 + [False] * 8), {})
    assert "fools 40.0% more of the examples than textfooler" in blind
    assert signs_of_false_robustness(steady, report("hard-label", [True] * 19 + [False]), {}) == ()
    rows = tuple(range(20))
    replayed = TransferResult("textfooler", 20, 20, 12, rows[12:], right_before=rows)
    (misled,) = signs_of_false_robustness(steady, None, {"textfooler": replayed})
    assert "those made on the reference fool 8, the model's own attack 0" in misled
    one = TransferResult("textfooler", 20, 20, 19, (3,), right_before=rows)
    assert signs_of_false_robustness(steady, None, {"textfooler": one}) == ()
