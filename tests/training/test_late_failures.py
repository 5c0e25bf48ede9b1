"""What would fail late is said before the search trains, and a refusal leaves the folder as it was."""

from __future__ import annotations

import logging

import pytest
import transformers
from datasets import ClassLabel, Dataset
from transformers import TrainerCallback

from hf_robust_tickets import RobustSelectionCallback, RobustTicketTrainer
from hf_robust_tickets.errors import ConfigurationError, DataError, RobustTicketsError
from hf_robust_tickets.training import CatastrophicOverfittingCallback, RobustOverfittingCallback
from hf_robust_tickets.training.checks.late import check_labels_fit
from hf_robust_tickets.training.jobs.checkpoints import checkpoints
from tests.testing.jobs import make_args, make_trainer
from tests.testing.sparse_training import make_sparse_trainer
from tests.testing.tiny import tiny_bert, tiny_data, tiny_tokenizer

TRACES = ["_job.json", "_search", "ticket.safetensors", "search_log.json", "cost.json"]


def left_in(folder):
    return [name for name in TRACES if (folder / name).exists()] + checkpoints(folder)


def labelled(labels, size=32):
    data = tiny_data(size).remove_columns("labels")
    return data.add_column("labels", labels + [0, 1] * ((size - len(labels)) // 2))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 2], r"class number in 0\.\.1, those of the model, in 'labels' of row 1 of the evaluation data, got 2"),
        ([0, 0, 0, -1], r"row 3 of the evaluation data, got -1"),
    ],
)
def test_labels_of_the_evaluation_data(tmp_path, labels, said):
    with pytest.raises(DataError, match=said):
        RobustTicketTrainer(
            model=tiny_bert(), args=make_args(tmp_path), train_dataset=tiny_data(32), eval_dataset=labelled(labels)
        )
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("column", "said"),
    [([0.0, 1.0], "got float32 such as 0.0"), ([True, False], "got bool such as True"), (["a", "b"], "such as 'a'")],
)
def test_labels_of_other_kinds(column, said):
    with pytest.raises(DataError, match=said):
        check_labels_fit(Dataset.from_dict({"label": column}), tiny_bert(), "the training data")


@pytest.mark.parametrize("column", [[0, 1], [0, -100], [[0.0, 1.0], [1.0, 0.0]]])
def test_labels_that_may_be_right(column):
    check_labels_fit(Dataset.from_dict({"label": column}), tiny_bert(), "the training data")
    check_labels_fit(Dataset.from_dict({"label": [0.5, 2.0]}), tiny_bert(num_labels=1), "the training data")


@pytest.mark.parametrize(
    "options",
    [
        {"lr_scheduler_type": "cosine_with_min_lr"},
        {"lr_scheduler_type": "linear", "lr_scheduler_kwargs": {"nothing": 1}},
        {"optim": "adamw_bnb_8bit"},
    ],
)
def test_a_schedule_or_an_optimiser_that_cannot_be_made(tmp_path, options):
    with pytest.raises(ConfigurationError, match="expected an optimiser and a schedule that can be made"):
        make_trainer(tmp_path, **options)
    assert left_in(tmp_path) == []


def development(texts, labels):
    return [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]


def test_rows_that_only_a_callback_reads_are_named_before_the_search(tmp_path):
    texts = [f"w{i + 5} w{i + 6}" for i in range(8)]
    with pytest.raises(DataError, match=r"column 'text' of row 5 of the development data, got a blank text"):
        RobustSelectionCallback(development([*texts[:5], "  ", *texts[6:]], [0, 1] * 4))
    with pytest.raises(DataError, match=r"label in 'label' of row 2 of the development data, got an empty cell"):
        RobustSelectionCallback(development(texts, [0, 1, None, 1] * 2))
    pytest.importorskip("nltk")
    callback = RobustSelectionCallback(development(texts, [0, 1, 0, 7] * 2), tokenizer=tiny_tokenizer())
    with pytest.raises(DataError, match=r"row 3 of the development data, got 7"):
        make_trainer(tmp_path, callbacks=[callback]).train()
    assert left_in(tmp_path) == []


def test_unlabelled_rows_of_a_callback_are_left_out(caplog):
    data = Dataset.from_dict({"text": ["w5 w6"] * 6, "label": [-1, 0, 1, 0, 1, -1]})
    data = data.cast_column("label", ClassLabel(names=["a", "b"]))
    callback = RobustSelectionCallback(data)
    assert sorted(callback._sample["label"]) == [0, 0, 1, 1] and "2 rows of the development data" in caplog.text


class Refuse(TrainerCallback):
    """Refuses when a training begins, as callbacks do that find out there what cannot be right."""

    def on_train_begin(self, args, state, control, **kwargs):
        raise ConfigurationError("expected another option")


def test_a_job_that_is_refused_poisons_no_folder(tmp_path):
    refused = make_trainer(tmp_path, head_sparsity=0.25)
    refused._own_callbacks.append(Refuse())
    with pytest.raises(RobustTicketsError, match="expected another option"):
        refused.train()
    assert left_in(tmp_path) == []
    assert make_trainer(tmp_path, head_sparsity=0.5).search().head_counts is not None


def test_a_job_that_was_killed_before_it_had_anything_poisons_no_folder(tmp_path):
    """The description of the job and its first weights are there, and no more."""
    killed = make_trainer(tmp_path, head_sparsity=0.25)
    killed._open_job(resume=False)
    assert left_in(tmp_path) == ["_job.json", "_search"]
    other = make_trainer(tmp_path, model=tiny_bert(seed=3), head_sparsity=0.5)
    other.train()
    assert other.ticket is not None and not list(tmp_path.glob("_earlier-*"))


def test_metrics_count_the_whole_job(tmp_path):
    trainer = make_trainer(tmp_path)
    output = trainer.train()
    cost, metrics = trainer.cost, output.metrics
    assert metrics["total_flos"] == cost["search"]["theoretical_flops"] + cost["finetune"]["theoretical_flops"]
    seconds = sum(phase["seconds"] for phase in cost.values())
    assert metrics["train_runtime"] == pytest.approx(seconds, abs=1e-3)
    assert metrics["search_steps"] == cost["search"]["steps"] and metrics["finetune_steps"] == 8
    bird = make_sparse_trainer(tmp_path / "bird", args={"save_strategy": "no"})
    metrics = bird.train().metrics
    assert metrics["finetune_steps"] == 16 and metrics["search_runtime"] < metrics["train_runtime"]


def test_training_is_completed_once(tmp_path, monkeypatch):
    said = []

    class Keep(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    transformers.logging.set_verbosity_info()
    stock = logging.getLogger("transformers.trainer")
    handler = Keep()
    stock.addHandler(handler)
    try:
        make_trainer(tmp_path, log_level="info").train()
    finally:
        stock.removeHandler(handler)
        transformers.logging.set_verbosity_warning()
    assert sum("Training completed" in line for line in said) == 1
    assert sum("Running training" in line for line in said) == 2


def test_a_second_job_of_one_trainer_works_or_says_what_to_do(tmp_path):
    trainer = make_trainer(tmp_path / "tickets")
    trainer.train()
    with pytest.raises(ConfigurationError, match="pruned already: pass the dense model"):
        trainer.train()
    bird = make_sparse_trainer(tmp_path / "bird", args={"save_strategy": "no"})
    bird.train()
    first = bird.sparse.masks
    bird.train()
    assert bird.sparse.masks.keys() == first.keys()


@pytest.mark.parametrize(
    ("watch", "source"),
    [
        (lambda data: RobustOverfittingCallback({"train": tiny_data(8), "held out": data}), "the split 'held out'"),
        (CatastrophicOverfittingCallback, "the held-out examples"),
    ],
    ids=["overfitting", "catastrophic"],
)
def test_rows_that_only_a_callback_of_the_fine_tuning_reads(tmp_path, watch, source):
    with pytest.raises(DataError, match=rf"row 1 of {source}, got 2"):
        trainer = RobustTicketTrainer(
            model=tiny_bert(),
            args=make_args(tmp_path),
            train_dataset=tiny_data(32),
            callbacks=[watch(labelled([0, 2]))],
        )
        trainer.train()
    assert left_in(tmp_path) == []


def test_an_empty_split_of_a_callback(tmp_path):
    watch = RobustOverfittingCallback({"train": tiny_data(8), "test": tiny_data(8).select([])})
    with pytest.raises(DataError, match="got none in 'test'"):
        RobustTicketTrainer(
            model=tiny_bert(), args=make_args(tmp_path), train_dataset=tiny_data(32), callbacks=[watch]
        ).train()
    assert left_in(tmp_path) == []
