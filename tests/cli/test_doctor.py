"""`robust-tickets doctor`: what it says of this environment, of empty folders, of stand-ins."""

from __future__ import annotations

import configparser
import importlib.metadata
import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest

from hf_robust_tickets.cli.doctor import EXTRAS, PACKAGES, TEXTATTACK
from hf_robust_tickets.cli.main import main
from hf_robust_tickets.evaluation import list_recipes
from hf_robust_tickets.evaluation.recipes import outlook
from hf_robust_tickets.evaluation.recipes.outlook import foresee
from hf_robust_tickets.evaluation.resources import RESOURCES, VECTORS_FILES

ROOT = Path(__file__).parents[2]


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A machine on which no resource lies, and from which nothing can be fetched."""
    for name in ("NLTK_DATA", "TA_CACHE_DIR", "TFHUB_CACHE_DIR", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "empty"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "empty"), raising=False)
    if importlib.util.find_spec("nltk") is not None:
        monkeypatch.setattr("nltk.data.path", [str(tmp_path / "empty")])
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("doctor went to the network"))
    monkeypatch.setattr(outlook, "TEXTATTACK", ("json",))  # what is said of resources is the same without TextAttack
    return tmp_path


def doctor(capsys, *line) -> dict:
    assert main(["doctor", "--json", *line]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_extras_are_those_of_the_package():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    declared = {}
    for extra, lines in config["options.extras_require"].items():
        wanted = [
            re.split(r"[>=<]", line)[0] for line in lines.split("\n") if line and not line.startswith("hf_robust")
        ]
        declared[extra] = {name.strip() for name in wanted}
    known = {extra: set(packages) for extra, (_, packages) in EXTRAS.items()}
    assert known == {extra: names for extra, names in declared.items() if extra not in ("docs", "dev")}
    always = {re.split(r"[>=<]", line)[0] for line in config["options"]["install_requires"].split("\n") if line}
    assert set(PACKAGES) < always


def test_versions_and_what_extras_lack(capsys, monkeypatch):
    there = importlib.util.find_spec
    gone = {"matplotlib", "nltk", "textattack"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in gone else there(name, *rest))
    found = doctor(capsys)
    assert found["versions"]["torch"] == importlib.metadata.version("torch")
    assert found["extras"]["plots"]["missing"] == ["matplotlib"]
    assert found["extras"]["plots"]["command"] == "pip install 'hf_robust_tickets[plots]'"
    assert found["extras"]["attack"]["missing"][-1] == "textattack" and "nltk" in found["extras"]["attack"]["missing"]
    assert found["extras"]["attack"]["command"] == f"pip install 'hf_robust_tickets[attack]' && {TEXTATTACK}"
    assert not any(recipe["runs"] for recipe in found["recipes"].values())
    assert found["resources"]["wordnet"]["detail"] == "not found: Python package nltk"


def test_on_an_empty_machine_what_needs_nothing_runs(empty, capsys):
    found = doctor(capsys)
    assert set(found["recipes"]) == set(list_recipes()) and set(found["resources"]) == set(RESOURCES)
    runs = {name for name, recipe in found["recipes"].items() if recipe["runs"]}
    assert "deepwordbug" in runs and not runs & {"textfooler", "pwws", "bae", "clare", "a2t", "checklist"}
    textfooler = found["recipes"]["textfooler"]
    assert set(textfooler["missing"]) == {"counter-fitted-vectors", "pos-tagger", "sentence-encoder"}
    assert "robust-tickets resources fetch counter-fitted-vectors" in textfooler["commands"]
    assert textfooler["comparable"] and not found["recipes"]["hard-label"]["comparable"]
    assert not (empty / "empty").exists()
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "no: counter-fitted-vectors, pos-tagger, sentence-encoder" in said and "To get what is missing:" in said
    assert "robust-tickets resources fetch gpt2" in said and "hf download" not in said  # each thing once


def test_named_recipes_decide_about_the_exit_status(empty, capsys):
    assert main(["doctor", "--recipes", "deepwordbug"]) == 0
    assert main(["doctor", "--recipes", "deepwordbug", "textfooler"]) == 1
    assert "textfooler cannot run here" in capsys.readouterr().err
    assert main(["doctor", "--recipes", "textfoler"]) == 2
    assert "expected a recipe among" in capsys.readouterr().err


def test_stand_ins_are_said_as_the_report_says_them(empty, capsys):
    vectors = empty / "vectors"
    vectors.mkdir()
    for name in VECTORS_FILES:
        np.save(vectors / "array.npy", np.zeros((7, 3), dtype=np.float32))
        (vectors / "array.npy").rename(vectors / name)
    (empty / "encoder").mkdir()
    stand_ins = {"sentence_encoder": str(empty / "encoder"), "masked_language_model": str(empty / "encoder")}
    textfooler, clare, swaps = foresee(["textfooler", "clare", "deepwordbug"], **stand_ins, word_vectors=str(vectors))
    assert [status.name for status in textfooler.missing] == ["pos-tagger"]
    assert textfooler.not_comparable == (
        f"the sentence encoder {empty / 'encoder'} stands in for the Universal Sentence Encoder",
        "word vectors of 7 words x 3 stand in for the published counter-fitted ones of 65713 words x 300",
    )
    assert clare.not_comparable[1] == (
        f"the masked language model {empty / 'encoder'} stands in for distilbert/distilroberta-base"
    )
    assert swaps.runs and swaps.not_comparable == ()
    (vectors / "paragram.npy").write_bytes(b"no array")
    damaged = foresee(["textfooler"], word_vectors=str(vectors))[0]
    assert "expected an array" in next(s.detail for s in damaged.missing if s.name == "counter-fitted-vectors")
