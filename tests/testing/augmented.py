"""Trainings whose texts are augmented, and the rows that reach the model: alone, or on ranks.

python -m tests.testing.augmented '{"output_dir": "/tmp/out"}' writes `rows-<rank>.json` there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import DataCollatorWithPadding

from hf_robust_tickets import AdversarialTrainer
from tests.testing.ranks import leave
from tests.testing.small_tokenizers import TEXTS, wordpiece
from tests.testing.tiny import tiny_bert
from tests.testing.training import arguments

# One row of ids and its mask, without padding.
Row = list[int]
# All of them are whole words of the tokenizer.
NEIGHBOURS = {"film": ["movie"], "good": ["great", "love"], "great": ["good"], "dull": ["plot"], "movie": ["film"]}


def texts(size: int = 32) -> list[str]:
    """Different texts of different lengths."""
    words = "film movie good great dull act watch the was and".split()  # noqa: SIM905
    return [f"{words[i % 10]} {words[i // 10]} {TEXTS[i % 3]}"[: 40 + i] for i in range(size)]


def augmented_data(size: int = 32) -> Dataset:
    """The texts, tokenised, with labels."""
    rows = wordpiece()(texts(size), truncation=True, max_length=30)
    return Dataset.from_dict({**rows, "labels": [i % 2 for i in range(size)]})


class KeepRows(AdversarialTrainer):
    """Keeps the rows of every micro-batch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rows: list[list[Row]] = []

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        kept = zip(inputs["input_ids"].tolist(), inputs["attention_mask"].tolist(), strict=True)
        self.rows.append([[token for token, shown in zip(ids, mask, strict=True) if shown] for ids, mask in kept])
        return super().training_step(model, inputs, *args, **kwargs)


def augmented_trainer(folder: str | Path, data: Any = None, collator: Any = None, **options: Any) -> KeepRows:
    """Two epochs of four steps in which half of the words change, unless the options say otherwise."""
    values = {"augment_rate": 0.5, "augment_with": ["characters"], "adversary": "none", "max_steps": -1}
    values |= {"num_train_epochs": 2}
    return KeepRows(
        tiny_bert(vocab_size=200),
        arguments(folder, **(values | options)),
        train_dataset=augmented_data() if data is None else data,
        eval_dataset=augmented_data(),
        processing_class=wordpiece(),
        data_collator=collator or DataCollatorWithPadding(wordpiece()),
    )


def main() -> None:
    options = json.loads(sys.argv[1])
    trainer = augmented_trainer(options.pop("output_dir"), **options)
    trainer.train()
    Path(trainer.args.output_dir, f"rows-{trainer.args.process_index}.json").write_text(json.dumps(trainer.rows))
    leave()


if __name__ == "__main__":
    main()
