"""Training data whose words are replaced while they are read."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoConfig, DataCollatorForLanguageModeling, DataCollatorWithPadding, default_data_collator

from hf_robust_tickets import AdversarialTrainingArguments, RobustTicketArguments, RobustTicketTrainer
from hf_robust_tickets._provenance import training_resources
from hf_robust_tickets.augmentation import CharacterEdits, WordSubstitution
from hf_robust_tickets.errors import CheckpointError, ConfigurationError, DataError
from hf_robust_tickets.training import AdversarialTrainer
from hf_robust_tickets.training.augmentation.collator import AugmentingCollator
from tests.testing.augmented import NEIGHBOURS, augmented_data, augmented_trainer, texts
from tests.testing.jobs import make_args
from tests.testing.ranks import TORCHRUN, launch
from tests.testing.small_tokenizers import wordpiece
from tests.testing.tiny import tiny_bert


def neighbours(folder):
    path = folder / "list.json"
    path.write_text(json.dumps(NEIGHBOURS))
    return str(path)


def differs_by(row, original, pairs):
    """Whether a row is an original, but for words that gave way to their neighbours."""
    same_length = len(row) == len(original)
    return same_length and {(old, new) for old, new in zip(original, row) if old != new} <= pairs


def flat(batches):
    return [row for batch in batches for row in batch]


def make_collator(inner=None, seed=0, rate=0.5, **options):
    tokenizer = wordpiece()
    substitution = WordSubstitution(tokenizer, [CharacterEdits()], rate)
    inner = inner or DataCollatorWithPadding(tokenizer)
    return AugmentingCollator(inner, substitution, tokenizer, seed=seed, **{"max_length": 32, **options})


def test_words_change_in_training_anew_in_each_epoch_and_nowhere_else(tmp_path):
    trainer = augmented_trainer(tmp_path, augment_with=[neighbours(tmp_path)], eval_strategy="epoch")
    seen = []
    trainer.model.register_forward_pre_hook(
        lambda model, _, inputs: None if model.training else seen.extend(inputs["input_ids"].tolist()),
        with_kwargs=True,
    )
    trainer.train()
    originals = [tuple(row) for row in augmented_data()["input_ids"]]
    first, second = flat(trainer.rows[:4]), flat(trainer.rows[4:])
    assert len(first) == len(second) == len(originals)
    changed = [row for row in first if tuple(row) not in originals]
    assert len(changed) > 16 and sorted(first) != sorted(second)
    # Each word gives way to a neighbour of its own: here, all are one token long.
    assert sorted(map(len, first)) == sorted(map(len, originals))
    names = trainer.processing_class.convert_ids_to_tokens
    pairs = {(old, new) for old, news in NEIGHBOURS.items() for new in news}
    assert all(any(differs_by(names(row), names(list(other)), pairs) for other in originals) for row in first)
    assert {tuple(token for token in row if token) for row in seen} == set(originals)


def test_two_ranks_read_what_one_reads(tmp_path):
    one = augmented_trainer(tmp_path / "one")
    one.train()
    (tmp_path / "two").mkdir()
    options = {"output_dir": str(tmp_path / "two"), "per_device_train_batch_size": 4}
    launch(TORCHRUN, "-m", "tests.testing.augmented", json.dumps(options))
    ranks = [json.loads((tmp_path / "two" / f"rows-{rank}.json").read_text()) for rank in (0, 1)]
    assert [first + second for first, second in zip(*ranks, strict=True)] == one.rows


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_read_what_one_process_reads(tmp_path, persistent):
    alone, workers = (
        augmented_trainer(tmp_path),
        augmented_trainer(tmp_path, dataloader_num_workers=2, dataloader_persistent_workers=persistent),
    )
    alone.train()
    workers.train()
    assert workers.rows == alone.rows


@pytest.mark.parametrize("step", [2, 4, 6])
def test_resumed_reads_what_an_uninterrupted_training_reads(tmp_path, step):
    whole = augmented_trainer(tmp_path, save_strategy="steps", save_steps=2)
    whole.train()
    resumed = augmented_trainer(tmp_path, save_strategy="steps", save_steps=2)
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
    assert resumed.rows == whole.rows[step:]


def test_the_seed_decides(tmp_path):
    runs = [augmented_trainer(tmp_path, data_seed=7, seed=seed, num_train_epochs=1) for seed in (0, 1)]
    runs.append(augmented_trainer(tmp_path, data_seed=8, num_train_epochs=1))
    for run in runs:
        run.train()
    assert sorted(flat(runs[0].rows)) == sorted(flat(runs[1].rows)) != sorted(flat(runs[2].rows))


def test_columns_follow_their_tokens():
    tokenizer = wordpiece()
    rows = tokenizer(
        ["watch film", "dull"], ["movie", "good act"], return_special_tokens_mask=True, return_token_type_ids=True
    )
    features = [{name: rows[name][i] for name in rows} | {"label": i, "idx": 7} for i in range(2)]
    got = make_collator(inner=list, rate=1.0)(features)
    for feature, before in zip(got, features, strict=True):
        size = len(feature["input_ids"])
        assert feature["input_ids"] != before["input_ids"] and feature["label"] == before["label"]
        assert feature["attention_mask"] == [1] * size and len(feature["token_type_ids"]) == size
        places = [i for i, token in enumerate(feature["input_ids"]) if token in tokenizer.all_special_ids]
        assert [i for i, special in enumerate(feature["special_tokens_mask"]) if special] == places and len(
            places
        ) == 3
        assert feature["token_type_ids"] == [0] * (places[1] + 1) + [1] * (places[2] - places[1])


@pytest.mark.parametrize("side", ["right", "left"])
def test_padded_rows_keep_their_length_and_their_text(side):
    tokenizer = wordpiece()
    tokenizer.padding_side = side
    plain = tokenizer(texts(4))
    padded = tokenizer(texts(4), padding="max_length", max_length=40)
    features = [{name: padded[name][i] for name in padded} for i in range(4)]
    batch = make_collator(inner=default_data_collator, rate=1.0)(features)
    assert batch["input_ids"].shape == (4, 40)
    free = make_collator(inner=list, rate=1.0, max_length=40)(
        [{name: plain[name][i] for name in plain} for i in range(4)]
    )
    for ids, mask, row in zip(batch["input_ids"], batch["attention_mask"], free, strict=True):
        assert ids[mask.bool()].tolist() == row["input_ids"] and (ids[~mask.bool()] == tokenizer.pad_token_id).all()
        size = len(row["input_ids"])
        assert mask.tolist() == ([1] * size + [0] * (40 - size) if side == "right" else [0] * (40 - size) + [1] * size)


def test_rows_that_are_stacked_as_they_are_keep_their_length():
    tokenizer = wordpiece()
    rows = tokenizer(texts(8), truncation=True, max_length=8)
    features = [{name: rows[name][i] for name in rows} for i in range(8)]
    batch = make_collator(inner=default_data_collator, rate=1.0, keeps_length=True)(features)
    assert batch["input_ids"].shape == (8, 8)
    bare = [{"input_ids": row["input_ids"]} for row in features]
    with pytest.raises(DataError, match="an attention_mask beside input_ids"):
        make_collator(inner=default_data_collator, keeps_length=True)(bare)


def test_rows_keep_their_form():
    for form in (list, np.array, torch.tensor):
        features = [
            {"input_ids": form(row), "attention_mask": form([1] * len(row))} for row in augmented_data(4)["input_ids"]
        ]
        got = make_collator(inner=list)(features)
        assert [type(row["input_ids"]) for row in got] == [type(features[0]["input_ids"])] * 4
        expected = make_collator(inner=list)([{"input_ids": row} for row in augmented_data(4)["input_ids"]])
        assert [list(map(int, row["input_ids"])) for row in got] == [row["input_ids"] for row in expected]


def test_a_language_model_learns_the_words_it_reads():
    collator = make_collator(inner=DataCollatorForLanguageModeling(wordpiece(), mlm=False), rate=1.0)
    batch = collator([{"input_ids": row} for row in augmented_data(4)["input_ids"]])
    shown = batch["labels"] != -100
    assert torch.equal(batch["labels"][shown], batch["input_ids"][shown])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"labels": [0, 1, 0, 1]}, "got labels by token"),
        ({"start_positions": 1, "end_positions": 2}, "got start_positions, end_positions"),
        ({"input_ids": [[2, 3], [2, 3]]}, "input_ids of one text each"),
        ({"input_ids": None}, "input_ids of one text each"),
    ],
)
def test_tasks_whose_labels_would_move_are_refused(columns, message):
    with pytest.raises(DataError, match=message) as error:
        make_collator()([{"input_ids": [2, 5, 6, 3], **columns}])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augment_rate": 1.5}, r"augment_rate must be in \[0, 1\], got 1.5"),
        ({"augment_rate": 0.1}, "augment_rate and augment_with together, got 0.1 and None"),
        ({"augment_with": ["wordnet"]}, "together, got 0.0"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, options, message):
    with pytest.raises(ConfigurationError, match=message):
        AdversarialTrainingArguments(str(tmp_path), **options)


def test_what_is_missing_is_missed_before_training(tmp_path):
    with pytest.raises(DataError, match=r"none\.json, which does not exist"):
        augmented_trainer(tmp_path / "out", augment_with=[str(tmp_path / "none.json")])
    args = AdversarialTrainingArguments(str(tmp_path / "out"), augment_rate=0.1, augment_with="characters")
    with pytest.raises(ConfigurationError, match="processing_class=tokenizer"):
        AdversarialTrainer(tiny_bert(), args, train_dataset=augmented_data())


def test_the_checkpoint_and_the_card_name_what_words_came_from(tmp_path):
    trainer = augmented_trainer(tmp_path, augment_with=["characters", neighbours(tmp_path)], num_train_epochs=1)
    trainer.train()
    trainer.save_model()
    found = training_resources(AutoConfig.from_pretrained(tmp_path))
    assert found == ("character-edits", "neighbours:list.json", "qwerty")
    card = (tmp_path / "README.md").read_text()
    assert "characters, list.json" in card and str(tmp_path) not in card


class KeepJobRows(RobustTicketTrainer):
    """Keeps what it read, from the first step of the search to the last of the fine-tuning."""

    def training_step(self, model, inputs, *args, **kwargs):
        self.__dict__.setdefault("rows", []).append(inputs["input_ids"].tolist())
        return super().training_step(model, inputs, *args, **kwargs)


def job(folder, **options):
    options = {"augment_rate": 0.5, "augment_with": ["characters"], **options}
    data = augmented_data()
    return KeepJobRows(
        tiny_bert(vocab_size=200), make_args(folder, **options), train_dataset=data, processing_class=wordpiece()
    )


def test_a_ticket_job_augments_both_phases_and_resumes(tmp_path):
    whole = job(tmp_path / "whole")
    whole.train()
    cut = job(tmp_path / "cut")
    cut.search()
    with pytest.raises(CheckpointError, match=r"augment_rate=0\.4"):
        job(tmp_path / "cut", augment_rate=0.4).train(resume_from_checkpoint=True)
    resumed = job(tmp_path / "cut")
    resumed.train(resume_from_checkpoint=True)
    assert training_resources(resumed.model.config) == ("character-edits", "qwerty")
    assert all(torch.equal(a, b) for a, b in zip(resumed.model.parameters(), whole.model.parameters(), strict=True))
    plain = job(tmp_path / "plain", augment_rate=0.0, augment_with=None)
    plain.train()
    assert plain.rows[0] != whole.rows[0] and plain.rows[-1] != whole.rows[-1]
    assert training_resources(plain.model.config) == ()


def test_options_are_those_of_ticket_jobs_too(tmp_path):
    args = RobustTicketArguments(str(tmp_path), augment_rate=0.2, augment_with=["wordnet", "/a/b/list.json"])
    assert args.augmentation_facts() == {"augment_rate": 0.2, "augment_with": "wordnet, list.json"}
    assert RobustTicketArguments(str(tmp_path)).augmentation_facts() == {}


def test_a_stream_is_augmented_too(tmp_path):
    stream = Dataset.from_list(list(augmented_data())).to_iterable_dataset()
    one, two = (augmented_trainer(tmp_path, data=stream, max_steps=8) for _ in range(2))
    one.train()
    two.train()
    assert one.rows == two.rows and one.rows[:4] != one.rows[4:]
    assert sorted(flat(one.rows[:4])) != sorted(augmented_data()["input_ids"])
