"""Masks are equal on all ranks: real processes, gloo on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

from tests.testing.paths import ROOT
from tests.testing.ranks import TORCHRUN, run_ranks

WORKER = """
import sys
sys.path.insert(0, {root!r})
import hashlib, json
from tests.testing.tiny import tiny_bert, tiny_data
from hf_robust_tickets import AdversarialTrainer, FlyingBird, FlyingBirdPlus, RobustBird, SparseTrainingCallback
from hf_robust_tickets.adversaries import FreeLB
from hf_robust_tickets.sparse import SNIP, GraSP, SynFlow, Taylor
from hf_robust_tickets.sparse.packing import masks_to_json
from transformers import TrainingArguments

methods = [
    FlyingBird(density=0.2, period=2), FlyingBird(density=0.2, period=2, growth="random"),
    FlyingBirdPlus(density=0.2, period=2, start_epoch=0, window=1),
    RobustBird(density=0.2, patience=2, tolerance=0.3), SNIP(density=0.2), GraSP(density=0.2),
    Taylor(density=0.2, warmup_steps=1, scored_steps=3), SynFlow(density=0.2, iterations=10),
]
for number, method in enumerate(methods):
    without = ["query", "key"] if method.name == "synflow" else None
    callback = SparseTrainingCallback(method, exclude=without)
    args = TrainingArguments(
        output_dir={folder!r}, per_device_train_batch_size={batch}, num_train_epochs=3, learning_rate=1e-2,
        save_strategy="no", eval_strategy="epoch", logging_strategy="no", report_to="none", disable_tqdm=True,
        use_cpu=True, ddp_backend={backend!r})
    model = tiny_bert()
    AdversarialTrainer(model=model, args=args, train_dataset=tiny_data(), eval_dataset=tiny_data(16, seed=2),
                       adversary=FreeLB(steps=2, init_magnitude=0.0), callbacks=[callback]).train()
    parameters = dict(model.named_parameters())
    zero = all(not parameters[n].detach()[~m].any() for n, m in callback.masks.items())
    text = json.dumps([masks_to_json(callback.masks), callback.records, callback.distances], sort_keys=True)
    line = [number, zero, round(callback.density, 6), hashlib.sha256(text.encode()).hexdigest()]
    with open({folder!r} + f"/rank-{{args.process_index}}.jsonl", "a") as file:
        file.write(json.dumps(line) + "\\n")
"""


def masks(folder: Path, ranks: int, batch: int) -> list[list]:
    folder.mkdir()
    script = WORKER.format(root=str(ROOT), folder=str(folder), batch=batch, backend="gloo" if ranks > 1 else None)
    run_ranks(script, folder / "worker.py", [*TORCHRUN[:-1], str(ranks)])
    return [json.loads(line) for path in folder.glob("rank-*.jsonl") for line in path.read_text().splitlines()]


def test_masks_are_equal_on_two_ranks(tmp_path):
    found = masks(tmp_path / "two", ranks=2, batch=4)
    assert len(found) == 16 and len({tuple(line) for line in found}) == 8, found
    assert all(zero for _, zero, _, _ in found)
    densities = {number: density for number, _, density, _ in found if number not in (2, 7)}
    assert densities == dict.fromkeys((0, 1, 3, 4, 5, 6), 0.200023)
    # Masks of the first batch are those of one process that has it alone.
    alone = {number: text for number, _, _, text in masks(tmp_path / "one", ranks=1, batch=8)}
    assert {number: text for number, _, _, text in found if number in (4, 5, 7)} == {n: alone[n] for n in (4, 5, 7)}
