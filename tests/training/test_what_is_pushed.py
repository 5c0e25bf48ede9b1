"""What each way of pushing uploads: what reopens the model, its card and its reports, and nothing else."""

from __future__ import annotations

import pytest

PUSHING = """
import os
from pathlib import Path
from hf_robust_tickets import AdversarialTrainer, RobustTicketTrainer, load_pruned, prune_, random_ticket, save_pruned
from tests.testing.jobs import make_args
from tests.testing.tiny import tiny_bert, tiny_data, tiny_tokenizer

def litter(folder):
    \"\"\"What lies about in the folder of somebody who works.\"\"\"
    Path(folder, "data").mkdir(parents=True, exist_ok=True)
    Path(folder, "robustness").mkdir(exist_ok=True)
    for name in (".env", "train.csv", "data/rows.parquet", "notes.md", "robustness/outcomes.jsonl", "run.py"):
        Path(folder, name).write_text("secret")

def trainer_of(kind, folder, **options):
    litter(folder)
    args = make_args(folder, hub_model_id=f"me/{folder}", hub_token=TOKEN, num_train_epochs=1, **options)
    return kind(model=tiny_bert(), args=args, train_dataset=tiny_data(32), eval_dataset=tiny_data(32),
                processing_class=tiny_tokenizer())
"""
TOKEN = "hf_the_right_one"
DENSE = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
PRUNED = DENSE | {"modeling_robust_ticket.py", "robust_ticket_surgery.py", "ticket.safetensors"}
CARD = {"README.md", "model_card.json"}
JOB = {"ticket.json", "search_log.json", "cost.json", "ticket.png"}


@pytest.fixture(scope="module")
def pushing(writer):
    writer.run(PUSHING, TOKEN=TOKEN)
    return writer


def sent(hub, repository: str) -> set[str]:
    """All files of all commits, and not one that holds a secret."""
    found = {}
    for files in hub.repositories[repository].commits.values():
        found |= {name: content for name, (_, content) in files.items()}
    for name, content in found.items():
        assert content != b"secret" and TOKEN.encode() not in content, name
    return set(found) - {".gitattributes"}


@pytest.mark.parametrize(
    ("name", "code", "expected"),
    [
        ("t-end", "t = trainer_of(RobustTicketTrainer, 't-end'); t.train(); t.push_to_hub()", PRUNED | CARD | JOB),
        ("a-end", "t = trainer_of(AdversarialTrainer, 'a-end'); t.train(); t.push_to_hub()", DENSE | CARD),
        (
            "t-save",
            "t = trainer_of(RobustTicketTrainer, 't-save', push_to_hub=True); t.train(); t.save_model()",
            PRUNED | CARD | JOB,
        ),
        (
            "a-during",
            "trainer_of(AdversarialTrainer, 'a-during', push_to_hub=True, save_strategy='steps', save_steps=2,"
            " hub_always_push=True, save_total_limit=1).train()",
            DENSE,
        ),
        (
            "t-during",
            "trainer_of(RobustTicketTrainer, 't-during', push_to_hub=True, save_strategy='epoch').train()",
            PRUNED,
        ),
        ("m-push", "m = tiny_bert(); prune_(m, random_ticket(m, round_to=1)).push_to_hub('me/m-push')", None),
        (
            "m-save",
            "litter('m-save'); m = tiny_bert()\n"
            "prune_(m, random_ticket(m, round_to=1)).save_pretrained('m-save', push_to_hub=True, repo_id='me/m-save')",
            None,
        ),
    ],
)
def test_what_leaves(pushing, hub, name, code, expected):
    pushing.run(code)
    without_tokenizer = PRUNED - {"tokenizer.json", "tokenizer_config.json"}
    found = sent(hub, f"me/{name}")
    assert found == expected if expected else without_tokenizer <= found <= without_tokenizer | {"README.md"}


def test_uploads_in_the_background_leave_nothing_behind(pushing, hub):
    left = pushing.run("result = sorted(os.listdir('a-during'))")
    assert not [name for name in left if name.startswith("_push")] and len(hub.repositories["me/a-during"].commits) > 2


@pytest.mark.parametrize("strategy", ["checkpoint", "all_checkpoints"])
def test_whole_checkpoints_do_not_leave(pushing, hub, strategy):
    code = f"trainer_of(AdversarialTrainer, 'whole', push_to_hub=True, hub_strategy={strategy!r})"
    outcome = pushing.try_to_run(code)
    assert outcome.kinds[0] == "ConfigurationError" and "hub_strategy 'end' or 'every_save'" in outcome.error
    assert "me/whole" not in hub.repositories


def test_a_link_in_the_output_folder_is_refused(pushing, hub):
    code = (
        "t = trainer_of(AdversarialTrainer, 'link'); Path('link/vocab.txt').symlink_to(Path('link/.env').absolute())"
    )
    outcome = pushing.try_to_run(f"{code}\nt.push_to_hub()")
    assert outcome.kinds[0] == "CheckpointError" and "a link to" in outcome.error
    assert hub.files("me/link") <= {".gitattributes"}


def test_parts_of_other_libraries_and_tags_go_along(pushing, hub):
    names = ["modules.json", "1_Pooling/config.json", "1_Pooling/.env", "additional_chat_templates/x.jinja"]
    code = """
t = trainer_of(AdversarialTrainer, 'parts')
t.train()
t.model.model_tags = ['mine']
for name in NAMES:
    Path('parts', name).parent.mkdir(exist_ok=True)
    Path('parts', name).write_text('{}')
t.push_to_hub(tags='yours', commit_message='All')
"""
    pushing.run(code, NAMES=names)
    more = {"modules.json", "1_Pooling/config.json", "additional_chat_templates/x.jinja"}
    assert sent(hub, "me/parts") == DENSE | CARD | more
    card = hub.file("me/parts", "README.md").decode()
    assert "- mine" in card and "- yours" in card and hub.repositories["me/parts"].messages[-1] == "All"
