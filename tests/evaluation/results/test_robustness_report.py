from __future__ import annotations

import json
import math

import pytest

from hf_robust_tickets.errors import CheckpointError
from hf_robust_tickets.evaluation import RecipeResult, RobustnessReport
from tests.testing.robustness_report import outcome, report


def test_figures_follow_from_the_outcomes():
    result = report()["deepwordbug"]
    assert result.counts == {"succeeded": 1, "failed": 2, "skipped": 1}
    assert (result.accuracy_under_attack, result.attack_success_rate) == (0.5, pytest.approx(1 / 3))
    assert result.mean_queries == 30.0
    assert result.confidence_interval == pytest.approx((0.1500, 0.8500), abs=1e-4)
    assert result.comparable == "no, because the vectors stand in"


def test_round_trip_keeps_everything(tmp_path):
    before = report()
    before.save(tmp_path / "deep" / "robustness.json")
    assert RobustnessReport.load(tmp_path / "deep" / "robustness.json") == before
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["robustness.json"]


def test_figures_that_do_not_exist_are_null_in_the_file(tmp_path):
    skipped = RecipeResult("deepwordbug", (outcome(1, "skipped", 1),))
    report(results={"deepwordbug": skipped}, clean_accuracy=0.0, sample_ids=(1,)).save(tmp_path / "r.json")
    values = json.loads((tmp_path / "r.json").read_text(errors="surrogatepass"))
    assert values["recipes"]["deepwordbug"]["attack_success_rate"] is None
    assert math.isnan(RobustnessReport.load(tmp_path / "r.json")["deepwordbug"].attack_success_rate)


@pytest.mark.parametrize("change", [{"schema_version": 99}, {"schema": "other"}])
def test_another_schema_is_refused(tmp_path, change):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(report().to_dict() | change))
    with pytest.raises(CheckpointError, match="expected"):
        RobustnessReport.load(path)


def _without(name):
    return lambda values: values.pop(name)


def _outcome(**change):
    return lambda values: values["recipes"]["deepwordbug"]["outcomes"][0].update(change)


@pytest.mark.parametrize(
    "damage",
    [
        _without("schema_version"),
        _without("recipes"),
        _without("seed"),
        lambda values: values.update(recipes=[]),
        lambda values: values["recipes"]["deepwordbug"]["outcomes"][0].pop("label"),
        _outcome(unheard=1),
        lambda values: values.update(sample_ids=None),
    ],
)
def test_a_damaged_report_is_refused_in_one_line(tmp_path, damage):
    values = report().to_dict()
    damage(values)
    path = tmp_path / "r.json"
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="evaluate again") as caught:
        RobustnessReport.load(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_failed_recipe_is_explained_when_asked_for():
    with pytest.raises(KeyError, match="no WordNet"):
        report()["pwws"]
    assert "pwws" not in report() and list(report()) == ["deepwordbug"]


def test_a_failed_save_leaves_the_old_report(tmp_path):
    path = tmp_path / "r.json"
    report().save(path)
    with pytest.raises(ValueError, match="plain values"):
        report(settings={"x": object()}).save(path)
    assert RobustnessReport.load(path) == report()


def test_summary_and_table_tell_the_same():
    text = report().summary()
    assert "50.0% [15.0%, 85.0%]" in text and "did not run: no WordNet" in text and "warning: a warning" in text
    table = report().to_table()
    assert table[0]["accuracy_under_attack"] == 0.5 and table[1] == {"recipe": "pwws", "failure": "no WordNet"}
