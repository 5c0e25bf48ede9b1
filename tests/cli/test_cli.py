"""The command line, on a tiny model and files made here."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import hf_robust_tickets
from hf_robust_tickets.cli.main import VERBS, main
from hf_robust_tickets.tickets import RobustTicket, is_pruned, load_pruned
from tests.testing.tiny import tiny_bert

GOOD, BAD = ["good", "fine", "great", "lovely"], ["bad", "poor", "awful", "dull"]
REST = ["the", "film", "is", "a", "plot", "and", "so", "very"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model with its tokenizer, and reviews of a dozen words."""
    folder = tmp_path_factory.mktemp("cli")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *REST]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", mask_token="[MASK]"
    )
    fast.save_pretrained(folder / "model")
    tiny_bert().save_pretrained(folder / "model")
    chooser = random.Random(0)
    rows = [[*chooser.choices(REST, k=5), chooser.choice([BAD, GOOD][i % 2])] for i in range(64)]
    features = Features({"text": Value("string"), "label": ClassLabel(names=["negative", "positive"])})
    columns = {"text": [" ".join(row) for row in rows], "label": [i % 2 for i in range(64)]}
    data = Dataset.from_dict(columns, features=features)
    data.to_parquet(str(folder / "train.parquet"))
    data.to_csv(str(folder / "train.csv"))
    data.to_json(str(folder / "train.jsonl"))
    return folder


def skip_without_textattack() -> None:
    if importlib.util.find_spec("textattack") is None:
        pytest.skip("TextAttack is not installed")


def options(folder: Path, output: Path, *extra: str, train: str = "train.parquet") -> list[str]:
    return [
        *("--model_name_or_path", str(folder / "model"), "--output_dir", str(output)),
        *("--train_file", str(folder / train), "--validation_file", str(folder / train)),
        *("--max_length", "16", "--search_max_steps", "6", "--score_warmup", "2", "--score_batches", "4"),
        *("--ticket_tolerance", "0.9", "--max_steps", "4", "--disable_tqdm", "True"),
        *("--save_strategy", "no", "--report_to", "none", *extra),
    ]


def test_train_then_evaluate(folder, tmp_path, capsys):
    assert main(["train", *options(folder, tmp_path / "out")]) == 0
    assert "heads kept" in capsys.readouterr().out
    model = load_pruned(tmp_path / "out")
    assert is_pruned(model) and model.config.id2label == {0: "negative", 1: "positive"}
    assert {p.name for p in (tmp_path / "out/pictures").iterdir()} >= {"ticket.png", "distances.png", "cost.png"}
    skip_without_textattack()
    arguments = ["--model_name_or_path", str(tmp_path / "out"), "--validation_file", str(folder / "train.parquet")]
    more = ["--recipes", "deepwordbug", "--num_examples", "6", "--output_dir", str(tmp_path / "robustness")]
    assert main(["evaluate", *arguments, *more]) == 0
    assert "deepwordbug" in capsys.readouterr().out
    report = json.loads((tmp_path / "robustness/robustness.json").read_text())
    assert len(report["sample_ids"]) == 6


@pytest.mark.parametrize("train", ["train.csv", "train.jsonl"])
def test_other_formats(folder, tmp_path, train):
    assert main(["search", *options(folder, tmp_path, train=train)]) == 0
    assert RobustTicket.load(tmp_path / "ticket.safetensors").summary()["layers"] == 2


def test_search_then_prune(folder, tmp_path, capsys):
    assert main(["search", *options(folder, tmp_path / "search")]) == 0
    ticket = str(tmp_path / "search" / "ticket.safetensors")
    model = ["--model_name_or_path", str(folder / "model"), "--output_dir", str(tmp_path / "small")]
    assert main(["prune", *model, "--ticket", ticket]) == 0
    kept = RobustTicket.load(ticket)
    assert load_pruned(tmp_path / "small").config.robust_ticket["neurons"] == list(kept.neuron_counts)
    assert main(["prune", *model]) == 2
    assert "say what to cut" in capsys.readouterr().err
    assert main(["prune", *model, "--random", "True", "--neuron_sparsity", "0.5"]) == 0
    RobustTicket(heads=kept.heads[:1], neurons=kept.neurons[:1]).save(tmp_path / "shallow")
    assert main(["prune", *model, "--ticket", str(tmp_path / "shallow")]) == 2
    assert "got one for 1 layers" in one_line(capsys)
    blocks = ["--random", "True", "--neuron_sparsity", "0.99", "--keep_one", "False"]
    assert main(["prune", *model, *blocks]) == 0
    assert 0 in load_pruned(tmp_path / "small").config.robust_ticket["neurons"]


def test_prune_refits_where_texts_are_given(folder, tmp_path, capsys):
    cut = ["prune", "--model_name_or_path", str(folder / "model"), "--random", "True"]
    data = ["--train_file", str(folder / "train.csv")]
    assert main([*cut, "--output_dir", str(tmp_path / "plain")]) == 0
    assert main([*cut, "--output_dir", str(tmp_path / "small"), *data, "--refit_examples", "40"]) == 0
    assert "refitted 4 projections: mean error 0." in capsys.readouterr().out
    plain, small = load_pruned(tmp_path / "plain").state_dict(), load_pruned(tmp_path / "small").state_dict()
    moved = {name for name in plain if not plain[name].equal(small[name])}
    assert len(moved) == 8 and all(".output.dense." in name for name in moved)
    for wrong, message in (
        (data, "texts are for a refit"),
        (["--refit_examples", "40"], "no train data"),
        ([*data, "--refit_examples", "-1"], "from 0 on"),
    ):
        assert main([*cut, "--output_dir", str(tmp_path / "none"), *wrong]) == 2
        assert message in one_line(capsys)
    assert not (tmp_path / "none").exists()


def test_training_data_are_augmented(folder, tmp_path, capsys):
    (tmp_path / "list.json").write_text(json.dumps({"good": ["fine", "great"], "bad": ["poor"], "film": ["plot"]}))
    words = ["--augment_rate", "0.5", "--augment_with", str(tmp_path / "list.json"), "characters"]
    words += ["--dirichlet_neighbours", str(tmp_path / "list.json")]
    assert main(["train", *options(folder, tmp_path / "out", *words)]) == 0
    found = load_pruned(tmp_path / "out").config.training_resources
    assert found == ["character-edits", "neighbours:list.json", "qwerty"]
    assert main(["train", *options(folder, tmp_path / "none", "--augment_rate", "0.5")]) == 2
    assert "augment_rate and augment_with together" in one_line(capsys)


def test_yaml_file(folder, tmp_path):
    pairs = options(folder, tmp_path / "out")
    pairs += ["--gate_learning_rate", "1e-2"]  # a number that YAML 1.1 reads as text
    content = "\n".join(f"{key[2:]}: {value}" for key, value in zip(pairs[::2], pairs[1::2]))
    (tmp_path / "job.yaml").write_text(content)
    assert main(["search", str(tmp_path / "job.yaml")]) == 0
    assert (tmp_path / "out" / "ticket.safetensors").exists()


def one_line(capsys) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    said = [line for line in lines if line.startswith("robust-tickets")]
    assert len(said) == 1, lines
    return said[0]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--adversary", "frelb"], "unknown adversary 'frelb'"),
        (["--neuron_sparsity", "1.0"], "neuron_sparsity must be in [0, 1)"),
        (["--label_column", "stars"], "no column 'stars': the data set has text, label"),
        (["--text_columns", "body"], "expected a text column 'body'"),
        (["--train_file", "nowhere.parquet"], "no file nowhere.parquet"),
        (["--model_name_or_path", "./nowhere"], "no folder ./nowhere"),
    ],
)
def test_errors_are_one_line(folder, tmp_path, capsys, extra, message):
    assert main(["train", *options(folder, tmp_path), *extra]) == 2
    assert message in one_line(capsys)


def test_bad_yaml(tmp_path, capsys):
    (tmp_path / "job.yaml").write_text("output_dir: [")
    assert main(["train", str(tmp_path / "job.yaml")]) == 2
    assert "is no YAML" in one_line(capsys)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a0: &a0 [x, x]\n" + "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)),
            "aliases stand for",
        ),
        ("&a [*a]", "aliases stand for"),
        ("output_dir: " + "[" * 50_000, "no YAML"),
        ("output_dir: 2026-02-31", "no YAML"),
        ("output_dir: " + "1" * 10_000, "no YAML"),
        ("seed: [[1]]", "expected a value or a list of values for seed, got a list in a list"),
        ("- seed", "one `option: value` per line"),
        ("x" * 2_000_000, "at most 1,048,576 bytes"),
        (b"\xff\xfe\x00", "expected a file of options in UTF-8"),
    ],
    ids=["aliases", "itself", "deep", "date", "number", "nested", "list", "large", "bytes"],
)
def test_a_yaml_file_that_means_harm_is_one_line(tmp_path, capsys, content, message):
    (tmp_path / "job.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["train", str(tmp_path / "job.yaml")]) == 2
    assert message in one_line(capsys)


def test_a_pipe_in_place_of_a_yaml_file_is_refused(tmp_path, capsys):
    os.mkfifo(tmp_path / "job.yaml")
    assert main(["train", str(tmp_path / "job.yaml")]) == 2
    assert "no regular file" in one_line(capsys)


def test_a_mapping_in_yaml_is_json_on_the_line(folder, tmp_path):
    pairs = options(folder, tmp_path / "out")
    lines = [f"{key[2:]}: {value}" for key, value in zip(pairs[::2], pairs[1::2])]
    lines += ["lr_scheduler_type: cosine", "lr_scheduler_kwargs: {num_cycles: 0.25}"]
    (tmp_path / "job.yaml").write_text("\n".join(lines))
    assert main(["search", str(tmp_path / "job.yaml")]) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ticket_intervall: 0.025", "job.yaml: unknown option ticket_intervall; did you mean ticket_interval?"),
        ("colour: blue", "job.yaml: unknown option colour; see robust-tickets train --help"),
        ("1: 2", "job.yaml: unknown option 1; see"),
    ],
)
def test_misspelt_option_in_yaml(folder, tmp_path, capsys, line, message):
    (tmp_path / "job.yaml").write_text(f"model_name_or_path: {folder / 'model'}\noutput_dir: out\n{line}\n")
    assert main(["train", str(tmp_path / "job.yaml")]) == 2
    assert message in one_line(capsys)


def test_misspelt_option_of_the_line(folder, tmp_path, capsys):
    for extra in (["--ticket_intervall", "0.025"], ["--ticket_intervall=0.025"]):
        assert main(["train", *options(folder, tmp_path), *extra]) == 2
        assert "unknown option --ticket_intervall; did you mean --ticket_interval?" in one_line(capsys)
    assert main(["train", "stray", *options(folder, tmp_path)]) == 2
    assert "expected options that begin with --, got 'stray'" in one_line(capsys)


def test_the_package_is_the_command_too():
    command = [sys.executable, "-m", "hf_robust_tickets", "--version"]
    found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert found.stdout.strip() == hf_robust_tickets.__version__


def test_wrong_options_are_one_line_too(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--output_dir", "out"])
    assert stopped.value.code == 2 and "--model_name_or_path" in one_line(capsys)


def test_missing_resource_is_no_success(folder, tmp_path, capsys, monkeypatch):
    skip_without_textattack()
    monkeypatch.setenv("NLTK_DATA", str(tmp_path))
    monkeypatch.setenv("TA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])
    arguments = ["--model_name_or_path", str(folder / "model"), "--validation_file", str(folder / "train.parquet")]
    more = ["--recipes", "deepwordbug", "pwws", "--num_examples", "2", "--output_dir", str(tmp_path / "out")]
    assert main(["evaluate", *arguments, *more]) == 1
    assert one_line(capsys).endswith("pwws did not run (reasons above)")
    assert (tmp_path / "out" / "robustness.json").exists()


def test_debug_shows_the_traceback(folder, tmp_path):
    with pytest.raises(ValueError, match="no file"):
        main(["train", *options(folder, tmp_path), "--train_file", "nowhere.parquet", "--debug"])


def test_unknown_recipe(folder, tmp_path, capsys):
    skip_without_textattack()
    arguments = ["--model_name_or_path", str(folder / "model"), "--validation_file", str(folder / "train.parquet")]
    assert main(["evaluate", *arguments, "--recipes", "textfoler", "--output_dir", str(tmp_path)]) == 2
    assert "textfoler" in one_line(capsys)


def test_help_and_wrong_calls(capsys):
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert "robust-tickets VERB" in capsys.readouterr().out
    assert main(["bake"]) == 2
    assert "unknown verb 'bake'" in capsys.readouterr().err
    for verb in VERBS:
        with pytest.raises(SystemExit) as stopped:
            main([verb, "--help"])
        assert stopped.value.code == 0


@pytest.mark.parametrize(
    "line", [["--help"], ["--version"], ["nothing"], []], ids=lambda line: " ".join(line) or "none"
)
def test_what_needs_no_model_loads_no_library(line):
    code = (
        "import sys\nfrom hf_robust_tickets.cli.main import main\n"
        f"main({line!r})\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'huggingface_hub', 'textattack'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
