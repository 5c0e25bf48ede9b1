"""`robust-tickets report` and `compare` on files."""

from __future__ import annotations

import dataclasses

import pytest

from hf_robust_tickets.cli.main import main
from hf_robust_tickets.evaluation.datasets.transfer import TransferResult
from tests.testing.reports import report_of


@pytest.fixture
def two(tmp_path):
    for name, outcomes in (("dense", "wwffs"), ("ticket", "wwwfs")):
        report_of(outcomes).save(tmp_path / name / "robustness.json")
    return tmp_path / "dense", tmp_path / "ticket"


def test_report_writes_one_page_about_several_models(two, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["report", *map(str, two), "--output_file", str(page)]) == 0
    text = page.read_text()
    assert "dense: pwws" in text and "ticket: pwws" in text and "McNemar" in text
    assert "row 0<mark>!</mark>" in text
    assert "accuracy under attack 60.0%" in capsys.readouterr().out


def test_a_folder_is_shown_with_all_that_probe_wrote(two, tmp_path, capsys):
    for folder, outcomes in zip(two, ("ffwww", "fffww")):
        report_of(outcomes, recipe="hotflip").save(folder / "hotflip.json")
    for name, recipe in (("transfer", "pwws"), ("transfer-mine.py_build", "mine.py:build")):
        TransferResult(recipe, 9, 8, 7).save(two[0] / f"{name}.json")
    page = tmp_path / "page.html"
    assert main(["report", *map(str, two), "--output_file", str(page)]) == 0
    text = page.read_text()
    assert "dense: pwws" in text and "dense, hotflip: hotflip" in text and "mine.py:build" in text
    out = capsys.readouterr().out
    assert main(["compare", *map(str, two)]) == 0
    for shown in (out, capsys.readouterr().out):
        assert "dense → ticket" in shown and "dense, hotflip → ticket, hotflip" in shown
    assert main(["compare", str(two[0])]) == 2


def test_compare_prints_the_paired_test(two, capsys):
    assert main(["compare", str(two[0] / "robustness.json"), str(two[1])]) == 0
    out = capsys.readouterr().out
    assert "+20.0" in out and "McNemar's p" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "{0}"], "expected two reports or more to compare, got 1"),
        (["compare", "{0}", "{0}/robustness.json"], "expected two reports or more to compare, got 1"),
        (["report", "nowhere.json"], "expected a report at nowhere.json, got no such file"),
        (["report", "{0}", "{1}", "--names", "one"], "expected 2 different names"),
    ],
)
def test_wrong_calls(two, arguments, message, capsys):
    assert main([argument.format(*two) for argument in arguments]) == 2
    assert message in capsys.readouterr().err


def test_compare_needs_two_reports_not_two_names(two, tmp_path, capsys):
    for folder in two:
        (folder / "robustness.json").unlink()
        TransferResult("pwws", 9, 8, 7).save(folder / "transfer.json")
    assert main(["compare", *map(str, two)]) == 2
    assert "two reports or more to compare, got 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"recipe": "bae"}, "a recipe that"), ({"first_row": 50}, "one seed"), ({"text": "line"}, "different data sets")],
)
def test_reports_that_cannot_be_compared_are_shown_with_the_reason(two, tmp_path, capsys, change, reason):
    report_of("wwwfs", **change).save(two[1] / "robustness.json")
    assert main(["report", *map(str, two)]) == 0
    assert "no comparison: expected" in (shown := capsys.readouterr().out) and reason in shown
    page = (two[0] / "robustness.html").read_text()
    assert "dense: pwws" in page and reason in page
    assert main(["compare", *map(str, two)]) == 2
    assert reason in capsys.readouterr().err


def test_a_folder_named_robustness_is_called_after_the_model(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "out" / "robustness"
    report_of("wwffs").save(folder / "robustness.json")
    monkeypatch.chdir(tmp_path)
    assert main(["report", "out/robustness"]) == 0
    assert capsys.readouterr().out.startswith("out\n")
    assert "pwws" in (folder / "robustness.html").read_text() and not (tmp_path / "robustness.html").exists()
    assert main(["report", "out/robustness/robustness.json"]) == 0


def test_attacks_that_differ_are_remarked(two, capsys):
    first = report_of("wwffs")
    alike = dataclasses.replace(first["pwws"], description="Attack(\n  (candidates): 8\n)")
    other = dataclasses.replace(alike, description="Attack(\n  (candidates): 48\n)")
    values = zip(two, (alike, other), ({"max_length": 128}, {"max_length": 64, "query_budget": 9}))
    for folder, result, settings in values:
        changed = dataclasses.replace(first, results={"pwws": result}, settings=settings)
        changed.save(folder / "robustness.json")
    assert main(["compare", *map(str, two)]) == 0
    clean, attacked = capsys.readouterr().out.splitlines()[-2:]
    assert clean.endswith("max_length: 128 and 64")
    assert attacked.endswith(
        "max_length: 128 and 64; query_budget: None and 9; attacks: (candidates): 8 and (candidates): 48"
    )
    page = two[0] / "page.html"
    assert main(["report", *map(str, two), "--output_file", str(page)]) == 0
    assert "query_budget: None and 9" in page.read_text()


def test_models_are_called_what_they_were_opened_as(two, tmp_path, capsys):
    for folder, name in zip(two, ("google-bert/bert-base-uncased", str(tmp_path / "small-bert"))):
        dataclasses.replace(report_of("wwffs"), model={"name_or_path": name}).save(folder / "robustness.json")
    assert main(["report", *map(str, two), "--output_file", str(tmp_path / "page.html")]) == 0
    said = capsys.readouterr().out
    assert "google-bert/bert-base-uncased\n" in said and "small-bert\n" in said and "dense\n" not in said
    # Two of one name are told apart by their folders.
    for folder in two:
        dataclasses.replace(report_of("wwffs"), model={"name_or_path": "me/same"}).save(folder / "robustness.json")
    assert main(["report", *map(str, two), "--output_file", str(tmp_path / "page.html")]) == 0
    assert "dense\n" in capsys.readouterr().out
