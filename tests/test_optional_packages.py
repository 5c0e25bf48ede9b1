"""What is not installed is missed by nothing that does not need it."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from hf_robust_tickets.errors import MissingDependencyError

TRAIN = """
import sys
sys.modules.update(dict.fromkeys(("evaluate", "textattack", "matplotlib", "PIL", "onnx", "peft", "plotly")))
from datasets import Dataset
from hf_robust_tickets import RobustTicketArguments, RobustTicketTrainer
from tests.testing.tiny import tiny_bert, tiny_tokenizer
tokenizer = tiny_tokenizer()
rows = [{**tokenizer(f"w{5 + i} w{9 + i}"), "label": i % 2} for i in range(16)]
args = RobustTicketArguments(
    sys.argv[1], adversary="fgm", score_warmup=1, score_batches=2, search_epochs=2, round_to=1, max_steps=1,
    report_to="none", disable_tqdm=True, use_cpu=True, save_strategy="no",
)
trainer = RobustTicketTrainer(
    tiny_bert(), args, train_dataset=Dataset.from_list(rows), eval_dataset=Dataset.from_list(rows),
    processing_class=tokenizer,
)
trainer.train()
trainer.save_model()
print("loss", trainer.evaluate()["eval_loss"])
"""


def test_importing_and_training_need_no_optional_package(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(tmp_path)], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "loss" in done.stdout and (tmp_path / "ticket.safetensors").exists()


def test_the_evaluator_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "evaluate", None)
    monkeypatch.delitem(sys.modules, "hf_robust_tickets.evaluation.integrations.evaluator", raising=False)
    with pytest.raises(MissingDependencyError, match=r"hf_robust_tickets\[metric\]"):
        importlib.import_module("hf_robust_tickets.evaluation.integrations.evaluator")
