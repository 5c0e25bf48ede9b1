"""The texts of the evidence: where they lie, what their columns are called, and how many are used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset

MOST_TEST_TEXTS = 2000


@dataclass(frozen=True)
class Corpus:
    """A data set of the data folder, and what of a protocol it changes.

    Attributes:
        title: Its name on the page.
        train: File of the training texts, without its ending.
        test: File of the test texts.
        columns: Columns of the text, one or two.
        classes: How many labels there are.
        most: How many training texts are used, drawn at random; None for all.
        protocol: Fields of the protocol that differ.
    """

    title: str
    train: str
    test: str
    columns: tuple[str, ...] = ("text",)
    classes: int = 2
    most: int | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Its folder in the data folder."""
        return Path(self.train).parent.name

    def load(self, folder: Path, development: int) -> dict[str, Dataset]:
        """`train`; `development`, held out of the same file, which may choose; `test`, which only reports.

        At most 2,000 test texts, drawn at random, none of which was trained on.
        """
        files = {name: f"{folder}/{getattr(self, name)}.parquet" for name in ("train", "test")}
        train, test = (load_dataset("parquet", data_files=files, split=split) for split in ("train", "test"))
        shuffled = train.shuffle(seed=1)
        end = len(shuffled) if self.most is None else min(len(shuffled), development + self.most)
        splits = {
            "train": shuffled.select(range(development, end)),
            "development": shuffled.select(range(development)),
        }
        # Some test texts of IMDB are in its training file too.
        seen = set(zip(*(splits["train"][column] for column in self.columns)))
        rows = zip(*(test[column] for column in self.columns))
        splits["test"] = test.select([i for i, row in enumerate(rows) if row not in seen])
        if len(test) > MOST_TEST_TEXTS:
            splits["test"] = splits["test"].shuffle(seed=1).select(range(MOST_TEST_TEXTS))
        keep = {*self.columns, "label"}
        return {
            name: split.remove_columns([column for column in split.column_names if column not in keep])
            for name, split in splits.items()
        }


CORPORA = {
    "train_sentences": Corpus("SST-2, sentences", "sst2/train_sentences", "sst2/validation", ("sentence",)),
    # Phrases of one sentence are on both sides of what is held out: only the test file tells how good a model is.
    "train": Corpus("SST-2, sentences and phrases", "sst2/train", "sst2/validation", ("sentence",)),
    "ag_news": Corpus(
        "AG News, 4,000 training texts", "ag_news/train", "ag_news/test", classes=4, most=4000,
        protocol={"num_examples": 60, "recipes": ("deepwordbug", "textfooler")},
    ),
    "imdb": Corpus(
        "IMDB, 3,000 training texts", "imdb/train", "imdb/test", most=3000,
        protocol={"max_length": 128, "num_examples": 30, "recipes": ("deepwordbug", "textfooler")},
    ),
    "mrpc": Corpus(
        "MRPC, pairs", "mrpc/train", "mrpc/test", ("sentence1", "sentence2"),
        protocol={"max_length": 96, "num_examples": 60, "development": 300, "recipes": ("deepwordbug", "textfooler")},
    ),
}  # fmt: skip
ENCODERS = {"minilm": "MiniLM", "mpnet": "MPNet-base"}


def title_of(folder: str) -> str:
    """What results are of that lie in a folder called by a data set, an encoder, or both: `train`, `train-mpnet`."""
    data, _, encoder = folder.partition("-")
    if data in ENCODERS:
        data, encoder = "train_sentences", data
    return ", ".join([CORPORA[data].title, *([ENCODERS[encoder]] if encoder else [])])
