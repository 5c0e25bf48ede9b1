"""Ctrl-C and SIGTERM on the command line: one line, no traceback, no process and no file left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from datasets import Dataset

from hf_robust_tickets.cli import compare
from hf_robust_tickets.cli.main import main
from hf_robust_tickets.training.jobs.checkpoints import checkpoints
from tests.testing.paths import ROOT
from tests.testing.tiny import tiny_bert, tiny_tokenizer

SIGNALS = [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]


@pytest.mark.parametrize(("number", "status", "name"), SIGNALS)
def test_one_line_and_the_status_of_shells(monkeypatch, capsys, number, status, name):
    cleaned = []

    def run(argv):
        try:
            os.kill(os.getpid(), number)
            time.sleep(60)
        finally:
            cleaned.append(True)

    monkeypatch.setattr(compare, "run", run)
    before = signal.getsignal(signal.SIGTERM)
    assert main(["compare"]) == status and cleaned
    assert capsys.readouterr().err == f"\nrobust-tickets compare: stopped by {name}\n"
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model with its tokenizer, and sentences."""
    folder = tmp_path_factory.mktemp("signals")
    tiny_bert().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    texts = [" ".join(f"w{(7 * i + 3 * j) % 55 + 5}" for j in range(12)) for i in range(400)]
    Dataset.from_dict({"text": texts, "label": [i % 2 for i in range(400)]}).to_parquet(folder / "data.parquet")
    return folder


def train(folder, output):
    more = ["--train_file", str(folder / "data.parquet"), "--ticket_score", "gate", "--search_epochs", "1000"]
    more += ["--ticket_tolerance", "1e-9", "--save_steps", "5", "--report_to", "none"]
    return ["train", *more], lambda: checkpoints(output / "_search")


def evaluate(folder, output):
    more = ["--recipes", "deepwordbug", "--num_processes", "2", "--num_examples", "400"]
    return ["evaluate", *more], lambda: list(output.glob("outcomes*.jsonl"))


def living(group: int) -> list[str]:
    """The command lines of the processes of a group; those that have ended and wait for their parent do not count."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, _, in_group = (path / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(in_group) == group and state not in "ZX":
                found.append((path / "cmdline").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def stop(folder: Path, tmp_path: Path, verb, number: int, to_all: bool) -> tuple[int, str]:
    """Runs a verb in a session of its own until it is well under way; the exit status and the standard error."""
    output, temporary = tmp_path / "out", tmp_path / "tmp"
    temporary.mkdir()
    arguments, is_under_way = verb(folder, output)
    arguments += ["--model_name_or_path", str(folder / "model"), "--validation_file", str(folder / "data.parquet")]
    arguments += ["--output_dir", str(output), "--max_length", "16"]
    process = subprocess.Popen(
        [sys.executable, "-m", "hf_robust_tickets", *arguments],
        cwd=ROOT, env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 200
        while not is_under_way():
            assert time.monotonic() < deadline and process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        # A terminal sends Ctrl-C to all processes in front of it, a scheduler SIGTERM to one.
        (os.killpg if to_all else os.kill)(process.pid, number)
        said = process.communicate(timeout=100)[1]
    finally:
        if process.poll() is None:
            process.kill()
    time.sleep(1)
    assert living(process.pid) == []
    assert [path.name for path in temporary.rglob("*") if path.is_file() and path.stat().st_size] == []
    return process.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status", "name"), SIGNALS)
@pytest.mark.parametrize("verb", [train, evaluate])
def test_nothing_is_left_of_a_command_that_was_stopped(folder, tmp_path, verb, number, status, name):
    if verb is evaluate:
        pytest.importorskip("nltk")
    returned, said = stop(folder, tmp_path, verb, number, to_all=number == signal.SIGINT)
    assert returned == status, said
    assert "Traceback" not in said and "Error" not in said
    last = said.rstrip().splitlines()[-1]
    assert last.startswith(f"robust-tickets {verb.__name__}: stopped by {name}; ")


@pytest.mark.slow
def test_a_copy_of_the_model_does_not_outlive_a_program_that_evaluates(tmp_path):
    """SIGTERM with its usual handling, under which a program cleans nothing up."""
    pytest.importorskip("nltk")
    temporary, folder = tmp_path / "tmp", tmp_path / "out"
    temporary.mkdir()
    script = tmp_path / "script.py"
    script.write_text(
        "from hf_robust_tickets.evaluation import evaluate_robustness\n"
        "from tests.testing.keyword_model import keyword_model, keyword_tokenizer, rows\n"
        "if __name__ == '__main__':\n"
        "    evaluate_robustness(keyword_model(delay=0.05), rows(40), keyword_tokenizer(), recipes=['deepwordbug'],\n"
        f"        output_dir={str(folder)!r}, num_processes=2)\n"
    )
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, str(script)], cwd=ROOT, env=environment, start_new_session=True)
    deadline = time.monotonic() + 200
    while not list(folder.glob("outcomes*.jsonl")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.terminate()
    process.wait(timeout=60)
    time.sleep(1)
    assert living(process.pid) == []
    assert [path.name for path in temporary.rglob("*") if path.is_file() and path.stat().st_size] == []
