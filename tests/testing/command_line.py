"""What the tests of several verbs run on: a tiny model, and a file of a few rows."""

from __future__ import annotations

from pathlib import Path

from datasets import Dataset

from tests.testing.tiny import tiny_bert, tiny_tokenizer


def write_model_and_rows(folder: Path) -> Path:
    """Puts `model`, with its tokenizer, and `data.csv`, 24 labelled texts, into a folder."""
    tiny_bert().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    rows = {"text": [f"w{5 + i} w{20 + i} w{30 + i % 9}" for i in range(24)], "label": [i % 2 for i in range(24)]}
    Dataset.from_dict(rows).to_csv(str(folder / "data.csv"))
    return folder
