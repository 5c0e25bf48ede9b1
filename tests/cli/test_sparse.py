"""`robust-tickets sparse`, on a tiny model and files made here."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from hf_robust_tickets.cli.main import main
from hf_robust_tickets.sparse import load_masks
from tests.testing.command_line import write_model_and_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model_and_rows(tmp_path_factory.mktemp("sparse"))


def line(folder, out, *more: str) -> list[str]:
    files = ["--train_file", str(folder / "data.csv"), "--validation_file", str(folder / "data.csv")]
    arguments = ["--model_name_or_path", str(folder / "model"), *files, "--output_dir", str(out)]
    rest = ["--report_to", "none", "--disable_tqdm", "True", "--save_strategy", "no", "--max_steps", "6"]
    return ["sparse", *arguments, *rest, "--adversary", "fgm", *more]


def weights(folder) -> dict:
    return AutoModelForSequenceClassification.from_pretrained(folder).state_dict()


def check_masked(folder) -> dict:
    masks, found = load_masks(folder / "sparse_masks.safetensors"), weights(folder)
    assert masks and all(not found[name][~mask].any() and found[name][mask].any() for name, mask in masks.items())
    return masks


def one_line(capsys) -> str:
    said = [text for text in capsys.readouterr().err.splitlines() if text.startswith("robust-tickets")]
    assert len(said) == 1 and "--debug shows" not in said[0], said
    return said[0]


def test_masks_move_and_those_of_a_file_do_not(folder, tmp_path, capsys):
    moving = ["--density", "0.25", "--method_kwargs", '{"period": 2, "init": "uniform"}', "--exclude", "query"]
    assert main(line(folder, tmp_path / "moving", *moving)) == 0
    said = capsys.readouterr().out
    masks = check_masked(tmp_path / "moving")
    kept, total = (sum(int(f(mask)) for mask in masks.values()) for f in (torch.sum, torch.numel))
    assert kept == round(0.25 * total) and not any("query" in name for name in masks)
    assert f"{kept:,} of {total:,} (25.0%)" in said and "fgm" in said and "masks moved" in said
    assert "3 times" in said and "flying-bird" in (tmp_path / "moving" / "README.md").read_text()
    again = ["--masks", str(tmp_path / "moving" / "sparse_masks.safetensors"), "--exclude", "query"]
    assert main(line(folder, tmp_path / "fixed", *again)) == 0
    fixed = check_masked(tmp_path / "fixed")
    assert all(torch.equal(fixed[name], masks[name]) for name in masks) and "0 times" in capsys.readouterr().out


def test_both_stages_of_robust_bird_by_yaml_go_on_where_they_were_cut_off(folder, tmp_path, capsys):
    options = ["--method", "robust-bird", "--density", "0.5", "--save_strategy", "steps", "--save_steps", "2"]
    pairs = line(folder, tmp_path / "out", *options)[1:]
    content = {key[2:]: value for key, value in zip(pairs[::2], pairs[1::2])}
    lines = [f"{key}: {value}" for key, value in content.items()] + ["method_kwargs: {budget: 0.5, patience: 2}"]
    (tmp_path / "job.yaml").write_text("\n".join(lines))
    assert main(["sparse", str(tmp_path / "job.yaml")]) == 0
    said = capsys.readouterr().out
    assert "search" in said and "settle" in said and "(50.0%)" in said
    check_masked(tmp_path / "out")
    wanted = weights(tmp_path / "out")
    (tmp_path / "out" / "checkpoint-6").rename(tmp_path / "aside")
    assert main(["sparse", str(tmp_path / "job.yaml")]) == 2
    assert "holds checkpoints of an earlier training (checkpoint-4)" in one_line(capsys)
    (tmp_path / "again.yaml").write_text("\n".join([*lines, "resume_from_checkpoint: true"]))
    assert main(["sparse", str(tmp_path / "again.yaml")]) == 0
    found = weights(tmp_path / "out")
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--method", "flying-brid"], "unknown sparse method 'flying-brid'"),
        (["--method", "fixed"], "pass --masks"),
        (["--density", "a third"], "expected a density in (0, 1]"),
        (["--density", "1.5"], "density"),
        (["--density", "0.2", "--method_kwargs", '{"density": 0.3}'], "density in method_kwargs too"),
        (["--method_kwargs", '{"perod": 2}'], "flying-bird has no option perod"),
        (["--method_kwargs", "{"], "method_kwargs must be a dict"),
        (["--masks", "nowhere.safetensors"], "expected a file of masks"),
        (["--masks", "nowhere.safetensors", "--density", "0.2"], "got both"),
        (["--include", "nothing"], "nothing"),
        (["--search_adversary", "pgd"], "search_adversary attacks stage 1 of Robust Bird"),
        (["--search_lr_scheduler_type", "linear"], "that of robust-bird"),
        (["--method", "robust-bird", "--search_lr_scheduler_type", "x"], "must be one of linear"),
        (["--optim", "adafactor", "--average_weights_from", "0.5"], "average of weights under masks"),
        (["--neuron_sparsity", "0.5"], "unknown option --neuron_sparsity"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_before_anything_is_written(folder, tmp_path, capsys, more, message):
    assert main(line(folder, tmp_path / "out", *more)) == 2
    assert message in one_line(capsys)
    left = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert left <= {".training.lock"}  # what only the beginning of a training sees is refused under its lock
