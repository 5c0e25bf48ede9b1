"""`robust-tickets train --ticket none`: adversarial training alone, on a tiny model and files made here."""

from __future__ import annotations

import json

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification

from hf_robust_tickets.cli.main import main
from hf_robust_tickets.tickets import is_pruned, load_pruned
from hf_robust_tickets.training import AdversarialTrainer, AdversarialTrainingArguments
from tests.testing.command_line import write_model_and_rows
from tests.testing.tiny import tiny_bert, tiny_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model_and_rows(tmp_path_factory.mktemp("whole"))


def line(folder, out, *more: str, ticket: str = "none") -> list[str]:
    files = ["--train_file", str(folder / "data.csv"), "--validation_file", str(folder / "data.csv")]
    arguments = ["--model_name_or_path", str(folder / "model"), *files, "--output_dir", str(out), "--ticket", ticket]
    rest = ["--report_to", "none", "--disable_tqdm", "True", "--save_strategy", "no", "--max_steps", "3"]
    return ["train", *arguments, *rest, *more]


def weights(folder) -> dict:
    return AutoModelForSequenceClassification.from_pretrained(folder).state_dict()


def one_line(capsys) -> str:
    said = [text for text in capsys.readouterr().err.splitlines() if text.startswith("robust-tickets")]
    assert len(said) == 1 and "--debug shows" not in said[0], said
    return said[0]


def test_it_trains_as_the_trainer_does_and_saves_evaluates_and_writes_a_card(folder, tmp_path, capsys):
    attack = ["--adversary", "pgd", "--adversary_steps", "2", "--adversary_step_size", "0.05"]
    attack += ["--adversary_init_magnitude", "0.02", "--adversary_start_step", "1", "--average_weights_from", "0.5"]
    assert main(line(folder, tmp_path / "out", *attack)) == 0
    said = capsys.readouterr().out
    assert "pgd" in said and "3 steps" in said and "heads" not in said
    saved = weights(tmp_path / "out")
    tokenizer = tiny_tokenizer()
    rows = Dataset.from_csv(str(folder / "data.csv"))
    data = rows.map(lambda row: {**tokenizer(row["text"]), "label": row["label"]}, remove_columns=["text"])
    args = AdversarialTrainingArguments(
        str(tmp_path / "python"),
        adversary="pgd",
        adversary_steps=2,
        adversary_step_size=0.05,
        adversary_init_magnitude=0.02,
        adversary_start_step=1,
        average_weights_from=0.5,
        max_steps=3,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = AdversarialTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(folder / "model"),
        args=args,
        train_dataset=data,
        processing_class=tokenizer,
    )
    trainer.train()
    expected = trainer.model.state_dict()
    assert all(torch.equal(saved[name], expected[name]) for name in expected)
    assert any(not torch.equal(saved[name], value) for name, value in weights(folder / "model").items())
    metrics = json.loads((tmp_path / "out" / "eval_results.json").read_text())
    assert 0 <= metrics["eval_accuracy"] <= 1
    card = (tmp_path / "out" / "README.md").read_text()
    assert "pgd" in card.lower() and "data.csv" in card
    assert not (tmp_path / "out" / "ticket.safetensors").exists()


def test_a_yaml_file_does_the_same(folder, tmp_path):
    pairs = line(folder, tmp_path / "out", "--adversary", "fgm")[1:]
    (tmp_path / "job.yaml").write_text("\n".join(f"{k[2:]}: {v}" for k, v in zip(pairs[::2], pairs[1::2])))
    assert main(["train", str(tmp_path / "job.yaml")]) == 0
    assert main(line(folder, tmp_path / "again", "--adversary", "fgm")) == 0
    first, second = weights(tmp_path / "out"), weights(tmp_path / "again")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_was_cut_off_goes_on_and_folders_are_not_mixed(folder, tmp_path, capsys):
    saving = ["--save_strategy", "steps", "--save_steps", "2", "--max_steps", "4", "--adversary", "fgm"]
    assert main(line(folder, tmp_path / "whole", *saving)) == 0
    wanted = weights(tmp_path / "whole")
    (tmp_path / "whole" / "checkpoint-4").rename(tmp_path / "aside")
    assert main(line(folder, tmp_path / "whole", *saving)) == 2
    assert "checkpoints of an earlier training (checkpoint-2): go on from them with" in one_line(capsys)
    assert main(line(folder, tmp_path / "whole", *saving, "--resume_from_checkpoint", "True")) == 0
    found = weights(tmp_path / "whole")
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    capsys.readouterr()
    assert main(line(folder, tmp_path / "new", "--resume_from_checkpoint", "True")) == 2
    assert "no complete checkpoint" in one_line(capsys)


def test_a_pruned_model_trains_on_and_a_folder_with_a_ticket_is_refused(folder, tmp_path, capsys):
    prune = ["prune", "--model_name_or_path", str(folder / "model"), "--output_dir", str(tmp_path / "small")]
    assert main([*prune, "--random", "True", "--round_to", "1"]) == 0
    small = ["--model_name_or_path", str(tmp_path / "small")]
    assert main(line(folder, tmp_path / "out", *small)) == 0
    found = load_pruned(tmp_path / "out")
    assert is_pruned(found) and found.num_parameters() < tiny_bert().num_parameters()
    capsys.readouterr()
    assert main(line(folder, tmp_path / "small", *small)) == 2
    assert "expected a folder without a ticket or a search" in one_line(capsys)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--neuron_sparsity", "0.5", "--search-epochs=2"], "got neuron_sparsity, search_epochs: leave them out"),
        (["--ticket", "nothing"], "expected --ticket search or none, got 'nothing'"),
        (["--adversary", "frelb"], "unknown adversary 'frelb'"),
        (["--adversary_step_sise", "1"], "did you mean --adversary_step_size?"),
        (["--lr_scheduler_type", "polynomial", "--lr_scheduler_kwargs", '{"nothing": 1}'], "a schedule that can be"),
        (["--distillation_teacher", "searched"], "distillation_teacher"),
        (["--augment_rate", "0.5", "--augment_with", "wordnet"], "robust-tickets resources fetch wordnet"),
        (["--label_column", "stars"], "no column 'stars'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_before_anything_is_written(folder, tmp_path, capsys, monkeypatch, more, message):
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "none"))
    if "wordnet" in more:
        monkeypatch.setattr(pytest.importorskip("nltk").data, "path", [str(tmp_path / "none")])
    assert main(line(folder, tmp_path / "out", *more)) == 2 - ("wordnet" in more)
    assert message in one_line(capsys)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
