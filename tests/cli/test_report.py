"""`robust-tickets report` and `compare` on files."""

from __future__ import annotations

import pytest

from hf_robust_tickets.cli.main import main
from hf_robust_tickets.evaluation.transfer import TransferResult
from tests.evaluation.test_compare import report


@pytest.fixture
def two(tmp_path):
    for name, outcomes in (("dense", "wwffs"), ("ticket", "wwwfs")):
        report(outcomes).save(tmp_path / name / "robustness.json")
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
        report(outcomes, recipe="hotflip").save(folder / "hotflip.json")
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
    assert main(["compare", str(two[0])]) == 1


def test_compare_prints_the_paired_test(two, capsys):
    assert main(["compare", str(two[0] / "robustness.json"), str(two[1])]) == 0
    out = capsys.readouterr().out
    assert "+20.0" in out and "McNemar's p" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "{0}"], "expected two reports or more to compare, got 1"),
        (["report", "nowhere.json"], "expected a report at nowhere.json, got no such file"),
        (["report", "{0}", "{1}", "--names", "one"], "expected 2 different names"),
    ],
)
def test_wrong_calls(two, arguments, message, capsys):
    assert main([argument.format(*two) for argument in arguments]) == 1
    assert message in capsys.readouterr().err
