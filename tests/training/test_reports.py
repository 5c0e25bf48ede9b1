"""What arrives where users look: TensorBoard, trackio, and the count of operations."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.adversaries import PGD, SMART, TRADES, YOPO, FreeAT, FreeLB, RDrop
from hf_robust_tickets.training.arguments import AdversaryOptions
from hf_robust_tickets.training.steps.cost import step_cost
from tests.testing.methods import METHODS
from tests.testing.paths import ROOT
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import arguments

SCALARS = {"adversary_loss", "adversary_clean_loss", "adversary_gap", "adversary_delta_norm", "adversary_flips",
           "adversary_skipped_ascents"}  # fmt: skip


def test_tensorboard_gets_the_adversarys_scalars(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    options = arguments(tmp_path, report_to="tensorboard", logging_steps=1)
    trainer = AdversarialTrainer(tiny_bert(), options, train_dataset=tiny_data(), adversary=METHODS["freelb"])
    trainer.train()
    files = list(tmp_path.rglob("events.out.tfevents.*"))
    assert len(files) == 1
    events = accumulator.EventAccumulator(str(files[0]))
    events.Reload()
    assert {f"train/{name}" for name in SCALARS} <= set(events.Tags()["scalars"])
    logged = [log["adversary_gap"] for log in trainer.state.log_history if "loss" in log]
    written = events.Scalars("train/adversary_gap")
    assert [event.step for event in written] == [1, 2, 3, 4]
    assert [event.value for event in written] == pytest.approx(logged, rel=1e-5)


TRACKED = """
import json, sys
sys.path.insert(0, {root!r})
from hf_robust_tickets import AdversarialTrainer
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.methods import METHODS
from tests.testing.training import arguments
options = arguments({folder!r}, report_to="trackio", project="attacks", run_name="tiny", logging_steps=1,
                    trackio_static_space_id=False)
AdversarialTrainer(tiny_bert(), options, train_dataset=tiny_data(), adversary=METHODS["freelb"]).train()

from trackio.sqlite_storage import SQLiteStorage
print("LOGS" + json.dumps(SQLiteStorage.get_logs("attacks", "tiny")))
"""


@pytest.mark.slow
def test_trackio_gets_the_adversarys_scalars(tmp_path):
    """In a process of its own, for trackio keeps threads."""
    pytest.importorskip("trackio")
    script = TRACKED.format(root=str(ROOT), folder=str(tmp_path / "out"))
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert list((tmp_path / "trackio").glob("attacks*")), "the database lies where it was asked for"
    logs = next(json.loads(line[4:]) for line in done.stdout.splitlines() if line.startswith("LOGS"))
    entries = [entry for entry in logs if "train/adversary_gap" in entry]
    assert len(entries) == 4 and all({f"train/{name}" for name in SCALARS} <= entry.keys() for entry in entries)


# --- operations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adversary", "options", "expected"),
    [
        (FreeLB(steps=3), {}, 3.0),
        (PGD(steps=4), {}, 3 * 2 / 3 + 1),
        (PGD(steps=4), {"adversary_clean_weight": 0.5}, 3 * 2 / 3 + 2),
        (FreeAT(steps=3), {}, 1.0),  # the replays are steps of their own
        (TRADES(steps=2), {}, 2 + 2 * 2 / 3),
        (SMART(), {}, 2 + 2 / 3 + 1 / 3),
        (RDrop(), {}, 2.0),
        (YOPO(steps=3, inner_steps=4), {}, 3 + 2 * 3 * (2 / 3) / 12),
        # Nine of twelve layers run once; three, as often as there are passes.
        (FreeLB(steps=3), {"adversary_layer": 9}, 9 / 12 + 3 * 3 / 12),
        (PGD(steps=4), {"adversary_layer": 6}, 1 / 2 + 3 / 2),
        (SMART(), {"adversary_layer": 6}, 1 / 2 + (2 + 2 / 3) / 2 + 1 / 3),
        (None, {}, 1.0),
    ],
)
def test_cost_of_a_step_by_hand(adversary, options, expected):
    cached = options.get("adversary_layer", 0) > 0
    assert step_cost(adversary, AdversaryOptions(**options), 12, cached) == pytest.approx(expected)
    if cached:
        assert step_cost(adversary, AdversaryOptions(**options), 12, False) > expected


def test_operations_in_the_state_count_the_passes(tmp_path):
    def flops(adversary, **options):
        trainer = AdversarialTrainer(
            tiny_bert(), arguments(tmp_path, max_steps=2, **options), train_dataset=tiny_data(), adversary=adversary
        )
        trainer.train()
        return trainer.state.total_flos

    plain = flops(None)
    assert flops(METHODS["trades"]) == pytest.approx((2 + 2 * 2 / 3) * plain)
    assert flops(METHODS["freelb"], adversary_layer=1) == pytest.approx((1 / 2 + 3 / 2) * plain)
    assert flops(METHODS["freelb"], adversary_every=2) == pytest.approx((3 + 1) / 2 * plain)
