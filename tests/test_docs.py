"""The code of the how-to pages runs as it stands there."""

from __future__ import annotations

import ast
import functools
import importlib
import re
from pathlib import Path

import pytest
import torch
import transformers

import hf_robust_tickets
from hf_robust_tickets.architectures import registry as registry_module
from hf_robust_tickets.tickets import load_pruned, prune_, random_ticket, save_pruned
from tests.testing.families import tiny_model
from tests.testing.paths import ROOT
from tests.testing.vision_models import tiny_images

DOCS = ROOT / "docs"


def code_of(page: Path) -> list[str]:
    """The blocks of Python of a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


PAGES = sorted(page for page in (*ROOT.glob("*.md"), *DOCS.glob("*.md")) if code_of(page))


@functools.cache
def names_of_the_package() -> set[str]:
    """What its files define for others; the command line is no library."""
    found = set()
    for path in Path(hf_robust_tickets.__file__).parent.rglob("*.py"):
        if path.parent.name not in ("cli", "demo"):
            kinds = (ast.FunctionDef, ast.ClassDef)
            found |= {node.name for node in ast.parse(path.read_text()).body if isinstance(node, kinds)}
    return {name for name in found if not name.startswith("_")}


def names_that_lack_an_import(blocks: list[str], names: set[str]) -> set[str]:
    """Those of `names` that a block uses before it, or a block above it, has imported or defined them."""
    known, lacking = set(), set()
    for block in blocks:
        nodes = list(ast.walk(ast.parse(block)))
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                known |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                known.add(node.name)
        variables = [node for node in nodes if isinstance(node, ast.Name)]
        known |= {node.id for node in variables if isinstance(node.ctx, ast.Store)}
        lacking |= {node.id for node in variables} & names - known
    return lacking


def run_page(name: str, **given: object) -> dict:
    """Runs all Python of a page in one namespace, which begins with what is given."""
    namespace: dict = {"__name__": "page", **given}
    exec(compile("\n".join(code_of(DOCS / name)), name, "exec"), namespace)
    return namespace


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_imports_what_it_uses_of_the_package(page):
    assert not names_that_lack_an_import(code_of(page), names_of_the_package())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_imports_of_the_package_exist(page):
    nodes = [
        node for block in code_of(page) for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)
    ]
    for node in (node for node in nodes if node.module.startswith("hf_robust_tickets")):
        module = importlib.import_module(node.module)
        assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)


def test_an_import_counts_from_its_block_on():
    with_import = "from hf_robust_tickets import prune_\nprune_(model, ticket)"
    assert names_that_lack_an_import([with_import, "prune_(model, ticket)"], {"prune_"}) == set()
    assert names_that_lack_an_import(["prune_(model, ticket)", with_import], {"prune_"}) == {"prune_"}


def test_export(here):
    model = tiny_model()
    vocabulary = here / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijkl"]))
    tokenizer = transformers.BertTokenizer(str(vocabulary))
    save_pruned(prune_(model, random_ticket(model, 0.4, 0.5, round_to=1)), here / "small", tokenizer=tokenizer)
    page = run_page("export.md")
    assert page["logits"].shape == (3, 3)
    assert (here / "small.onnx").exists()
    assert load_pruned(here / "small-merged").config.robust_ticket == model.config.robust_ticket


def test_prune_and_push(here):
    batch = {"input_ids": torch.randint(5, 60, (4, 8)), "labels": torch.tensor([0, 1, 2, 0])}
    page = run_page("prune_and_push.md", model=tiny_model(), loader=[batch] * 2, tokenizer=None)
    assert load_pruned(here / "small").config.robust_ticket["heads"] == page["ticket"].head_counts


def test_checkpoint_format(here):
    model = tiny_model()
    save_pruned(prune_(model, random_ticket(model, 0.4, 0.5, round_to=1)), here / "small")
    page = run_page("checkpoint_format.md")
    assert page["model"].config.robust_ticket["fingerprint"] == page["ticket"].fingerprint()


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
