"""`robust-tickets push`: what it refuses before it sends, and pushes to a Hub on 127.0.0.1."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file

from hf_robust_tickets.cli.push import open_checkpoint
from hf_robust_tickets.errors import CheckpointError
from hf_robust_tickets.tickets import is_pruned, prune_, random_ticket, save_pruned
from hf_robust_tickets.training.hub.contents import files_to_upload
from tests.testing.hub.process import environment
from tests.testing.paths import ROOT
from tests.testing.tiny import tiny_bert, tiny_tokenizer

RUN = """
import contextlib, io
from hf_robust_tickets.cli.main import main
with contextlib.redirect_stderr(io.StringIO()) as said:
    status = main(["push", *ARGV])
result = status, [line for line in said.getvalue().splitlines() if line.startswith("robust-tickets")]
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """A pruned checkpoint that has no card, with what a Trainer leaves beside it."""
    model = tiny_bert()
    save_pruned(
        prune_(model, random_ticket(model, 0.25, 0.5, round_to=1)), tmp_path / "small", tokenizer=tiny_tokenizer()
    )
    for name in ("training_args.bin", "_job.json", "checkpoint-4/model.safetensors", "robustness/outcomes.jsonl"):
        (tmp_path / "small" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "small" / name).write_bytes(b"only here")
    for name in (".env", "train.csv", "notes.txt", "optimizer.pt", "scaler.pt", "rng_state_0.pth", "outcomes.jsonl"):
        (tmp_path / "small" / name).write_text("secret")
    for name in ("runs/events.out", "wandb/config.yaml", ".cache/x", "robustness.json.part", "secret.safetensors"):
        (tmp_path / "small" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "small" / name).write_text("secret")
    return tmp_path / "small"


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def push(writer, *argv: str) -> tuple[int, list[str], str]:
    outcome = writer.try_to_run(RUN, ARGV=list(map(str, argv)))
    assert outcome.error is None, outcome.trace
    return (*outcome.result, outcome.printed)


def refused(writer, *argv: str) -> str:
    """The one line of a push that fails."""
    status, said, printed = push(writer, *argv)
    assert status in (1, 2) and len(said) == 1 and printed == "", (status, said, printed)
    return said[0]


def test_a_push_sends_the_checkpoint_and_its_card(writer, hub, folder):
    before = files(folder)
    status, said, printed = push(writer, folder, "me/new", "--private", "--commit_message", "First")
    assert (status, said) == (0, [])
    assert f"{hub.url}/me/new (commit " in printed and "the card was written" in printed
    repository = hub.repositories["me/new"]
    assert repository.private and repository.messages == ["initial commit", "First"]
    sent = {"config.json", "model.safetensors", "modeling_robust_ticket.py", "ticket.safetensors", "tokenizer.json"}
    sent |= {"tokenizer_config.json", "README.md", "model_card.json", "ticket.png", ".gitattributes"}
    sent.add("robust_ticket_surgery.py")
    assert hub.files("me/new") == sent
    after = files(folder)
    assert {name: after[name] for name in before} == before and set(after) - set(before) == {
        "README.md",
        "model_card.json",
        "ticket.png",
    }
    card = after["README.md"].decode()
    assert hub.file("me/new", "README.md") == after["README.md"]
    assert 'load_pruned("me/new")' in card and yaml.safe_load(card.split("---")[1])["library_name"] == "transformers"


def test_a_repository_that_holds_files_is_filled_only_when_allowed(writer, hub, folder):
    assert push(writer, folder, "taken")[0] == 0  # without an owner: the user's own
    commit = hub.repositories["me/taken"].branches["main"]
    line = refused(writer, folder, "me/taken")
    assert "expected a new or empty repository, got me/taken, which holds 10 files at main" in line
    assert "--exist_ok" in line and hub.repositories["me/taken"].branches["main"] == commit
    (folder / "note.txt").write_text("more")
    status, _, printed = push(writer, folder, "me/taken", "--exist_ok")
    assert status == 0 and "not uploaded: .cache, .env, _job.json" in printed
    assert "note.txt" not in hub.files("me/taken")
    assert push(writer, folder, "me/taken", "--exist_ok", "--also", "note.txt", "robustness/outcomes.jsonl")[0] == 0
    assert hub.file("me/taken", "note.txt") == b"more"
    assert hub.file("me/taken", "robustness/outcomes.jsonl") == b"only here"
    for name in ("none.txt", "../x", "/etc/hostname"):
        assert "to upload too" in refused(writer, folder, "me/taken", "--exist_ok", "--also", name)
    status, _, printed = push(writer, folder, "me/taken", "--revision", "other")
    assert status == 0 and "/me/taken/tree/other" in printed
    assert hub.files("me/taken", "other") == hub.files("me/taken")


def test_an_edited_card_is_kept_and_an_untouched_one_written_anew(writer, hub, folder):
    assert push(writer, folder, "me/cards")[0] == 0
    assert push(writer, folder, "me/cards-too")[0] == 0
    assert 'load_pruned("me/cards-too")' in hub.file("me/cards-too", "README.md").decode()
    card = folder / "README.md"
    card.write_text(card.read_text().replace("## Cost", "## My own words\n\n## Cost") + "mine\n")
    mine = card.read_bytes()
    status, _, printed = push(writer, folder, "me/cards-three")
    assert status == 0 and "the card was there and is kept" in printed
    assert card.read_bytes() == mine == hub.file("me/cards-three", "README.md")
    card.write_text("---\nmodel-index: 3\n---\n")
    assert "correct" in refused(writer, folder, "me/cards-four")
    assert "me/cards-four" not in hub.repositories


def test_what_the_hub_refuses(writer, hub, folder):
    before = files(folder)
    assert "token that the Hub does not accept (401" in refused(writer, folder, "me/no", "--token", "hf_wrong")
    assert "OWNER/NAME" in refused(writer, folder, "me/a b")
    assert files(folder) == before
    assert "token without the right to write there (403" in refused(writer, folder, "somebody/else")
    assert not {"me/no", "somebody/else"} & set(hub.repositories)


@pytest.mark.parametrize("name", ["vocab.txt", "model.safetensors", "modeling_robust_ticket.py", "README.md"])
def test_a_link_out_of_the_folder_is_refused(writer, hub, folder, tmp_path, name):
    there = folder / name
    (tmp_path / "elsewhere").write_bytes(there.read_bytes() if there.exists() else b"secret")
    there.unlink(missing_ok=True)
    there.symlink_to(tmp_path / "elsewhere")
    repository = f"me/link-{name[:5]}"
    assert "a link to" in refused(writer, folder, repository) and repository not in hub.repositories


def test_a_link_to_another_kind_of_file_in_the_folder_is_refused(writer, hub, folder):
    (folder / "vocab.txt").symlink_to(folder / ".env")
    assert "a link to" in refused(writer, folder, "me/env")
    (folder / "vocab.txt").unlink()
    (folder / "kept").mkdir()
    (folder / "model.safetensors").rename(folder / "kept/model.safetensors")
    (folder / "model.safetensors").symlink_to("kept/model.safetensors")
    assert push(writer, folder, "me/inside")[0] == 0
    assert hub.file("me/inside", "model.safetensors") == (folder / "kept/model.safetensors").read_bytes()


def test_code_that_a_configuration_names_goes_along_and_no_other(writer, hub, folder):
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] |= {"AutoX": ["me/x--mine.Mine", None], "AutoY": "../../etc/hostname.X"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("from .helper import x\nfrom . import y\n")
    (folder / "helper.py").write_text("import os\n")
    (folder / "train.py").write_text("TOKEN = 1\n")
    assert push(writer, folder, "me/code")[0] == 0
    sent = {name for name in hub.files("me/code") if name.endswith(".py")}
    assert sent == {"modeling_robust_ticket.py", "robust_ticket_surgery.py", "mine.py", "helper.py"}


def test_pickled_weights_go_only_where_there_are_no_others(tmp_path):
    for name in ("config.json", "pytorch_model.bin", "training_args.bin"):
        (tmp_path / name).write_text("{}")
    assert files_to_upload(tmp_path) == ["config.json", "pytorch_model.bin"]
    (tmp_path / "model-00001-of-00002.safetensors").touch()
    assert files_to_upload(tmp_path) == ["config.json", "model-00001-of-00002.safetensors"]


def test_a_folder_without_a_tokenizer_or_a_classifier_is_refused(writer, hub, folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    save_file({name: value for name, value in weights.items() if "classifier" not in name}, path, {"format": "pt"})
    assert "got none for classifier.bias" in refused(writer, folder, "me/no-head")
    save_file(weights, path, {"format": "pt"})
    (folder / "tokenizer.json").unlink()
    assert "tokenizer" in refused(writer, folder, "me/no-words")
    (folder / "tokenizer_config.json").unlink()
    assert "every word is unknown" in refused(writer, folder, "me/no-words")
    assert not {"me/no-head", "me/no-words"} & set(hub.repositories)


def test_a_push_that_lost_the_hub_is_completed_by_the_same_command(writer, hub, folder):
    before = files(folder)
    hub.go_at = lambda method, path: "/commit/" in path
    assert "push again when the Hub answers" in refused(writer, folder, "me/lost")
    assert {name: files(folder)[name] for name in before} == before
    hub.come_back()
    assert hub.files("me/lost") == {".gitattributes"}
    assert push(writer, folder, "me/lost")[0] == 0
    assert hub.file("me/lost", "model.safetensors") == before["model.safetensors"]


def test_a_report_of_other_weights_is_refused(writer, hub, folder, tmp_path):
    report = {"schema": "hf_robust_tickets/robustness", "recipes": {}, "model": {"sha256": "0" * 64}}
    (tmp_path / "report.json").write_text(json.dumps(report))
    line = refused(writer, folder, "me/report", "--reports", tmp_path / "report.json")
    assert "got one of others" in line and "me/report" not in hub.repositories


@pytest.mark.slow
def test_the_command_itself(hub, folder, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "hf_robust_tickets.cli.main", "push", str(folder), "me/command"],
        env=environment(hub.url, tmp_path / "home", PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and f"{hub.url}/me/command" in done.stdout, done.stderr


def truncate(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 2000)


def other_ticket(folder: Path) -> None:
    random_ticket(tiny_bert(), 0.25, 0.5, seed=5, round_to=1).save(folder / "ticket.safetensors")


def drop_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def other_widths(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["robust_ticket"]["neurons"][0] += 1
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "no config.json there"),
        (lambda folder: (folder / "config.json").write_text("{"), "a damaged one"),
        (lambda folder: (folder / "model.safetensors").unlink(), "expected a whole pruned checkpoint"),
        (lambda folder: (folder / "modeling_robust_ticket.py").unlink(), "save_pruned"),
        (lambda folder: (folder / "robust_ticket_surgery.py").unlink(), "save_pruned"),
        (truncate, "expected a whole pruned checkpoint"),
        (other_ticket, "belong to different checkpoints"),
        (drop_weights, "incomplete"),
        (other_widths, "expected a whole pruned checkpoint"),
    ],
)
def test_a_damaged_checkpoint_is_refused_before_anything_is_sent(folder, damage, message):
    damage(folder)
    with pytest.raises(CheckpointError, match=message) as error:
        open_checkpoint(folder)
    assert "\n" not in str(error.value)


def test_dense_checkpoints(tmp_path):
    model = tiny_bert()
    model.save_pretrained(tmp_path)
    assert not is_pruned(open_checkpoint(tmp_path))
    drop_weights(tmp_path)
    with pytest.raises(CheckpointError, match=r"got none for bert\.encoder\.layer\.1\.output\.dense\.weight"):
        open_checkpoint(tmp_path)
    truncate(tmp_path)
    with pytest.raises(CheckpointError, match="expected a whole checkpoint"):
        open_checkpoint(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["MyModel"]}))
    with pytest.raises(CheckpointError, match="'MyModel'"):
        open_checkpoint(tmp_path)
