"""`.eval_results/*.yaml`, as the Hub reads them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from huggingface_hub import parse_eval_result_entries

from hf_robust_tickets.reporting.eval_results import eval_results, write_eval_results
from hf_robust_tickets.training.hub.contents import files_to_upload
from tests.testing.cards import FACTS, STAND_INS, robustness_report


def read(path):
    (entry,) = parse_eval_result_entries(yaml.safe_load(path.read_text()))
    return entry


def test_each_figure_has_a_file_and_the_hubs_own_reader_takes_it(tmp_path):
    names = write_eval_results(tmp_path, FACTS, {"robustness.json": robustness_report(6, 10, **STAND_INS)})
    assert names == [
        ".eval_results/robust-tickets-accuracy.yaml",
        ".eval_results/robust-tickets-robustness-textfooler.yaml",
    ]
    clean, attacked = (read(tmp_path / name) for name in names)
    assert (clean.dataset_id, clean.task_id, clean.value) == ("nyu-mll/glue", "sst2", 0.91)
    assert clean.dataset_revision == "b" * 40 and clean.notes == "accuracy without an attack, split validation"
    # 3 of 10 withstood: under a task of its own, with all that the figure depends on.
    assert (attacked.task_id, attacked.value) == ("sst2_under_textfooler", pytest.approx(0.3))
    assert "sample of 10 (seed 3)" in attacked.notes and "0.108 to 0.603" in attacked.notes
    assert "not comparable with published figures: the sentence encoder minilm" in attacked.notes
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / ".eval_results" / "mine.yaml").write_text("[]")
    assert [name for name in files_to_upload(tmp_path) if name.startswith(".eval")] == names


def test_what_is_no_longer_true_goes_and_what_others_wrote_stays(tmp_path):
    report = robustness_report(6, 10)
    write_eval_results(tmp_path, FACTS, {"robustness.json": report, "old/robustness.json": report})
    (tmp_path / ".eval_results" / "mine.yaml").write_text("[]")
    write_eval_results(tmp_path, replace(FACTS, metrics={}), {"robustness.json": report})
    found = sorted(path.name for path in (tmp_path / ".eval_results").iterdir())
    assert found == ["mine.yaml", "robust-tickets-robustness-textfooler.yaml"]


def test_data_that_are_not_on_the_hub_have_no_results_there(tmp_path):
    report = robustness_report(6, 10)
    report["settings"] = {"data": {"name": "data.csv"}}
    assert eval_results(replace(FACTS, data={"name": "data.csv"}), {"robustness.json": report}) == {}
    assert write_eval_results(tmp_path, replace(FACTS, data={}), {}) == [] and not list(tmp_path.iterdir())
    # One data set with a single configuration has one task.
    only = replace(FACTS, data={"repository": "stanfordnlp/imdb"})
    assert eval_results(only, {})["robust-tickets-accuracy.yaml"].task_id == "default"
