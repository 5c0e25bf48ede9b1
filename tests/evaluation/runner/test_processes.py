"""Several processes: their report is that of one, and no kill loses what was found."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from datasets import Dataset
from torch.distributed import TCPStore

from hf_robust_tickets.errors import (
    CheckpointError,
    ConfigurationError,
    DataError,
    MissingResourceError,
    RobustTicketsError,
)
from hf_robust_tickets.evaluation import RobustnessReport, evaluate_robustness, recipes
from hf_robust_tickets.evaluation.runner.ranks import RankGroup
from hf_robust_tickets.evaluation.runner.work_queue import WorkQueue
from tests.testing.keyword_model import keyword_model, keyword_tokenizer, rows
from tests.testing.paths import ROOT
from tests.testing.ranks import ACCELERATE, TORCHRUN
from tests.testing.tiny import tiny_bert, tiny_tokenizer

pytest.importorskip("nltk")


PARENT = """
import sys
from hf_robust_tickets.evaluation import evaluate_robustness
from tests.testing.keyword_model import keyword_model, keyword_tokenizer, rows
if __name__ == "__main__":
    evaluate_robustness(
        keyword_model(delay=0.05), rows(40), keyword_tokenizer(), recipes=["deepwordbug"], output_dir=sys.argv[1],
        num_processes=2,
    )
"""


def evaluate(model=None, data=None, **arguments):
    defaults = {"recipes": ["deepwordbug"], "progress": False}
    return evaluate_robustness(
        model or keyword_model(), data or rows(40), keyword_tokenizer(), **(defaults | arguments)
    )


def indices(folder: Path) -> list[int]:
    """Rows on disk, as often as they were attacked."""
    lines = [line for path in folder.glob("outcomes*.jsonl") for line in path.read_text().splitlines()]
    return [json.loads(line)["outcomes"]["deepwordbug"]["index"] for line in lines]


def wait_for_lines(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 200
    while len(indices(folder)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_processes_give_the_report_of_one_and_continue_it(tmp_path):
    whole = evaluate(output_dir=tmp_path / "one")
    first = evaluate(until_width=0.3, output_dir=tmp_path / "two")
    begun = indices(tmp_path / "two")
    both = evaluate(num_processes=2, output_dir=tmp_path / "two", concurrent_examples=2)
    assert both["deepwordbug"].outcomes == whole["deepwordbug"].outcomes
    assert first.sample_ids != both.sample_ids == whole.sample_ids and both.settings == whole.settings
    after = indices(tmp_path / "two")
    assert 20 < len(begun) < 60 and len(after) == 120 and sorted(after) == list(range(120))
    # nothing is left to do: no process is started, whatever the number
    start = time.monotonic()
    assert evaluate(num_processes=5, output_dir=tmp_path / "two") == both
    assert time.monotonic() - start < 5


def test_what_cannot_be_sent_is_refused(monkeypatch):
    monkeypatch.setattr(recipes.registry, "_RECIPES", dict(recipes.registry._RECIPES))
    recipes.register_recipe("mine", lambda context: recipes.get_recipe("deepwordbug").build(context))
    with pytest.raises(ConfigurationError, match=r"lambda.*num_processes=1"):
        evaluate(recipes=["mine"], num_processes=2)


@pytest.mark.slow
def test_a_killed_process_stops_the_evaluation_which_then_continues(tmp_path):
    def kill():
        wait_for_lines(tmp_path, 8)
        multiprocessing.active_children()[0].kill()

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(RobustTicketsError, match=r"ended with status -9 \(killed: out of memory\?\).*run it again"):
        evaluate(keyword_model(delay=0.05), num_processes=2, output_dir=tmp_path)
    thread.join()
    assert not multiprocessing.active_children()
    begun = len(indices(tmp_path))
    assert 8 <= begun < 120
    # with another number of processes, one of which stops by width as one process does
    assert evaluate(output_dir=tmp_path)["deepwordbug"].outcomes == evaluate()["deepwordbug"].outcomes
    assert sorted(indices(tmp_path)) == list(range(120))


@pytest.mark.slow
def test_a_killed_parent_takes_its_processes_along(tmp_path):
    folder = tmp_path / "out"
    script = tmp_path / "script.py"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, str(script), str(folder)], cwd=ROOT, env=environment)
    try:
        wait_for_lines(folder, 8)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    time.sleep(0.5)
    begun = indices(folder)
    time.sleep(2)
    assert indices(folder) == begun and 8 <= len(begun) < 120
    resumed = evaluate(num_processes=3, output_dir=folder, until_width=0.2)
    straight = evaluate(until_width=0.2)
    assert resumed["deepwordbug"].outcomes == straight["deepwordbug"].outcomes
    assert resumed.warnings == straight.warnings and len(resumed.sample_ids) < 120
    assert len(set(indices(folder))) == len(indices(folder)) < 120


@pytest.mark.slow
def test_an_error_in_a_process_is_the_error_of_the_evaluation():
    model = keyword_model()
    model.scores.weight.data[2] = float("nan")
    with pytest.raises(DataError, match="expected finite logits") as caught:
        evaluate(model, num_processes=2)
    assert any("in process" in note and "Traceback" in note for note in caught.value.__notes__)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate"])
def test_ranks_give_the_report_of_one_process(launcher, tmp_path):
    model, tokenizer = tiny_bert(seed=1), tiny_tokenizer()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    texts = [" ".join(f"w{(7 * i + 3 * j) % 55 + 5}" for j in range(6)) for i in range(60)]
    data = Dataset.from_dict({"text": texts, "label": [i % 2 for i in range(60)]})
    data.to_parquet(tmp_path / "data.parquet")
    arguments = ["--model_name_or_path", str(tmp_path / "model"), "--validation_file", str(tmp_path / "data.parquet")]
    arguments += ["--recipes", "deepwordbug", "--max_length", "32"]

    def run(folder: Path, *more: str) -> tuple[RobustnessReport, str]:
        command = [sys.executable, "-m", *launcher, "-m", "hf_robust_tickets", "evaluate", *arguments, *more]
        command += ["--output_dir", str(folder)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=ROOT, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        return RobustnessReport.load(folder / "robustness.json"), done.stdout

    def here(**more: float) -> RobustnessReport:
        return evaluate_robustness(model.eval(), data, tokenizer, recipes=["deepwordbug"], progress=False, **more)

    one, (two, said) = here(), run(tmp_path / "two")
    assert said.count("clean accuracy") == 1
    assert two["deepwordbug"].outcomes == one["deepwordbug"].outcomes and two.sample_ids == one.sample_ids
    assert one["deepwordbug"].counts["succeeded"] and one["deepwordbug"].counts["failed"]
    assert sorted(indices(tmp_path / "two")) == list(range(60))
    assert sorted(path.name for path in (tmp_path / "two").glob("*.jsonl")) == ["outcomes-1.jsonl", "outcomes.jsonl"]
    if launcher is TORCHRUN:
        (narrow, _), straight = run(tmp_path / "narrow", "--until-width", "0.3"), here(until_width=0.3)
        assert narrow["deepwordbug"].outcomes == straight["deepwordbug"].outcomes
        assert narrow.warnings == straight.warnings and "stopped after" in narrow.warnings[-1]


def test_damage_in_a_file_of_any_process_is_told(tmp_path):
    evaluate(data=rows(1), output_dir=tmp_path)
    (tmp_path / "outcomes-3.jsonl").write_text("{}\n")
    with pytest.raises(CheckpointError, match=r"line 1 of .*outcomes-3"):
        evaluate(data=rows(1), output_dir=tmp_path)
    evaluate(data=rows(1), output_dir=tmp_path, resume=False)
    assert [path.name for path in tmp_path.glob("*.jsonl")] == ["outcomes.jsonl"]


def test_a_rank_that_lacks_a_resource_stops_all():
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    ranks = []
    for rank in range(2):
        ranks = object.__new__(RankGroup)
        ranks.rank, ranks.size = rank, 2
        ranks._queue = WorkQueue(store if rank == 0 else TCPStore("127.0.0.1", store.port, is_master=False))
        ranks.append(ranks)
    leader, other = ranks
    leader.agree({"pwws": {}, "bae": {"masked_language_model": "x"}})
    other.agree({"pwws": {}, "bae": {"masked_language_model": "x"}})
    with pytest.raises(MissingResourceError, match="rank 1"), other.together():
        other.agree({"pwws": {}})
    with pytest.raises(MissingResourceError, match="on every host"):
        leader._queue.check()
