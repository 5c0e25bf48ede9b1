"""What `train` and `search` read: checked as a whole before anything trains, row by row of the user's own file."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hf_robust_tickets.cli.data import TrainingData, load_training
from hf_robust_tickets.cli.options import DataOptions
from hf_robust_tickets.errors import DataError
from hf_robust_tickets.evaluation.datasets.labels import Classes

TEXTS = ["a good film", "a bad film", "a fine plot", "a poor plot"]


def save(path: Path, labels: list, names: list[str] | None = None, texts: list | None = None) -> str:
    """A parquet file of texts and labels, whose classes have names if these are given."""
    features = None
    if names is not None:
        features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    rows = {"text": texts or [TEXTS[i % 4] for i in range(len(labels))], "label": labels}
    Dataset.from_dict(rows, features=features).to_parquet(str(path))
    return str(path)


@pytest.fixture
def load(tmp_path):
    """Reads (labels, names) for training and for validation."""

    def read(train: tuple, validation: tuple, **options) -> TrainingData:
        classes = options.pop("model_classes", None)
        files = {
            f"{name}_file": save(tmp_path / f"{name}.parquet", *given)
            for name, given in (("train", train), ("validation", validation))
        }
        return load_training(DataOptions(**files, **options), seed=0, model_classes=classes)

    return read


def test_classes_meet_by_name_and_not_by_number(load):
    names = ["negative", "positive"]
    data = load(([0, 1, 0, 1], names), ([0, 0, 1, 1], names[::-1]))
    assert data.classes.names == ("negative", "positive")
    assert data.train["label"][:] == [0, 1, 0, 1] and data.validation["label"][:] == [1, 1, 0, 0]
    assert data.train.column_names == ["text", "label"]
    words = load((["no", "yes", "no"],), (["YES", "no"],))
    assert words.classes.names == ("no", "yes") and words.validation["label"][:] == [1, 0]
    mixed = load(([0, 1], names), (["positive", "negative"],))
    assert mixed.validation["label"][:] == [1, 0]


def test_a_classifier_that_is_trained_further_keeps_the_order_of_its_classes(load):
    model = Classes(("positive", "negative"), True, "the model")
    data = load(([0, 1], ["negative", "positive"]), ([0, 1], ["negative", "positive"]), model_classes=model)
    assert data.classes.names == model.names
    assert data.train["label"][:] == [1, 0] and data.validation["label"][:] == [1, 0]
    other = Classes(("a", "b"), True, "the model")
    kept = load(([0, 1], ["negative", "positive"]), ([0], ["negative", "positive"]), model_classes=other)
    assert kept.classes.names == ("negative", "positive")


@pytest.mark.parametrize("labels", [[0.0, 1.0, 0.0], [False, True, False], [0, 1, 0], ["0", "1", "0"]], ids=str)
def test_numbers_may_be_floats_booleans_or_words(load, labels):
    for pair in ((labels, [0, 1, 1]), ([0, 1, 0], labels)):
        data = load(*((part,) for part in pair))
        assert all(type(value) is int for value in [*data.train["label"], *data.validation["label"]])
        assert data.train["label"][:] == [0, 1, 0]


def test_twelve_classes_are_in_the_order_of_their_numbers(load):
    data = load((list(range(12)) * 2,), ([11],))
    assert data.classes.names == tuple(f"LABEL_{i}" for i in range(12)) and data.validation["label"][:] == [11]


@pytest.mark.parametrize("labels", [[0, 2], [0, 0], [1, 2]], ids=str)
def test_validation_may_lack_classes(load, labels):
    assert load(([0, 1, 2, 1],), (labels,)).validation["label"][:] == labels


def test_rows_without_a_gold_label_are_left_out(load, caplog):
    names = ["negative", "positive"]
    data = load(([-1, 1, 0, -1], names), ([0, 1, -1], names))
    assert data.train["label"][:] == [1, 0] and data.train["text"][:] == TEXTS[1:3]
    assert data.validation["label"][:] == [0, 1]
    assert "2 rows of" in caplog.text and "the first is row 0" in caplog.text and "the first is row 2" in caplog.text
    with pytest.raises(DataError, match=r"validation\.parquet, got -1 in every row: this split is unlabelled"):
        load(([0, 1], names), ([-1, -1], names))


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        (([0, 1, 3, 1],), ([0],), r"whole numbers 0, 1, \.\.\., 2, or names, got 3 in row 2 \(and no 2\)"),
        (([0, 1, -1, 1],), ([0],), r"got -1 in row 2"),
        (([0, 1, 0.5],), ([0.0],), r"got 0\.5 in row 2"),
        (([0, 1, None],), ([0],), r"row 2 of .*train\.parquet, got an empty cell"),
        (([0, 0],), ([0],), "two classes or more"),
        (([0, 1],), ([0, 1, 2],), r"0\.\.1, those of the training data, in 'label' of row 2 of .*validation\.parquet"),
        (([0, 1],), ([0, -1],), r"row 1 of .*validation\.parquet, got -1: without a label"),
        (([0, 1],), ([0, None],), r"row 1 of .*validation\.parquet, got None"),
        ((["a", "b"],), (["a", "c"],), r"\('a', 'b'\) in 'label' of row 1 of .*validation\.parquet, got 'c'"),
        (([0, 1], ["a", "b"]), ([0, 1, 2], ["a", "b", "c"]), r"to have the data set's 3 classes"),
        (([0, 1], ["a", "b"]), ([0, 1], ["a", "c"]), r"training data's class names to match"),
        (([0, 1], None, ["x", None]), ([0],), r"'text' of row 1 of .*train\.parquet, got an empty cell"),
        (([0, 1], None, ["x", ""]), ([0],), r"'text' of row 1 of .*train\.parquet, got an empty cell"),
        (([0, 1],), ([0, 1], None, ["x", "  "]), r"'text' of row 1 of .*validation\.parquet, got a blank text"),
    ],
)
def test_a_row_that_cannot_be_learnt_or_judged_is_named(load, train, validation, message):
    with pytest.raises(DataError, match=message) as caught:
        load(train, validation)
    assert "\n" not in str(caught.value)


def test_the_row_is_that_of_the_file_whatever_part_is_taken(load):
    with pytest.raises(DataError, match="row 7 of"):
        load(([0, 1] * 4, None, [*["x"] * 7, None]), ([0],), max_train_samples=2)
    part = load(([0] * 50 + [1],), ([0, 1],), max_train_samples=3)
    assert len(part.train) == 3 and part.classes.names == ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize("split", ["train", "validation"])
def test_empty_files_and_missing_columns(tmp_path, split):
    good = save(tmp_path / "good.parquet", [0, 1])
    files = {"train_file": good, "validation_file": good}
    empty = tmp_path / "empty.csv"
    empty.write_text("text,label\n")
    with pytest.raises(DataError, match="empty"):
        load_training(DataOptions(**{**files, f"{split}_file": str(empty)}), seed=0)
    Dataset.from_dict({"text": ["a"], "stars": [1]}).to_parquet(str(tmp_path / "stars.parquet"))
    with pytest.raises(DataError, match=r"no column 'label': the data set has text, stars \(.*stars\.parquet"):
        load_training(DataOptions(**{**files, f"{split}_file": str(tmp_path / "stars.parquet")}), seed=0)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_the_encoding_of_a_file_is_said_and_can_be_given(tmp_path, encoding):
    text = "text,label\ncafé,0\nthé,1\n"
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    (tmp_path / "b.tsv").write_bytes(text.replace(",", "\t").encode(encoding))
    files = {"train_file": str(tmp_path / "a.csv"), "validation_file": str(tmp_path / "b.tsv")}
    with pytest.raises(DataError, match=r"codec.*--encoding") as caught:
        load_training(DataOptions(**files), seed=0)
    assert "\n" not in str(caught.value)
    data = load_training(DataOptions(**files, encoding=encoding), seed=0)
    assert data.train["text"][:] == data.validation["text"][:] == ["café", "thé"]


def test_a_split_that_is_not_there_is_said_with_those_that_are(tmp_path):
    with pytest.raises(DataError, match="expected train data in the split 'train' of") as caught:
        load_training(DataOptions(dataset_name=str(tmp_path / "none")), seed=0)
    assert "\n" not in str(caught.value)
