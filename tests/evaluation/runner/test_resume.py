"""A real process, killed without warning, on a machine that has nothing but the packages."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from hf_robust_tickets.errors import CheckpointError, DataError
from hf_robust_tickets.evaluation import evaluate_robustness
from hf_robust_tickets.evaluation.runner.store import OUTCOMES, STATE
from tests.testing.keyword_model import keyword_model, keyword_tokenizer, rows
from tests.testing.paths import ROOT

pytest.importorskip("nltk")


SCRIPT = """
import sys, time
from hf_robust_tickets.evaluation import evaluate_robustness
from tests.testing.keyword_model import KeywordModel, keyword_model, keyword_tokenizer, rows
forward = KeywordModel.forward
def slow(self, *args, **kwargs):
    time.sleep(0.05)
    return forward(self, *args, **kwargs)
KeywordModel.forward = slow
evaluate_robustness(keyword_model(), rows(20), keyword_tokenizer(), recipes=["deepwordbug"], output_dir=sys.argv[1])
"""


def run(folder):
    return evaluate_robustness(
        keyword_model(), rows(20), keyword_tokenizer(), recipes=["deepwordbug"], output_dir=folder, progress=False
    )


def lines_of(folder: Path) -> list[str]:
    path = folder / OUTCOMES
    return path.read_text().splitlines() if path.exists() else []


def test_a_killed_evaluation_continues_and_ends_like_an_unbroken_one(tmp_path):
    folder, home = tmp_path / "killed", tmp_path / "home"
    home.mkdir()
    bare = {"HOME": str(home), "NLTK_DATA": str(home), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "OMP_NUM_THREADS", "LANG"}}
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder)], cwd=ROOT, env=kept | bare, stdout=output, stderr=output
        )
        try:
            deadline = time.monotonic() + 120
            while len(lines_of(folder)) < 5:
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            with pytest.raises(CheckpointError, match="where one runs"):
                run(folder)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert "Download" not in log.read_text() and "nltk" not in log.read_text().lower()
    assert not (home / ".cache" / "textattack").exists()
    before = lines_of(folder)
    assert 5 <= len(before) < 60
    with (folder / OUTCOMES).open("a") as file:
        file.write('{"outcomes": {"deepwordbug": {"ind')  # what a kill in the middle of a line leaves

    resumed = run(folder)
    assert resumed["deepwordbug"].outcomes == run(tmp_path / "unbroken")["deepwordbug"].outcomes
    after = lines_of(folder)
    assert after[: len(before)] == before
    indices = [json.loads(line)["outcomes"]["deepwordbug"]["index"] for line in after]
    assert len(indices) == 60 and sorted(indices) == list(range(60))


@pytest.mark.parametrize("damage", [b"{}", bytes(40), b"\xff\xfe"], ids=["empty", "zeros", "no text"])
def test_a_damaged_line_is_not_passed_over(tmp_path, damage):
    run(tmp_path)
    path = tmp_path / OUTCOMES
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], damage, *lines[2:]]) + b"\n")
    with pytest.raises(CheckpointError, match="line 2"):
        run(tmp_path)


def test_what_differs_is_said_in_words(tmp_path):
    run(tmp_path)
    arguments = {"recipes": ["deepwordbug"], "output_dir": tmp_path, "progress": False, "max_length": 7}
    with pytest.raises(CheckpointError) as caught:
        evaluate_robustness(keyword_model(), rows(20), keyword_tokenizer(), num_examples=31, **arguments)
    said = str(caught.value)
    assert "(max_length: 512, now 7; sample: 60 examples, now 31 examples)" in said and "--no_resume" in said


def test_starting_over_leaves_no_old_report(tmp_path):
    run(tmp_path)
    arguments = {"recipes": ["deepwordbug"], "output_dir": tmp_path, "progress": False, "resume": False}
    model, calls_left = keyword_model(), itertools.count()

    def break_down(module, given):
        if next(calls_left) == 0:
            module.scores.weight.data.fill_(math.nan)

    model.register_forward_pre_hook(break_down)
    # A model that answers nothing from the first is refused before anything is touched.
    for after, is_left in ((0, True), (4, False)):
        calls_left, model.scores.weight.data = itertools.count(-after), keyword_model().scores.weight.data
        with pytest.raises(DataError, match="NaN"):
            evaluate_robustness(model, rows(20), keyword_tokenizer(), **arguments)
        assert (tmp_path / "robustness.json").exists() == is_left


def test_outcomes_of_other_versions_are_reported(tmp_path):
    assert run(tmp_path).warnings == ()
    state = json.loads((tmp_path / STATE).read_text())
    assert state["versions"][0]["torch"] == torch.__version__
    state["versions"][0]["torch"] = "1.0"
    (tmp_path / STATE).write_text(json.dumps(state))
    for _ in range(2):
        assert run(tmp_path).warnings == (
            f"some outcomes were found with other versions: torch 1.0, now {torch.__version__}",
        )


def test_outcomes_without_their_state_are_neither_read_nor_removed(tmp_path):
    outcomes = run(tmp_path)["deepwordbug"].outcomes
    (tmp_path / STATE).rename(tmp_path / "elsewhere")
    before = lines_of(tmp_path)
    with pytest.raises(CheckpointError, match="put it back"):
        run(tmp_path)
    assert lines_of(tmp_path) == before
    (tmp_path / "elsewhere").rename(tmp_path / STATE)
    assert run(tmp_path)["deepwordbug"].outcomes == outcomes and lines_of(tmp_path) == before
