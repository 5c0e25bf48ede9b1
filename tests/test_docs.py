"""The code of the how-to pages runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import transformers

from hf_robust_tickets.architectures import registry as registry_module
from hf_robust_tickets.tickets import load_pruned, prune_, random_ticket, save_pruned
from tests.tickets.models import tiny_model
from tests.vision.models import tiny_images

DOCS = Path(__file__).resolve().parents[1] / "docs"


def run_page(name: str) -> dict:
    """Runs all Python of a page in one namespace."""
    page = (DOCS / name).read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    namespace: dict = {"__name__": "page"}
    exec(compile("\n".join(blocks), name, "exec"), namespace)
    return namespace


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_export(here):
    model = tiny_model()
    vocabulary = here / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijkl"]))
    tokenizer = transformers.BertTokenizer(str(vocabulary))
    save_pruned(prune_(model, random_ticket(model, 0.4, 0.5)), here / "small", tokenizer=tokenizer)
    page = run_page("export.md")
    assert page["logits"].shape == (3, 3)
    assert (here / "small.onnx").exists()
    assert load_pruned(here / "small-merged").config.robust_ticket == model.config.robust_ticket


def test_register_architecture(here, monkeypatch):
    monkeypatch.setattr(registry_module, "_KNOWN", dict(registry_module._KNOWN))
    page = run_page("register_architecture.md")
    assert 0 in page["ticket"].head_counts  # the page speaks of a block that goes
    assert page["small"].config.robust_ticket["heads"] == page["ticket"].head_counts
    assert (here / "small" / "ticket.safetensors").exists()
    transformers.AutoConfig.register("my-encoder", page["MyConfig"])
    transformers.AutoModelForSequenceClassification.register(page["MyConfig"], page["MyEncoder"])
    again = load_pruned("small", transformers.AutoModelForSequenceClassification)
    assert type(again) is type(page["small"])


def test_vision(here):
    tiny_images(12, side=32).to_parquet(here / "train.parquet")
    tiny_images(6, side=32, seed=1).to_parquet(here / "test.parquet")
    page = run_page("vision.md")
    assert page["robust"].num_examples == 6
    assert page["again"].config.id2label == {0: "class 0", 1: "class 1", 2: "class 2"}
    assert page["processor"].size["height"] == 32
