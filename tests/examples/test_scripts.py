"""The examples, run as users run them: a process, a folder with a model, files with texts."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModelForSequenceClassification, BertTokenizerFast

from hf_robust_tickets import load_pruned
from tests.testing.paths import ROOT
from tests.testing.tiny import tiny_bert

EXAMPLES = ROOT / "examples"
GOOD, BAD, PLAIN = (
    ["fine", "lovely", "great"],
    ["dull", "awful", "poor"],
    ["film", "plot", "cast", "scene", "the", "a"],
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A folder with a tiny encoder and a tokenizer of words."""
    folder = tmp_path_factory.mktemp("model")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *PLAIN]
    bare = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    bare.normalizer, bare.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    bare.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    BertTokenizerFast(tokenizer_object=bare).save_pretrained(folder)
    tiny_bert(hidden_dropout_prob=0.1).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    """Texts whose label is the name of their one telling word's list, as json and as parquet."""
    folder, draw = tmp_path_factory.mktemp("data"), random.Random(0)
    found = {}
    for split, size in (("train", 48), ("validation", 16), ("test", 8)):
        rows = []
        for i in range(size):
            words = [*draw.choices(PLAIN, k=draw.randint(3, 6)), draw.choice(BAD if i % 2 else GOOD)]
            draw.shuffle(words)
            rows.append({"sentence": " ".join(words), "label": "bad" if i % 2 else "good"})
        (folder / f"{split}.json").write_text("\n".join(json.dumps(row) for row in rows))
        numbered = [{**row, "label": int(row["label"] == "good")} for row in rows]
        Dataset.from_list(numbered).to_parquet(folder / f"{split}.parquet")
        found[split] = str(folder / f"{split}.json")
    return found


# Runs scripts one after the other as `python SCRIPT OPTIONS` would, but imports once; a job may remove a file first.
DRIVER = """
import json, os, runpy, sys
for name, script, options, remove in json.loads(sys.argv[1]):
    if remove:
        os.remove(remove)
    print("JOB", name, flush=True)
    sys.argv = [script, *options]
    runpy.run_path(script, run_name="__main__")
"""


def run(jobs: list[tuple[str, Path, list[str], str | None]], cwd: Path) -> dict[str, str]:
    """What each job printed."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment["HF_HOME"] = str(cwd / "cache")
    given = json.dumps([[name, str(script), options, remove] for name, script, options, remove in jobs])
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, given], capture_output=True, text=True, timeout=600, cwd=cwd, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    parts = re.split(r"^JOB (\S+)\n", done.stdout, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def glue_options(model: str, files: dict[str, str], output: Path) -> list[str]:
    return [
        "--model_name_or_path", model, "--train_file", files["train"], "--validation_file", files["validation"],
        "--test_file", files["test"], "--do_train", "--do_eval", "--do_predict", "--max_train_samples", "40",
        "--max_eval_samples", "12", "--max_predict_samples", "6", "--max_seq_length", "12", "--pad_to_max_length",
        "--num_train_epochs", "1", "--per_device_train_batch_size", "8", "--save_steps", "2", "--use_cpu",
        "--output_dir", str(output), "--learning_rate", "1e-3", "--disable_tqdm", "true",
    ]  # fmt: skip


def variant(tmp_path: Path, trainer: str, arguments: str, module: str) -> Path:
    """The script with its two imports replaced, and nothing else."""
    source = (EXAMPLES / "run_glue.py").read_text()
    changed, count = re.subn(
        r"from hf_robust_tickets import \w+ as Trainer\nfrom hf_robust_tickets import \w+ as TrainingArguments\n",
        f"from {module} import {trainer} as Trainer\nfrom {module} import {arguments} as TrainingArguments\n",
        source,
    )
    assert count == 1
    different = [a for a, b in zip(source.splitlines(), changed.splitlines(), strict=True) if a != b]
    assert len(different) <= 2
    path = tmp_path / f"{trainer}.py"
    path.write_text(changed)
    return path


def pair_options(model: str, output: Path) -> str:
    """A file with all options: pairs of texts with numbers for labels, in csv files."""
    draw = random.Random(1)
    options: dict[str, Any] = {}
    for split, size in (("train", 16), ("validation", 8), ("test", 4)):
        rows = ["left,number,right"]
        rows += [f"{draw.choice(GOOD)} film,{i % 4 + 0.5},a {draw.choice(BAD)} plot" for i in range(size)]
        file = output.parent / f"pairs-{split}.csv"
        file.write_text("\n".join(rows))
        options[f"{split}_file"] = str(file)
    options |= {
        "model_name_or_path": model, "text_columns": ["left", "right"], "label_column": "number", "do_train": True,
        "do_eval": True, "do_predict": True, "max_steps": 2, "save_strategy": "no", "use_cpu": True,
        "disable_tqdm": True, "output_dir": str(output), "adversary": "smart", "learning_rate": 1e-3,
        "ignore_mismatched_sizes": True,
    }  # fmt: skip
    path = output.parent / "pairs.json"
    path.write_text(json.dumps(options))
    return str(path)


@pytest.fixture(scope="module")
def finished(model, files, tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """The folder with the outputs of all jobs, and what each printed."""
    folder = tmp_path_factory.mktemp("jobs")
    parquet = {split: file.replace(".json", ".parquet") for split, file in files.items()}
    by_batch = [o for o in glue_options(model, parquet, folder / "by-batch") if o != "--pad_to_max_length"]
    again = [o.replace("by-batch", "cut") for o in by_batch]
    ours = variant(folder, "AdversarialTrainer", "AdversarialTrainingArguments", "hf_robust_tickets")
    stock = variant(folder, "Trainer", "TrainingArguments", "transformers")
    tickets = variant(folder, "RobustTicketTrainer", "RobustTicketArguments", "hf_robust_tickets")
    few_batches = ["--score_warmup", "1", "--score_batches", "4"]
    cut = str(folder / "cut" / "checkpoint-5" / "trainer_state.json")
    jobs = [
        ("ours", ours, [*glue_options(model, files, folder / "ours"), "--adversary_steps", "2"], None),
        ("stock", stock, glue_options(model, files, folder / "stock"), None),
        ("tickets", tickets, [*glue_options(model, files, folder / "tickets"), *few_batches], None),
        ("by-batch", ours, by_batch, None),
        ("first", ours, again, None),
        ("resumed", ours, [*again, "--resume_from_checkpoint", "true"], cut),
        ("pairs", ours, [pair_options(model, folder / "pairs")], None),
        (
            "predict", ours,
            ["--model_name_or_path", str(folder / "by-batch"), "--test_file", parquet["test"], "--do_predict",
             "--use_cpu", "--output_dir", str(folder / "predict"), "--disable_tqdm", "true"], None,
        ),
        (
            "finetune", EXAMPLES / "finetune_robust_ticket.py",
            ["--model", model, "--train_file", parquet["train"], "--validation_file", parquet["validation"],
             "--output_dir", str(folder / "finetune"), "--epochs", "1", "--search_epochs", "80"], None,
        ),
    ]  # fmt: skip
    return folder, run(jobs, cwd=folder)


@pytest.mark.parametrize(("name", "passes"), [("ours", 2), ("stock", 1)])
def test_run_glue_with_either_pair_of_imports(name, passes, finished):
    output = finished[0] / name
    check_outputs(output)
    loaded = AutoModelForSequenceClassification.from_pretrained(output)
    assert loaded.config.id2label == {0: "bad", 1: "good"}
    plain = 6 * 40 * 12 * loaded.num_parameters(exclude_embeddings=True)
    assert json.loads((output / "trainer_state.json").read_text())["total_flos"] == pytest.approx(passes * plain)


def test_run_glue_cuts_a_ticket_with_two_other_imports(finished):
    check_outputs(finished[0] / "tickets")
    assert load_pruned(finished[0] / "tickets").config.robust_ticket
    assert (finished[0] / "tickets" / "ticket.safetensors").exists()


def check_outputs(output: Path) -> None:
    files = {path.name for path in output.iterdir()}
    assert {"model.safetensors", "train_results.json", "eval_results.json", "trainer_state.json", "README.md"} <= files
    metrics = json.loads((output / "all_results.json").read_text())
    assert metrics["train_samples"] == 40 and 0 <= metrics["eval_accuracy"] <= 1
    lines = (output / "predictions_test.tsv").read_text().splitlines()
    assert lines[0] == "index\tprediction" and len(lines) == 7
    assert {line.split("\t")[1] for line in lines[1:]} <= {"good", "bad"}


def test_run_glue_resumes_from_the_last_whole_checkpoint(finished):
    folder, printed = finished
    # Labels are numbers in the parquet files, and batches are padded to their longest sentence.
    lines = (folder / "cut" / "predictions_test.tsv").read_text().splitlines()
    assert {line.split("\t")[1] for line in lines[1:]} <= {"0", "1"}
    whole, resumed = (load_file(folder / name / "model.safetensors") for name in ("by-batch", "cut"))
    assert all(torch.equal(resumed[key], weight) for key, weight in whole.items())
    assert "train_runtime" in printed["resumed"]


def test_run_glue_reads_its_options_from_a_file(finished):
    output = finished[0] / "pairs"
    config = AutoModelForSequenceClassification.from_pretrained(output).config
    assert (config.num_labels, config.problem_type) == (1, "regression")
    metrics = json.loads((output / "all_results.json").read_text())
    assert metrics["eval_mse"] == pytest.approx(metrics["eval_loss"], rel=1e-4)
    lines = (output / "predictions_test.tsv").read_text().splitlines()
    assert len(lines) == 5 and all(abs(float(line.split("\t")[1])) < 100 for line in lines[1:])


def test_run_glue_predicts_with_what_it_trained(finished):
    folder, _ = finished
    whole, first_six = ((folder / name / "predictions_test.tsv").read_text() for name in ("predict", "by-batch"))
    assert len(whole.splitlines()) == 9 and whole.startswith(first_six.rstrip())
    assert not (folder / "predict" / "model.safetensors").exists()


PUSH = """
import runpy, sys
sys.argv = ["run_glue.py", *OPTIONS]
runpy.run_path(SCRIPT, run_name="__main__")
from huggingface_hub import HfApi
result = sorted(HfApi().list_repo_files("me/glue"))
"""
OPEN = """
from transformers import pipeline
result = pipeline("text-classification", REPO)("a great film")[0]["label"]
"""


def test_run_glue_pushes_to_the_hub(model, files, writer, reader, tmp_path):
    options = [*glue_options(model, files, tmp_path / "out"), "--push_to_hub", "--hub_model_id", "me/glue"]
    listed = writer.run(PUSH, OPTIONS=options, SCRIPT=str(EXAMPLES / "run_glue.py"))
    assert {"model.safetensors", "config.json", "README.md", "tokenizer.json"} <= set(listed)
    assert reader.run(OPEN, REPO="me/glue") in ("good", "bad")


def test_finetune_robust_ticket(finished):
    folder, printed = finished
    assert re.search(r"accuracy [01]\.\d+", printed["finetune"])
    assert re.search(r"kept 7 heads and \d+ neurons", printed["finetune"])
    assert load_pruned(folder / "finetune").config.robust_ticket
