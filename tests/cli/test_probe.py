"""`robust-tickets probe`: each view is written, printed and shown by `report`."""

from __future__ import annotations

import json

import pytest

from hf_robust_tickets.cli.main import main
from hf_robust_tickets.evaluation import RobustnessReport
from tests.testing.tiny import tiny_bert, tiny_tokenizer


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    tiny_bert().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    rows = [
        {"text": f"w{i} w9 w{other}", "label": i % 2, "set": f"s{i // 2}", "kind": ("original", "revised")[i % 2]}
        for i, other in zip(range(6, 22), range(40, 56))
    ]
    (folder / "dev.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def probe(here, *options):
    common = ["--model_name_or_path", str(here / "model"), "--validation_file", str(here / "dev.jsonl")]
    common += ["--text_columns", "text", "--output_dir", str(here / "out")]
    return main(["probe", *options, *common])


def test_views_are_written_printed_and_shown(here, capsys):
    assert probe(here, "white_box", "hotflip", "noise", "--radii", "0.05", "--steps", "2", "--flips", "1") == 0
    out = capsys.readouterr().out
    assert "hotflip: accuracy under attack" in out and "keyboard" in out and "radius" in out
    assert probe(here, "accuracy") == 0
    accuracy = json.loads((here / "out" / "accuracy.json").read_text())
    assert accuracy["accuracy"] == json.loads((here / "out" / "noise.json").read_text())["clean_accuracy"]
    assert probe(here, "contrast", "--group_column", "set", "--kind_column", "kind") == 0
    made = here / "out" / "hotflip.json"
    assert probe(here, "transfer", "--transfer_from", str(made), "--own_report", str(made)) == 0
    # replayed on the model that they were made on, all texts fool it again
    transfer = json.loads((here / "out" / "transfer.json").read_text())
    succeeded = RobustnessReport.load(made)["hotflip"].counts["succeeded"]
    assert transfer["num_examples"] == succeeded == len(transfer["fooled"]) and transfer["warnings"] == []
    capsys.readouterr()
    assert main(["report", str(made), str(here / "out"), "--output_file", str(here / "page.html")]) == 0
    text = (here / "page.html").read_text()
    for part in (
        "Inside balls",
        "natural noise",
        "texts as they are",
        "contrast consistency",
        "texts made on another model",
        "Confidence",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["sleep"], "expected kinds among accuracy, white_box, hotflip, noise, contrast, transfer, got sleep"),
        (["transfer"], "pass --transfer_from"),
        (["contrast"], "pass --group_column or --kind_column"),
        (["contrast", "--group_column", "set", "--max_eval_samples", "4"], "no --max_eval_samples"),
        (["noise", "--severities", "9"], "severities among 1 to 5"),
        (["white_box", "--layer", "3"], "a layer from 1 to 2"),
    ],
)
def test_wrong_calls(here, options, message, capsys):
    assert probe(here, *options) == 2
    assert message in capsys.readouterr().err
