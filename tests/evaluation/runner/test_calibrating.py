"""Attacks that see calibrated log-odds: what multiplies or rounds logits changes no figure."""

from __future__ import annotations

import json
import logging

import pytest
from datasets import load_dataset

from hf_robust_tickets.errors import CheckpointError, ConfigurationError
from hf_robust_tickets.evaluation import RobustnessReport, evaluate_robustness, get_recipe
from hf_robust_tickets.evaluation.resources import RESOURCES
from tests.testing.headed_model import headed_model, headed_rows, headed_tokenizer
from tests.testing.keyword_model import keyword_model, keyword_tokenizer, rows
from tests.testing.ranks import TORCHRUN, launch
from tests.testing.real_data import real_file, short_minilm

pytest.importorskip("nltk")

DATA, DEVELOPMENT = headed_rows(18, seed=1), headed_rows(40, seed=2)


def evaluate(model=None, **options):
    # A text may say a word twice: which is changed first is a tie, which the company of the text would decide.
    fixed = {"recipes": ["deepwordbug"], "progress": False, "concurrent_examples": 1}
    options = {**fixed, "development_data": DEVELOPMENT} | options
    options.setdefault("calibrate", options["development_data"] is not None)
    return evaluate_robustness(model or headed_model(), DATA, headed_tokenizer(), **options)


def texts(report):
    return [(outcome.outcome, outcome.perturbed, outcome.queries) for outcome in report["deepwordbug"].outcomes]


def kinds(report):
    return [outcome.outcome for outcome in report["deepwordbug"].outcomes]


@pytest.fixture(scope="module")
def plain():
    return evaluate()


@pytest.mark.parametrize("config", [{"scale": 0.01}, {"scale": 100.0}, {"rounded": True}], ids=str)
def test_scaled_and_rounded_models_get_the_same_figure(config, plain):
    changed = evaluate(headed_model(**config))
    assert changed["deepwordbug"].accuracy_under_attack == plain["deepwordbug"].accuracy_under_attack
    assert kinds(changed) == kinds(plain)
    if "scale" in config:  # where rounding makes logits equal, a text counts as wrong a little earlier or later
        assert texts(changed) == texts(plain)
    assert 0 < plain["deepwordbug"].accuracy_under_attack < plain.clean_accuracy
    ours, theirs = (report["deepwordbug"].at_temperatures for report in (plain, changed))
    assert ours["accuracy_at_temperature"] == theirs["accuracy_at_temperature"]


def test_without_calibration_saturated_logits_look_robust(plain):
    blind = evaluate(headed_model(scale=100.0), development_data=None)["deepwordbug"]
    assert blind.accuracy_under_attack > plain["deepwordbug"].accuracy_under_attack
    calibrated = evaluate(headed_model(scale=100.0))["deepwordbug"]
    assert calibrated.at_temperatures["accuracy_at_1"] == blind.accuracy_under_attack
    assert calibrated.accuracy_under_attack == calibrated.at_temperatures["accuracy_at_temperature"]


def test_at_a_temperature_of_1_nothing_changes(plain):
    alone = evaluate(development_data=None)
    assert alone["deepwordbug"].at_temperatures == {} and alone["deepwordbug"].comparable == "yes"
    assert plain["deepwordbug"].at_temperatures["accuracy_at_1"] == alone["deepwordbug"].accuracy_under_attack
    # of two classes the log-odds are in the order of the probabilities
    assert kinds(plain) == kinds(alone)


def test_a_model_without_a_last_layer_is_calibrated_on_its_logits_and_that_is_said():
    development = [*rows(2), {"text": "a good film", "label": 0}]
    options = {"recipes": ["deepwordbug", "input-reduction"], "progress": False, "calibrate": True}
    report = evaluate_robustness(keyword_model(), rows(), keyword_tokenizer(), development_data=development, **options)
    assert report.settings["temperature"]["head"] is None
    assert any("no last linear layer" in warning for warning in report.warnings)
    assert report["input-reduction"].at_temperatures == {}  # it fools no model
    assert [outcome.outcome for outcome in report["deepwordbug"].outcomes] == ["succeeded", "failed", "skipped"] * 2


def test_the_report_holds_both_figures_and_is_written_and_read(plain, tmp_path):
    plain.save(tmp_path / "report.json")
    assert RobustnessReport.load(tmp_path / "report.json") == plain
    temperature = plain.settings["temperature"]
    assert temperature["head"] == "classifier" and temperature["num_examples"] == 40
    assert temperature["nll"] <= temperature["nll_at_1"] and plain.settings["calibrate"] is True
    assert "T* = " in plain.summary() and "calibrate" in plain["deepwordbug"].comparable


def test_an_evaluation_that_was_cut_off_goes_on_at_its_temperature(plain, tmp_path):
    evaluate(output_dir=tmp_path)
    lines = (tmp_path / "outcomes.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "outcomes.jsonl").write_text("".join(lines[:9]))
    kept = json.loads((tmp_path / "calibration.json").read_text())
    kept["temperature"]["value"] *= 1.5  # seen again in the report: it is read, not fitted
    (tmp_path / "calibration.json").write_text(json.dumps(kept))
    again = evaluate(output_dir=tmp_path)
    assert texts(again) == texts(plain)
    assert again.settings["temperature"]["value"] == kept["temperature"]["value"]
    with pytest.raises(CheckpointError, match="another development"):
        evaluate(output_dir=tmp_path, development_data=DEVELOPMENT[:-1])
    with pytest.raises(CheckpointError, match="calibrate"):
        evaluate(output_dir=tmp_path, development_data=None)
    for damaged in (
        {**kept, "temperature": {"value": 1.0}},
        {**kept, "temperature": kept["temperature"] | {"value": 0}},
    ):
        (tmp_path / "calibration.json").write_text(json.dumps(damaged))
        with pytest.raises(CheckpointError, match=r"calibration.json.*remove the file"):
            evaluate(output_dir=tmp_path)
    fresh = evaluate(output_dir=tmp_path, resume=False)
    assert fresh.settings["temperature"]["value"] != kept["temperature"]["value"]


def test_a_temperature_that_was_fitted_on_attacked_texts_is_said(plain):
    assert not any("development data too" in warning for warning in plain.warnings)
    report = evaluate(development_data=[*DEVELOPMENT, *DATA[:7]])
    assert any(warning.startswith("7 of 18 attacked texts are development data") for warning in report.warnings)


@pytest.mark.slow
def test_processes_find_the_same(plain):
    assert texts(evaluate(num_processes=2)) == texts(plain)


def test_side_by_side_finds_the_same(plain):
    assert texts(evaluate(concurrent_examples=6)) == texts(plain)


def test_what_cannot_be_calibrated_is_refused():
    with pytest.raises(ConfigurationError, match="development data to calibrate on, got none"):
        evaluate(development_data=None, calibrate=True)
    with pytest.raises(ConfigurationError, match="calibrate=True alone"):
        evaluate(calibrate=False)
    with pytest.raises(ConfigurationError, match="calibrate or torch_compile"):
        evaluate(torch_compile=True)


RANK = """
import sys
from hf_robust_tickets.evaluation import evaluate_robustness
from tests.testing.headed_model import headed_model, headed_rows, headed_tokenizer
from tests.testing.ranks import leave
report = evaluate_robustness(
    headed_model(), headed_rows(18, seed=1), headed_tokenizer(), recipes=["deepwordbug"], progress=False,
    calibrate=True, development_data=headed_rows(40, seed=2), distributed=True,
)
report.save(sys.argv[1] + report.settings["temperature"]["head"] + ".json")
leave()
"""


@pytest.mark.slow
def test_ranks_find_the_same_at_one_temperature(plain, tmp_path):
    (tmp_path / "rank.py").write_text(RANK)
    launch(TORCHRUN, str(tmp_path / "rank.py"), str(tmp_path / "report-"))
    found = RobustnessReport.load(tmp_path / "report-classifier.json")
    assert texts(found) == texts(plain)
    assert found.settings["temperature"] == plain.settings["temperature"]


SENTENCES = 24


@pytest.fixture(scope="module")
def real_model():
    """A classifier, its tokenizer, and sentences to fit a temperature on and to attack."""
    train = load_dataset("parquet", data_files={"train": real_file("sst2/train_sentences.parquet")}, split="train")
    data = load_dataset("parquet", data_files={"validation": real_file("sst2/validation.parquet")})
    mixed = train.shuffle(seed=0)
    model, tokenizer = short_minilm(mixed.select(range(640)))
    return model, tokenizer, {"train": mixed.select(range(640, 1040)), "validation": data["validation"]}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["deepwordbug", "pwws"])
def test_figures_on_real_sentences_stand_whatever_is_done_to_the_logits(recipe, real_model, monkeypatch):
    """MiniLM after a short training, on sentences of SST-2."""
    model, tokenizer, data = real_model
    if missing := [RESOURCES[name].missing() for name in get_recipe(recipe).resources if RESOURCES[name].missing()]:
        pytest.skip(f"needs NLTK_DATA: {missing}")
    forward, found = model.forward, {}
    for name, change in {
        "as it is": lambda logits: logits,
        "x 0.01": lambda logits: logits * 0.01,
        "x 100": lambda logits: logits * 100,
        "bfloat16": lambda logits: logits.bfloat16(),
    }.items():

        def changed(*args, change=change, **kwargs):
            outputs = forward(*args, **kwargs)
            outputs.logits = change(outputs.logits)
            return outputs

        monkeypatch.setattr(model, "forward", changed)
        options = {"recipes": [recipe], "num_examples": SENTENCES, "max_length": 64, "progress": False}
        report = evaluate_robustness(
            model, data["validation"], tokenizer, calibrate=True, development_data=data["train"], **options
        )
        found[name] = report[recipe].at_temperatures | {"figure": report[recipe].accuracy_under_attack}
    logging.getLogger(__name__).warning("%s: %s", recipe, found)
    assert len({each["accuracy_at_temperature"] for each in found.values()}) == 1, found
    assert found["x 100"]["accuracy_at_1"] >= found["as it is"]["accuracy_at_1"]
    assert len({each["figure"] for each in found.values()}) == 1, found
