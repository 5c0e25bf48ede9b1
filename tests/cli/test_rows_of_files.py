"""`evaluate` and `probe` name the row of the user's own file, whatever part of it they look at."""

from __future__ import annotations

import json

import pytest

from hf_robust_tickets.cli.main import main
from tests.testing.tiny import tiny_bert, tiny_tokenizer


@pytest.mark.parametrize("verb", [["evaluate", "--recipes", "deepwordbug"], ["probe", "noise"]])
@pytest.mark.parametrize(
    ("cell", "said"),
    [({"text": "  "}, "column 'text' of row 7, got a blank text"), ({"label": 5}, "in 'label' of row 7, got 5")],
)
def test_a_bad_row(tmp_path, capsys, verb, cell, said):
    pytest.importorskip("nltk")
    tiny_bert().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    rows = [{"text": f"w{i + 5} w{i + 6}", "label": i % 2} for i in range(12)]
    rows[7] |= cell
    (tmp_path / "reviews.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    capsys.readouterr()
    status = main(
        [*verb, "--model_name_or_path", str(tmp_path / "model"), "--validation_file", str(tmp_path / "reviews.jsonl"),
         "--output_dir", str(tmp_path / "out")]
    )  # fmt: skip
    line = capsys.readouterr().err.splitlines()[-1]
    assert status == 2 and said in line and f"rows are those of {tmp_path / 'reviews.jsonl'}" in line
