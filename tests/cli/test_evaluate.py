"""`robust-tickets evaluate` on the files that people have."""

from __future__ import annotations

import importlib.util
import json

import pytest

from hf_robust_tickets.cli.main import main
from tests.testing.tiny import tiny_bert, tiny_tokenizer

pytestmark = pytest.mark.skipif(importlib.util.find_spec("textattack") is None, reason="TextAttack is not installed")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    names = {0: "negative", 1: "positive", 2: "neutral"}
    model = tiny_bert(num_labels=3, id2label=names, label2id={name: i for i, name in names.items()})
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def evaluate(model, tmp_path, labels, *options):
    lines = [f"w{6 + i} w9 w{40 + i},{label}" for i, label in enumerate(labels)]
    (tmp_path / "dev.csv").write_text("\n".join(["text,label", *lines]))
    arguments = ["--model_name_or_path", str(model), "--validation_file", str(tmp_path / "dev.csv")]
    arguments += ["--recipes", "deepwordbug", "--output_dir", str(tmp_path / "out"), *options]
    code = main(["evaluate", *arguments])
    return json.loads((tmp_path / "out" / "robustness.json").read_text()) if code == 0 else code


@pytest.mark.parametrize("labels", [["negative", "positive"], [1, 1], [0, 2]], ids=str)
def test_labels_may_be_names_and_need_not_be_all(model, tmp_path, labels):
    report = evaluate(model, tmp_path, labels)
    found = [outcome["label"] for outcome in report["recipes"]["deepwordbug"]["outcomes"]]
    assert found == [{"negative": 0, "positive": 1}.get(label, label) for label in labels]
    assert report["settings"]["max_length"] == 32  # the model's positions


def test_a_part_is_a_sample_of_the_files_rows(model, tmp_path):
    report = evaluate(model, tmp_path, [0, 1] * 8, "--max_eval_samples", "4")
    assert len(report["sample_ids"]) == 4
    for outcome in report["recipes"]["deepwordbug"]["outcomes"]:
        assert outcome["original"].startswith(f"w{6 + outcome['index']} ")


def test_more_tokens_than_positions_are_refused_in_one_line(model, tmp_path, capsys):
    assert evaluate(model, tmp_path, [0, 1], "--max_length", "128") == 2
    assert "expected max_length <= 32" in capsys.readouterr().err


def test_calibration_takes_a_development_file(model, tmp_path, capsys):
    labels = ["negative", "positive", "neutral"] * 4
    assert evaluate(model, tmp_path, labels, "--calibrate", "True") == 2
    assert "expected development data to calibrate on, got none" in capsys.readouterr().err
    both = ("--development_file", "a.csv", "--development_split", "train")
    assert evaluate(model, tmp_path, labels, "--calibrate", "True", *both) == 2
    assert "got both" in capsys.readouterr().err
    report = evaluate(model, tmp_path, [0])  # what the model answers, to have development data that it gets right
    wanted = report["recipes"]["deepwordbug"]["outcomes"][0]["original_prediction"]
    (tmp_path / "known.csv").write_text(
        "\n".join(["text,label", *(f"w6 w9 w40 w{i},{wanted}" for i in range(10, 20))])
    )
    options = ("--calibrate", "True", "--development_file", str(tmp_path / "known.csv"), "--no_resume")
    report = evaluate(model, tmp_path, labels, *options)
    assert report["recipes"]["deepwordbug"]["at_temperatures"]["temperature"] > 0
    assert report["settings"]["temperature"]["num_examples"] == 10


def test_the_gate_prints_one_table_and_writes_it(model, tmp_path, capsys):
    answers = evaluate(model, tmp_path, [0, 0, 0])["recipes"]["deepwordbug"]["outcomes"]
    names = ["negative", "positive", "neutral"]
    texts = [(outcome["original"], names[outcome["original_prediction"]]) for outcome in answers]
    (tmp_path / "known.csv").write_text("\n".join(["text,label", *(f"{text},{label}" for text, label in texts)]))
    capsys.readouterr()
    options = ["--gate", "--output_dir", str(tmp_path / "gate"), "--development_file", str(tmp_path / "known.csv")]
    arguments = ["evaluate", "--model_name_or_path", str(model), "--validation_file", str(tmp_path / "known.csv")]
    arguments += ["--recipes", "deepwordbug", "--reference", str(model), *options]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "deepwordbug (transferred)" in said and "verdict: no gain shown" in said
    page = (tmp_path / "gate" / "verdict.md").read_text()
    assert page.startswith("# Verdict\n\n| check") and "verdict: no gain shown" in page
    assert json.loads((tmp_path / "gate" / "gate.json").read_text())["kind"] == "gate"
    assert main([*arguments[:7], "--gate"]) == 2
    assert "expected development data for --gate" in capsys.readouterr().err
    assert main([*arguments, "--calibrate", "True"]) == 2
    assert "expected --gate without --calibrate" in capsys.readouterr().err
    assert main([name for name in arguments if name != "--gate"]) == 2
    assert "expected --reference with --gate" in capsys.readouterr().err
