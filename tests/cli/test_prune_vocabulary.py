"""`robust-tickets prune --vocabulary_from`: rows that no file needs leave the model and its tokenizer."""

from __future__ import annotations

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hf_robust_tickets.cli.main import main
from hf_robust_tickets.tickets import load_pruned
from tests.testing.families import tiny_model
from tests.testing.small_tokenizers import TEXTS, wordpiece


@pytest.fixture
def folder(tmp_path):
    tokenizer = wordpiece()
    tiny_model("bert", vocab_size=max(tokenizer.get_vocab().values()) + 1).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "texts.txt").write_text("\n".join([TEXTS[0], "a good movie"]))
    (tmp_path / "more.csv").write_text("text,label\nthe plot,1\n")
    (tmp_path / "dev.csv").write_text("text,label\nwatch the plot,1\na lovely movie,0\n")
    return tmp_path


def prune(folder, *options):
    where = ["--model_name_or_path", str(folder / "model"), "--output_dir", str(folder / "small")]
    return main(["prune", *where, *options])


def test_vocabulary_alone(folder, capsys, caplog):
    texts = ["--vocabulary_from", str(folder / "texts.txt"), str(folder / "more.csv")]
    assert prune(folder, *texts, "--validation_file", str(folder / "dev.csv")) == 0
    before, after = (AutoTokenizer.from_pretrained(folder / name) for name in ("model", "small"))
    assert f"vocabulary {len(before) + 1} -> {len(after)}," in capsys.readouterr().out
    assert "of the evaluation data 2 of 6 words are cut into other pieces" in caplog.text
    model = AutoModelForSequenceClassification.from_pretrained(folder / "small")
    assert model.config.vocab_size == len(after) < len(before)
    assert after.tokenize(TEXTS[0]) == before.tokenize(TEXTS[0])


def test_with_a_ticket_and_options(folder, capsys):
    texts = [
        "--vocabulary_from",
        str(folder / "texts.txt"),
        "--vocabulary_keep",
        "love",
        "--vocabulary_min_count",
        "2",
    ]
    assert prune(folder, *texts, "--random", "True", "--round_to", "1") == 0
    assert load_pruned(folder / "small").config.vocab_size == len(AutoTokenizer.from_pretrained(folder / "small"))
    assert "love" in AutoTokenizer.from_pretrained(folder / "small").get_vocab()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--vocabulary_size", "50", "--random", "True"], "vocabulary_size speak of a cut vocabulary"),
        (["--vocabulary_from", "texts.txt", "--vocabulary_size", "7"], "which would remove at least"),
        (["--vocabulary_from", "nowhere.txt"], "no file"),
        (["--vocabulary_from", "model"], "no file model"),
        (["--vocabulary_from", "bytes.txt"], "pass --encoding"),
        ([], "say what to cut"),
    ],
)
def test_bad_lines(folder, capsys, monkeypatch, options, message):
    monkeypatch.chdir(folder)
    (folder / "bytes.txt").write_bytes(b"\xff\xfe\xff")
    assert prune(folder, *options) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]  # after a bar of progress
    assert message in error and error.startswith("robust-tickets prune:")
    assert not (folder / "small").exists()
