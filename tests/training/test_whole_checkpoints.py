"""A checkpoint counts as complete only if all that resuming needs is whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from transformers import Trainer, TrainingArguments

from hf_robust_tickets import AdversarialTrainer, AdversarialTrainingArguments
from hf_robust_tickets.adversaries import SMART
from hf_robust_tickets.errors import CheckpointError
from hf_robust_tickets.training.jobs.checkpoints import SEAL, last_complete_checkpoint, seal, why_incomplete
from tests.testing.tiny import tiny_bert, tiny_data, tiny_tokenizer


def train(folder: Path, kind: type = AdversarialTrainer, resume: object = None, **options) -> Trainer:
    arguments = TrainingArguments if kind is Trainer else AdversarialTrainingArguments
    args = arguments(
        str(folder), max_steps=4, save_steps=2, per_device_train_batch_size=8, report_to="none", disable_tqdm=True
    )
    parts = {"train_dataset": tiny_data(32), "processing_class": tiny_tokenizer()}
    trainer = kind(model=tiny_bert(), args=args, **parts, **options)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Checkpoints at steps 2 and 4, with a state of the adversary."""
    folder = tmp_path_factory.mktemp("trained")
    train(folder, adversary=SMART())
    return folder


@pytest.fixture(scope="module")
def stock(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stock")
    train(folder, kind=Trainer)
    return folder


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoint-4").iterdir())


def test_what_a_checkpoint_holds(trained, stock):
    assert last_complete_checkpoint(trained) == str(trained / "checkpoint-4")
    assert last_complete_checkpoint(stock) == str(stock / "checkpoint-4")
    needed = {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"}
    assert set(files_of(trained)) >= {*needed, "adversary_weight_average.safetensors", "config.json", SEAL}
    assert set(files_of(stock)) >= needed


@pytest.mark.parametrize("kind", ["ours", "stock"])
@pytest.mark.parametrize("damage", ["removed", "empty", "half", "last bytes", "zeros at the end"])
def test_any_file_that_is_not_whole_sends_back_to_the_checkpoint_before(
    trained, stock, tmp_path, caplog, kind, damage
):
    source = trained if kind == "ours" else stock
    # Without a seal nothing says that a tokenizer or the arguments belong to a checkpoint; what resuming needs does.
    needed = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
    names = [name for name in files_of(source) if name != SEAL] if kind == "ours" else needed
    for name in names:
        folder = tmp_path / name
        shutil.copytree(source, folder)
        path = folder / "checkpoint-4" / name
        size = path.stat().st_size
        if damage == "removed":
            path.unlink()
        elif damage == "zeros at the end":
            with path.open("r+b") as file:
                file.seek(-min(size, 200), os.SEEK_END)
                file.write(bytes(min(size, 200)))
            if path.suffix in (".safetensors", ".txt", ".jinja"):
                continue  # the same length, and no end by which it could be told
        else:
            os.truncate(path, {"empty": 0, "half": size // 2, "last bytes": size - 2}[damage])
        caplog.clear()
        assert last_complete_checkpoint(folder) == str(folder / "checkpoint-2"), name
        assert "checkpoint-4 is incomplete" in caplog.text and name.split("_")[0].split(".")[0] in caplog.text


def test_random_states_of_all_ranks(trained, stock, tmp_path):
    for source in (trained, stock):
        folder = tmp_path / source.name
        shutil.copytree(source, folder)
        last = folder / "checkpoint-4"
        (last / "rng_state.pth").rename(last / "rng_state_1.pth")
        shutil.copyfile(last / "rng_state_1.pth", last / "rng_state_0.pth")
        if (last / SEAL).exists():
            (last / SEAL).unlink()
            seal(last, processes=2)
        assert last_complete_checkpoint(folder) == str(last)
        (last / "rng_state_0.pth").unlink()
        assert "rng_state_0.pth" in why_incomplete(last) or "ranks [1] alone" in why_incomplete(last)


def test_a_shard_that_is_missing(tmp_path):
    tiny_bert().save_pretrained(tmp_path / "checkpoint-1", max_shard_size="20KB")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({}, tmp_path / "checkpoint-1" / name)
    (tmp_path / "checkpoint-1/trainer_state.json").write_text("{}")
    assert last_complete_checkpoint(tmp_path) is not None
    shard = sorted((tmp_path / "checkpoint-1").glob("model-*.safetensors"))[1]
    shard.unlink()
    assert why_incomplete(tmp_path / "checkpoint-1") == f"no {shard.name}"


def test_resuming_passes_over_what_is_not_whole_and_ends_with_the_same_weights(trained, tmp_path):
    expected = torch.load(trained / "checkpoint-4/optimizer.pt", weights_only=True)
    folder = tmp_path / "again"
    shutil.copytree(trained, folder)
    os.truncate(folder / "checkpoint-4/optimizer.pt", 1000)
    train(folder, resume=True, adversary=SMART())
    found = torch.load(folder / "checkpoint-4/optimizer.pt", weights_only=True)
    for key, state in expected["state"].items():
        assert torch.equal(state["exp_avg"], found["state"][key]["exp_avg"])


@pytest.mark.parametrize("kind", [AdversarialTrainer])
def test_a_named_checkpoint_that_is_damaged_or_absent_is_one_line(trained, tmp_path, kind):
    folder = tmp_path / "again"
    shutil.copytree(trained, folder)
    os.truncate(folder / "checkpoint-4/optimizer.pt", 1000)
    for path, message in ((folder / "checkpoint-4", r"optimizer\.pt is damaged"), (folder / "none", "no such folder")):
        with pytest.raises(CheckpointError, match=message) as caught:
            train(folder, resume=str(path), adversary=None)
        assert "\n" not in str(caught.value)


def test_a_checkpoint_of_the_stock_trainer_is_continued(stock, tmp_path):
    folder = tmp_path / "stock"
    shutil.copytree(stock, folder)
    shutil.rmtree(folder / "checkpoint-4")
    trainer = train(folder, resume=True, adversary=None)
    assert trainer.state.global_step == 4
    expected, found = (
        torch.load(place / "checkpoint-4/optimizer.pt", weights_only=True)["state"] for place in (stock, folder)
    )
    assert all(torch.equal(state["exp_avg"], found[key]["exp_avg"]) for key, state in expected.items())
