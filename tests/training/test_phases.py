"""What the console and the log say of the phases of a job."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace

import pytest
import transformers
from transformers import TrainerCallback

from hf_robust_tickets.training.jobs import console
from hf_robust_tickets.training.jobs.trackers import _EndOfRun
from hf_robust_tickets.training.ticket_trainer import RobustTicketTrainer
from tests.testing.jobs import make_args, make_trainer
from tests.testing.tiny import tiny_bert, tiny_data


@pytest.fixture(autouse=True)
def default_verbosity():
    """A trainer's `log_level` is the whole process's from then on."""
    transformers.logging.set_verbosity_warning()
    yield
    transformers.logging.set_verbosity_warning()


class KeepLogs(TrainerCallback):
    """Entries of all phases; stands among the Trainer's own callbacks, which the search keeps."""

    def __init__(self) -> None:
        self.entries: list[dict] = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.entries.append({"run": args.output_dir, "step": state.global_step, **logs})


def run(folder, resume=False, **options) -> tuple[RobustTicketTrainer, list[dict]]:
    data, keep = tiny_data(32), KeepLogs()
    model = tiny_bert(hidden_dropout_prob=0.1)
    trainer = RobustTicketTrainer(model=model, args=make_args(folder, **options), train_dataset=data)
    trainer.add_callback(keep)
    trainer._own_callbacks.append(keep)
    trainer.train(resume_from_checkpoint=resume)
    return trainer, keep.entries


def said(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == console.__name__]


def test_each_phase_says_what_it_does(tmp_path, caplog):
    trainer, _ = run(tmp_path, num_train_epochs=1)
    steps = trainer.cost["search"]["steps"]
    dense, small = (sum(p.numel() for p in model.parameters()) for model in (tiny_bert(), trainer.model))
    rule = "until 2 tickets in a row are within 0.5 of an earlier one"
    assert said(caplog) == [
        f"search (1 of 2): adversarial training (freelb) with gates, {rule}; 2 epochs at most",
        f"ticket settled at step {steps}, epoch {steps / 4:.2f}",
        f"kept 7 of 8 heads, 77 of 128 neurons: {small:,} of {dense:,} parameters",
        "fine-tuning (2 of 2): plain training, 1 epoch; steps and epochs count anew",
    ]


def test_a_resumed_job_says_where_it_goes_on(tmp_path, caplog):
    run(tmp_path, save_strategy="epoch", max_steps=4)
    caplog.clear()
    run(tmp_path, save_strategy="epoch", max_steps=4, finetune_adversary="fgm", resume=True)
    lines = said(caplog)
    assert lines[0] == console.ALREADY_SEARCHED
    checkpoint = tmp_path / "checkpoint-4"
    assert lines[-1] == f"fine-tuning (2 of 2): adversarial training (fgm), 4 steps; from {checkpoint}"


def test_who_asks_for_errors_alone_is_told_nothing(tmp_path, caplog):
    run(tmp_path, max_steps=1, log_level="error")
    assert said(caplog) == []
    with caplog.at_level(logging.WARNING, logger=console.__name__):
        run(tmp_path / "other", max_steps=1)
    assert said(caplog) == []


@pytest.mark.parametrize("first", [True, False])
def test_one_process_speaks_for_all(tmp_path, caplog, first):
    rank = SimpleNamespace(is_world_process_zero=lambda: first, args=make_args(tmp_path))
    console.say(rank, "settled")
    assert said(caplog) == (["settled"] if first else [])


@pytest.mark.parametrize("set_up", [False, True])
def test_a_line_is_seen_once_with_and_without_logging_set_up(monkeypatch, capsys, set_up):
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("program: %(message)s"))
    root = logging.getLogger()
    # Not raised by what the program asks of all libraries: WARNING is the default.
    monkeypatch.setattr(root, "level", logging.WARNING)
    monkeypatch.setattr(root, "handlers", [handler] if set_up else [])
    console.logger.info("settled")
    assert capsys.readouterr().err == ("program: settled\n" if set_up else "settled\n")


@pytest.mark.parametrize("logging_steps", [500, 3])
def test_the_search_logs_all_of_its_steps_itself(tmp_path, logging_steps):
    _, entries = run(tmp_path, logging_steps=logging_steps, max_steps=2, search_max_steps=4, ticket_tolerance=1e-9)
    losses = [entry for entry in entries if "loss" in entry]
    search = [entry for entry in losses if entry["run"] != str(tmp_path)]
    assert [entry["step"] for entry in search] == ([4] if logging_steps == 500 else [3, 4])
    assert all("adversary_loss" in entry for entry in search)


def test_the_first_entry_of_a_plain_fine_tuning_has_no_attack(tmp_path):
    _, entries = run(tmp_path, logging_steps=2, max_steps=2, search_max_steps=3)
    (first,) = (entry for entry in entries if "loss" in entry and entry["run"] == str(tmp_path))
    assert not [name for name in first if name.startswith("adversary_")]


def test_who_wants_no_log_gets_none(tmp_path):
    _, entries = run(tmp_path, logging_strategy="no", max_steps=1)
    assert not [entry for entry in entries if "loss" in entry]


def test_trackers_have_a_run_for_each_phase_in_the_folder_of_the_user(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = make_trainer(tmp_path, report_to="tensorboard", logging_steps=1)
    trainer.train()
    trainer.evaluate()
    folders = sorted(path for path in tmp_path.glob("runs/*") if path.is_dir())
    search, finetune = sorted(folders, key=lambda path: not path.name.endswith("-search"))
    assert not list((tmp_path / "_search").rglob("*tfevents*"))
    steps = {}
    for path in (search, finetune):
        events = EventAccumulator(str(path)).Reload()
        steps[path] = [event.step for event in events.Scalars("train/loss")]
        assert ("eval/loss" in events.Tags()["scalars"]) == (path == finetune)
    assert steps[search] == list(range(1, trainer.search_log[-1]["step"] + 1)) and steps[finetune] == list(range(1, 9))


def test_a_tracker_that_leaves_its_run_open_is_ended_after_the_search(monkeypatch):
    """Weights & Biases has one run per process: a second training goes on in it, unless somebody ends it."""

    class Wandb:
        run, finished = None, 0

        def finish(self):
            self.run, self.finished = None, self.finished + 1

    module = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    for users_own in (False, True):
        module.run = "the user's" if users_own else None
        end = _EndOfRun()
        module.run = module.run or "the search's"
        end.on_train_end(None, None, None)
        assert module.run == ("the user's" if users_own else None) and module.finished == 1
