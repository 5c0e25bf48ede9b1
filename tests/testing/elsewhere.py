"""Opens saved models in a process that cannot import this package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from hf_robust_tickets.tickets import save_pruned
from tests.testing.families import TASKS, task_inputs

_SCRIPT = """
import json, pathlib, sys
sys.modules["hf_robust_tickets"] = None
import torch, transformers
from safetensors.torch import load_file, save_file
for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    auto = getattr(transformers, (folder / "auto.txt").read_text())
    model = auto.from_pretrained(folder, trust_remote_code=True).eval()
    with torch.no_grad():
        save_file({"logits": model(**load_file(folder / "inputs.st"))[0].contiguous()}, folder / "stock.st")
    model.save_pretrained(folder / "again")
    if (folder / "tokenizer_config.json").exists():
        classify = transformers.pipeline(
            "text-classification", model=str(folder), trust_remote_code=True, top_k=None
        )
        (folder / "pipeline.json").write_text(json.dumps({row["label"]: row["score"] for row in classify("a b c")[0]}))
"""


def save_case(folder: Path, family: str, task: str, model: Any, tokenizer: Any = None, **options: Any) -> None:
    """Saves a pruned model beside the inputs that it is to be asked with."""
    if options:
        model.save_pretrained(folder, **options)
    else:
        save_pruned(model, folder, tokenizer=tokenizer)
    save_file({k: v.contiguous() for k, v in task_inputs(family, task).items()}, folder / "inputs.st")
    (folder / "auto.txt").write_text(TASKS[task][1])


def open_elsewhere(root: Path, home: Path) -> None:
    """Opens every folder below `root` with stock transformers; see `logits_elsewhere`."""
    script = home / "stock.py"
    script.write_text(_SCRIPT)
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, str(script), str(root)]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def logits_elsewhere(folder: Path) -> torch.Tensor:
    """What the other process got."""
    return load_file(folder / "stock.st")["logits"]


def scores_elsewhere(folder: Path) -> dict[str, float]:
    """What a text-classification pipeline made of "a b c" there."""
    return json.loads((folder / "pipeline.json").read_text())
