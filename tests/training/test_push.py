"""Trainers and models push to a Hub on 127.0.0.1, and what they pushed opens by its name."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import yaml

from tests.testing.hub.store import READ_ONLY_TOKEN
from tests.testing.rounding import assert_same_outputs

TEXT = "w7 w12 w31 w8"
# Of all weights, to the bit; logits are compared within their rounding, as those of a model that lies elsewhere.
DIGEST = """
import hashlib, torch
def digest(model):
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.contiguous().numpy().tobytes())
    return total.hexdigest()
"""
TRAIN = """
from pathlib import Path
import torch
from hf_robust_tickets import AdversarialTrainer, RobustTicketTrainer, export_dense, load_pruned
from hf_robust_tickets.adversaries import FreeLB
from huggingface_hub import create_branch
from tests.testing.tiny import tiny_bert, tiny_data, tiny_tokenizer
from tests.testing.jobs import make_args

def partners(folder):
    return dict(args=make_args(folder, hub_model_id=f"me/{folder}", num_train_epochs=1), train_dataset=tiny_data(32),
                eval_dataset=tiny_data(32), processing_class=tiny_tokenizer())

def answer(model, text=TEXT):
    with torch.no_grad():
        logits = model.eval()(**tiny_tokenizer()(text, return_tensors="pt")).logits
    return logits.tolist(), digest(model)

def change(by):
    with torch.no_grad():
        trainer.model.classifier.bias.copy_(bias + by)
    return answer(trainer.model)

trainer = RobustTicketTrainer(model=tiny_bert(), **partners("ticket"))
trainer.train()
trainer.evaluate()
bias = trainer.model.classifier.bias.detach().clone()
"""
OPEN = """
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
def answer(**options):
    model = AutoModelForSequenceClassification.from_pretrained(REPO, **options).eval()
    with torch.no_grad():
        logits = model(**AutoTokenizer.from_pretrained(REPO)(TEXT, return_tensors="pt")).logits
    return logits.tolist(), digest(model)
"""


def assert_same(got, expected):
    """The same weights, to the bit, and the same logits but for their rounding."""
    assert got[1] == expected[1]
    assert_same_outputs(got[0], expected[0])


def open_elsewhere(reader, repo: str, **options):
    """Logits and digest of what a process without this package opens."""
    given = ", ".join(f"{key}={value!r}" for key, value in options.items())
    return reader.run(f"{DIGEST}{OPEN}result = answer({given})", REPO=repo, TEXT=TEXT)


@pytest.fixture(scope="module")
def pushed(writer, reader):
    """A trained ticket in `writer`, pushed to me/ticket: its logits and digest, and the address of the commit."""
    code = "info = trainer.push_to_hub()\nresult = answer(trainer.model), info.oid"
    return writer.run(DIGEST + TRAIN + code, TEXT=TEXT)


def local_files(writer, folder: str) -> dict[str, bytes]:
    root = Path(writer.run("import os; result = os.getcwd()"), folder)
    # The Trainer writes its arguments anew before each push.
    return {p.name: p.read_bytes() for p in root.iterdir() if p.is_file() and p.name != "training_args.bin"}


def test_a_pushed_ticket_opens_in_three_ways(writer, reader, hub, pushed):
    expected, _ = pushed
    opened = {"config.json", "model.safetensors", "ticket.safetensors", "modeling_robust_ticket.py", "tokenizer.json"}
    opened.add("robust_ticket_surgery.py")
    assert hub.files("me/ticket") >= opened | {"README.md", "ticket.png", "model_card.json"}
    assert not {name for name in hub.files("me/ticket") if name.startswith("_")}
    assert_same(writer.run("result = answer(load_pruned('me/ticket'))"), expected)
    with pytest.raises(AssertionError, match="No module named 'hf_robust_tickets'"):
        reader.run("import hf_robust_tickets")
    assert_same(open_elsewhere(reader, "me/ticket", trust_remote_code=True), expected)
    scores = reader.run(
        "pipe = pipeline('text-classification', model=REPO, trust_remote_code=True, top_k=None)\n"
        "result = {row['label']: row['score'] for row in pipe([TEXT])[0]}"
    )
    (logits,) = expected[0]
    ratio = 2.718281828459045 ** (logits[1] - logits[0])
    assert scores["LABEL_1"] / scores["LABEL_0"] == pytest.approx(ratio, rel=1e-4)
    writer.run(
        "export_dense(load_pruned('me/ticket')).push_to_hub('me/dense'); tiny_tokenizer().push_to_hub('me/dense')"
    )
    assert_same_outputs(open_elsewhere(reader, "me/dense")[0], expected[0])


def test_the_card_of_a_pushed_ticket(hub, pushed):
    card = hub.file("me/ticket", "README.md").decode()
    metadata = yaml.safe_load(card.split("---")[1])
    assert metadata["pipeline_tag"] == "text-classification" and "pruned" in metadata["tags"]
    assert 'load_pruned("me/ticket")' in card and "![Heads and neurons that each layer keeps](ticket.png)" in card
    assert "7 of 8 attention heads" in card and "| method          | freelb" in card
    assert hub.file("me/ticket", "ticket.png").startswith(b"\x89PNG")


def test_revisions(writer, reader, hub, pushed):
    expected, commit = pushed
    changed = writer.run(
        "create_branch('me/ticket', branch='v2')\n"
        "result = change(1)\n"
        "trainer.push_to_hub(revision='v2', commit_message='Second version')\n"
        "change(0)"
    )
    assert changed[1] != expected[1] and changed[0][0] == pytest.approx([x + 1 for x in expected[0][0]], abs=1e-5)
    assert hub.repositories["me/ticket"].messages[-1] == "Second version"
    for revision, wanted in (("v2", changed), ("main", expected), (commit, expected)):
        assert_same(writer.run(f"result = answer(load_pruned('me/ticket', revision={revision!r}))"), wanted)
        assert_same(open_elsewhere(reader, "me/ticket", trust_remote_code=True, revision=revision), wanted)
    outcome = writer.try_to_run("load_pruned('me/ticket', revision='v3')")
    assert outcome.kinds[0] == "CheckpointError" and "\n" not in outcome.error
    assert "v3 is not a valid git identifier" in outcome.error


def test_an_adversarial_trainer_and_a_model_push_too(writer, reader, hub, pushed):
    dense = writer.run(
        "dense = AdversarialTrainer(model=tiny_bert(), adversary=FreeLB(steps=2), **partners('adversarial'))\n"
        "dense.train()\ndense.push_to_hub()\nresult = answer(dense.model)"
    )
    assert "nothing was pruned" in hub.file("me/adversarial", "README.md").decode()
    assert_same(open_elsewhere(reader, "me/adversarial"), dense)
    writer.run("trainer.model.push_to_hub('me/model'); tiny_tokenizer().push_to_hub('me/model')")
    assert hub.files("me/model") >= {"modeling_robust_ticket.py", "ticket.safetensors", "model.safetensors"}
    assert_same(open_elsewhere(reader, "me/model", trust_remote_code=True), pushed[0])


def test_uploads_during_training_open(writer, reader, hub, pushed):
    options = "push_to_hub=True, hub_model_id='me/during', save_strategy='epoch', num_train_epochs=1"
    args = f"{{**partners('during'), 'args': make_args('during', {options})}}"
    expected = writer.run(
        f"during = RobustTicketTrainer(model=tiny_bert(), **{args})\nduring.train()\nresult = answer(during.model)"
    )
    assert_same(open_elsewhere(reader, "me/during", trust_remote_code=True), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("trainer.push_to_hub(token='hf_wrong')", "token that the Hub does not accept (401"),
        (f"trainer.push_to_hub(token={READ_ONLY_TOKEN!r})", "token without the right to write there (403"),
        ("trainer.push_to_hub(revision='v9')", "create it with `hf repos branch create me/ticket v9`"),
        ("AdversarialTrainer(model=tiny_bert(), **partners('you')).init_hf_repo(token='hf_no')", "401"),
    ],
)
def test_a_refused_push_is_one_line_and_touches_nothing(writer, hub, pushed, call, message):
    writer.run("change(0); trainer.save_model()")
    before, remote = local_files(writer, "ticket"), hub.files("me/ticket")
    outcome = writer.try_to_run(call)
    assert outcome.kinds[:3] == ["HubError", "RobustTicketsError", "OSError"], outcome.trace
    assert message in outcome.error and "\n" not in outcome.error and outcome.error.startswith("expected to push to")
    assert local_files(writer, "ticket") == before and hub.files("me/ticket") == remote


def test_a_push_that_lost_the_hub_is_completed_by_the_next(writer, hub, pushed):
    expected = writer.run("result = change(2); trainer.save_model()")
    before, commit = local_files(writer, "ticket"), hub.repositories["me/ticket"].branches["main"]
    hub.go_at = lambda method, path: "/commit/" in path
    outcome = writer.try_to_run("trainer.push_to_hub()")
    assert outcome.kinds[0] == "HubError" and "push again when the Hub answers" in outcome.error, outcome.trace
    assert local_files(writer, "ticket") == before
    assert hub.repositories["me/ticket"].branches["main"] == commit
    hub.come_back()
    hub.requests.clear()
    writer.run("trainer.push_to_hub()")
    assert not [request for request in hub.requests if request.startswith("PUT")], "large files were there already"
    assert_same(writer.run("result = answer(load_pruned('me/ticket'))"), expected)


def test_an_upload_that_is_cut_once_goes_on(writer, hub, pushed):
    hub.go_at = lambda method, path: method == "PUT"

    def come_back():
        while hub.is_there:
            time.sleep(0.05)
        hub.come_back()

    back = threading.Thread(target=come_back)
    back.start()
    expected = writer.run("result = change(3); trainer.push_to_hub()")
    back.join()
    assert_same(writer.run("result = answer(load_pruned('me/ticket'))"), expected)


@pytest.mark.slow
def test_an_upload_that_loses_the_hub_for_good_gives_up(writer, hub, pushed):
    """The client tries for half a minute."""
    expected = writer.run("result = change(4); trainer.save_model()")
    before = local_files(writer, "ticket")
    hub.go_at = lambda method, path: method == "PUT"
    outcome = writer.try_to_run("trainer.push_to_hub()")
    assert outcome.kinds[0] == "HubError" and "no answer" in outcome.error and "\n" not in outcome.error
    assert local_files(writer, "ticket") == before
    hub.come_back()
    writer.run("trainer.push_to_hub()")
    assert_same(writer.run("result = answer(load_pruned('me/ticket'))"), expected)
