"""What a trainer and a folder know for the card, and which card is written where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hf_robust_tickets import AdversarialTrainer, AdversarialTrainingArguments, load_pruned, random_ticket
from hf_robust_tickets._provenance import describe_data, model_fingerprint
from hf_robust_tickets.adversaries import PGD
from hf_robust_tickets.errors import CheckpointError
from hf_robust_tickets.reporting.model_card import CardFacts
from hf_robust_tickets.tickets import prune_, save_pruned
from hf_robust_tickets.training.hub.card import facts_of_folder, write_model_card
from tests.testing.jobs import make_trainer
from tests.testing.tiny import tiny_bert, tiny_data


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    trainer = make_trainer(tmp_path_factory.mktemp("job"), num_train_epochs=1, finetune_adversary="pgd")
    trainer.train()
    trainer.evaluate()
    trainer.save_model()
    return trainer


def a_report(sha: str) -> str:
    result = {"accuracy_under_attack": 0.5, "confidence_interval": [0.2, 0.8], "attack_success_rate": 0.4}
    result |= {"mean_queries": 7.0, "resources": {}, "not_comparable": []}
    report = {"schema": "hf_robust_tickets/robustness", "clean_accuracy": 0.9, "num_examples": 10, "seed": 0}
    report |= {"settings": {}, "warnings": [], "failures": {}, "model": {"sha256": sha}}
    return json.dumps({**report, "recipes": {"deepwordbug": result}})


def test_facts_of_a_ticket_trainer(trained):
    facts = CardFacts.load(Path(trained.args.output_dir) / "model_card.json")
    dense = sum(p.numel() for p in tiny_bert().parameters())
    assert (facts.dense_parameters, facts.parameters) == (dense, sum(p.numel() for p in trained.model.parameters()))
    assert facts.ticket["head_counts"] == trained.ticket.head_counts
    assert [len(cut) for cut in facts.ticket["heads_cut"]] == [4 - kept for kept in trained.ticket.head_counts]
    assert facts.search["step"] == trained.search_log[-1]["step"] and facts.search["converged"] is True
    assert facts.adversaries["search"]["name"] == "freelb" and facts.adversaries["search"]["steps"] == 2
    assert facts.adversaries["finetune"]["name"] == "pgd"
    assert facts.cost == trained.cost and facts.metrics["loss"] > 0
    assert facts.data == {"train_rows": 32, "eval_rows": 32}
    assert facts.auto_class == "AutoModelForSequenceClassification" and facts.task == "text-classification"
    assert facts.weights == model_fingerprint(load_pruned(trained.args.output_dir))


def test_saving_elsewhere_writes_the_card_there(trained, tmp_path):
    trained.save_model(str(tmp_path / "elsewhere"))
    card = (tmp_path / "elsewhere" / "README.md").read_text()
    assert "# elsewhere" in card and (tmp_path / "elsewhere" / "ticket.png").exists()


def test_keyword_arguments_of_the_trainer(trained):
    trained.create_model_card(
        language="en",
        license="mit",
        tags="mine",
        model_name="named",
        finetuned_from="google-bert/bert-base-uncased",
        dataset="GLUE SST-2",
        dataset_tags="nyu-mll/glue",
        dataset_args="sst2",
    )
    card = ModelCard.load(Path(trained.args.output_dir) / "README.md")
    assert card.data.language == ["en"] and card.data.license == "mit"
    assert {"mine", "generated_from_trainer"} <= set(card.data.tags)
    assert card.data.base_model == "google-bert/bert-base-uncased" and card.data.datasets == ["nyu-mll/glue"]
    assert "# named" in card.text and "GLUE SST-2 (sst2)" in card.text


def test_an_edited_card_is_kept(trained, caplog):
    trained.create_model_card()
    card = Path(trained.args.output_dir) / "README.md"
    card.write_text(card.read_text().replace("## Cost", "## The price"))
    trained.create_model_card(tags="new")
    assert "## The price" in card.read_text() and "is kept" in caplog.text
    card.unlink()
    trained.create_model_card(tags="new")
    assert "## Cost" in card.read_text()


def test_reports_in_the_folder_are_shown_if_they_are_of_these_weights(trained):
    folder = Path(trained.args.output_dir)
    (folder / "robustness").mkdir()
    (folder / "robustness" / "robustness.json").write_text(a_report(model_fingerprint(trained.model)))
    (folder / "old-robustness.json").write_text(a_report("0" * 64))
    trained.create_model_card()
    card = (folder / "README.md").read_text()
    assert "| deepwordbug |" in card and "from `robustness/robustness.json`" in card
    assert "_old-robustness.json is not shown: it is of other weights than these._" in card
    (folder / "old-robustness.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"old-robustness\.json"):
        trained.create_model_card()
    (folder / "old-robustness.json").unlink()


def test_before_training_the_card_says_that_nothing_was_pruned(tmp_path):
    make_trainer(tmp_path).create_model_card()
    card = (tmp_path / "README.md").read_text()
    assert "nothing was pruned" in card and "## Cost" not in card and "### Adversary" not in card


def test_an_adversarial_trainer_names_its_adversary(tmp_path):
    args = AdversarialTrainingArguments(output_dir=str(tmp_path), max_steps=2, save_strategy="no", report_to="none")
    trainer = AdversarialTrainer(model=tiny_bert(), args=args, train_dataset=tiny_data(8), adversary=PGD(steps=2))
    trainer.train()
    facts = trainer.card_facts()
    assert facts.adversaries == {"train": {**PGD(steps=2).describe(), **facts.adversaries["train"]}}
    assert facts.cost["train"]["passes"] == 4 and facts.ticket is None and facts.training["learning_rate"] == 5e-5


def test_facts_of_a_folder(trained, tmp_path, caplog):
    folder = Path(trained.args.output_dir)
    model = load_pruned(folder)
    assert facts_of_folder(folder, model, "other").cost == trained.cost
    assert facts_of_folder(folder, model, "other").model_name == "other"
    (folder / "model_card.json").rename(tmp_path / "kept.json")
    known = facts_of_folder(folder, model, "bare")
    assert known.ticket["origin"] == "the one at which the search settled"
    assert known.search["epoch"] == trained.search_log[-1]["epoch"] and known.cost == trained.cost
    (tmp_path / "kept.json").rename(folder / "model_card.json")
    with_other_weights = load_pruned(folder)
    with_other_weights.classifier.bias.data += 1
    assert facts_of_folder(folder, with_other_weights, "x").cost == {}
    assert "is of other weights" in caplog.text


def test_a_checkpoint_without_its_ticket_or_without_matplotlib(tmp_path, monkeypatch):
    model = tiny_bert()
    save_pruned(prune_(model, random_ticket(model, 0.25, 0.5, round_to=1)), tmp_path / "a")
    with monkeypatch.context() as absent:
        absent.setattr("importlib.util.find_spec", lambda name: None)
        assert write_model_card(tmp_path / "a", model, facts_of_folder(tmp_path / "a", model, "a"), "me/a")
    card = (tmp_path / "a" / "README.md").read_text()
    assert "left out: matplotlib is not installed" in card and not (tmp_path / "a" / "ticket.png").exists()
    assert "The ticket is of unknown origin" in card
    (tmp_path / "a" / "ticket.safetensors").unlink()
    bare = load_pruned(tmp_path / "a")
    write_model_card(tmp_path / "a", bare, facts_of_folder(tmp_path / "a", bare, "a"), "me/a")
    assert "the checkpoint came without its ticket" in (tmp_path / "a" / "README.md").read_text()


def test_data_say_where_they_are_from(tmp_path):
    data = tiny_data(4)
    assert describe_data(data) == {"rows": 4} and describe_data([1, 2]) == {"rows": 2} and describe_data(None) == {}
    data.info.download_checksums = {f"hf://datasets/nyu-mll/glue@{'b' * 40}/sst2/train.parquet": {}}
    data.info.config_name = "sst2"
    found = {"rows": 4, "repository": "nyu-mll/glue", "revision": "b" * 40, "config": "sst2", "split": None}
    assert describe_data(data) == found
    data.info.download_checksums = {str(tmp_path / "train.parquet"): {}}
    assert describe_data(data) == {"rows": 4}
