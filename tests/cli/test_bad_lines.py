"""Bad lines, generated: each is refused in one line, with exit status 2, and nothing is left behind."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from hf_robust_tickets.cli.main import main
from tests.testing.tiny import tiny_bert, tiny_tokenizer

ROWS = [{"text": f"w{5 + i} w{20 + i} w{30 + i}", "label": i % 2} for i in range(4)]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with a model, data, and what goes wrong with both."""
    folder = tmp_path_factory.mktemp("bad")
    tiny_bert().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    frame = pd.DataFrame([{"text": row["text"], "label": row["label"]} for row in ROWS * 4])
    frame.to_csv(folder / "good.csv", index=False)
    tables = {
        "empty cell": [*ROWS, {"text": None, "label": 0}],
        "a blank": [*ROWS, {"text": "  ", "label": 0}],
        "no label": [{"text": "w5"}],
        "no text": [{"label": 0}, {"label": 1}],
        "label 5": [*ROWS, {"text": "w5", "label": 5}],
        "label -1": [*ROWS, {"text": "w5", "label": -1}],
        "label none": [*ROWS, {"text": "w5", "label": None}],
        "half a label": [*ROWS, {"text": "w5", "label": 0.5}],
        "one class": [{"text": "w5", "label": 0}],
        "names": [{"text": "w5", "label": "good"}, {"text": "w6", "label": "bad"}],
        "two texts": [{"text": "w5", "other": "w6", "label": i % 2} for i in range(4)],
    }
    for name, rows in tables.items():
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    files = {
        "empty.csv": b"",
        "zeros.csv": b"\0" * 99,
        "utf-16.csv": "text,label\nw5 é,0\nw6,1\n".encode("utf-16"),
        "latin.csv": "text,label\nw5 é,0\nw6,1\n".encode("latin-1"),
        "ragged.csv": b'text,label\nw5,0,1,2\n"w6,1\n',
        "broken.json": b'{"text": "w5", "lab',
        "number.json": b"3",
        "lines.jsonl": b"3\n[]\n",
        "broken.parquet": b"PAR1 and then nothing",
        "data.txt": b"w5 0",
        "robustness.json": b'{"schema": "hf_robust_tickets/robustness", "schema_version": 2}',
        "list.json": b"[1, 2]",
        "ticket.safetensors": b"\x08\0\0\0\0\0\0\0{}      ",
        "job.yaml": b"- a\n- b\n",
        "odd.yaml": b"model_name_or_path: [[1]]\n",
        "broken.yaml": b"a: [\n",
        "unknown.yaml": b"no_such_option: 1\n",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    for name in ("bare", "headless", "without tokenizer", "damaged", "not json", "without weights"):
        tiny_bert().save_pretrained(folder / name)
        tiny_tokenizer().save_pretrained(folder / name)
    (folder / "nothing").mkdir()
    tiny_bert().bert.save_pretrained(folder / "headless")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / "without tokenizer" / name).unlink()
    (folder / "damaged" / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    (folder / "not json" / "config.json").write_text("{")
    (folder / "without weights" / "model.safetensors").unlink()
    return folder


MODELS = [
    "nowhere",
    "good.csv",
    "nothing",
    "headless",
    "without tokenizer",
    "damaged",
    "not json",
    "without weights",
    "",
]
FILES = [
    *(
        "nowhere.csv",
        "model",
        "empty.csv",
        "zeros.csv",
        "utf-16.csv",
        "latin.csv",
        "ragged.csv",
        "broken.json",
        "number.json",
    ),
    *(
        "lines.jsonl",
        "broken.parquet",
        "data.txt",
        "empty cell.csv",
        "a blank.csv",
        "no label.csv",
        "no text.csv",
        "label 5.csv",
    ),
    *("label -1.csv", "label none.csv", "half a label.csv", "one class.csv", "names.csv", "two texts.csv", ""),
]
TRAINING = {
    "train_file": FILES,
    "validation_file": FILES,
    "text_columns": ["nothing", "label"],
    "label_column": ["nothing", "text"],
    "max_length": ["0", "-1", "2", "1000", "x", "nan"],
    "dtype": ["int8", "x"],
    "encoding": ["nothing"],
    "learning_rate": ["x"],
    "search_epochs": ["nan", "-1"],
    "adversary": ["nothing"],
    "adversary_kwargs": ["{", "[]", '{"nothing": 1}'],
    "max_train_samples": ["0", "-3", "x"],
}
ATTACKING = {
    "validation_file": FILES,
    "num_examples": ["0", "-1", "x", "2.5"],
    "batch_size": ["0", "-1", "x"],
    "max_length": ["0", "-1", "2", "1000"],
    "text_columns": ["nothing", "label"],
    "label_column": ["nothing", "text"],
    "max_eval_samples": ["0", "-1"],
}
VERBS = {
    "train": {**TRAINING, "model_name_or_path": [name for name in MODELS if name not in ("headless",)]},
    "search": {"model_name_or_path": [name for name in MODELS if name not in ("headless",)]},
    "sparse": {
        **TRAINING,
        "model_name_or_path": [name for name in MODELS if name not in ("headless",)],
        "method": ["nothing", "fixed", ""],
        "density": ["0", "-1", "2", "nan", "x", "3:2"],
        "method_kwargs": ["{", "[]", '{"nothing": 1}'],
        "masks": ["nowhere", "good.csv", "ticket.safetensors", "model"],
        "include": ["nothing"],
    },
    "sweep": {
        **{name: bad for name, bad in TRAINING.items() if name not in ("train_file", "validation_file")},
        "train_file": ["nowhere.csv", "broken.json", "label none.csv", "names.csv", ""],
        "model_name_or_path": ["nowhere", "without tokenizer", "damaged"],
        "sparsities": ["1", "-1", "nan", "x", "0.1:2", ":", ""],
        "draw_steps": ["0", "-1", "x", "2.5", "99", "1", ""],
        "seeds": ["x", "0.5"],
        "recipes": ["nothing", "nowhere.py:build", ""],
        "num_examples": ["0", "-1", "x"],
        "query_budget": ["0", "x"],
        "num_processes": ["0"],
        "head_sparsity": ["0.5"],
    },
    "doctor": {"recipes": ["nothing", ""]},
    "evaluate": {
        **ATTACKING,
        "model_name_or_path": MODELS,
        "recipes": ["nothing", "nothing:build", "nowhere.py:build", ""],
        "word_vectors": ["nowhere"],
        "query_budget": ["0", "-1"],
        "until_width": ["0", "2", "nan"],
        "num_processes": ["0", "-1"],
        "modify_columns": ["nothing"],
    },
    "attack": {
        "model_name_or_path": MODELS,
        "text": ["", " ", "w5 \ud800"],
        "label": ["nothing", "7", "-1"],
        "recipe": ["nothing", "nowhere.py:build", ""],
        "max_length": ["0", "-1", "1000"],
        "query_budget": ["0", "-1", "x"],
        "batch_size": ["0", "x"],
        "modify_columns": ["nothing"],
        "word_vectors": ["nowhere"],
    },
    "resources": {"action": ["nothing"]},
    "probe": {
        **ATTACKING,
        "model_name_or_path": MODELS,
        "kinds": ["nothing", "transfer", "contrast"],
        "radii": ["0", "-1", "nan", "x"],
        "norm": ["l3"],
        "layer": ["99", "-7"],
        "steps": ["0", "-1"],
        "restarts": ["0"],
        "criterion": ["nothing"],
        "transfer_from": ["nowhere.json", "list.json"],
    },
    "prune": {
        "model_name_or_path": [name for name in MODELS if name != "headless"],
        "ticket": ["nowhere", "ticket.safetensors", "model", "good.csv"],
        "head_sparsity": ["1", "-1", "nan", "x"],
        "head_scope": ["nothing"],
        "round_to": ["0", "-1"],
    },
    "push": {"folder": [name for name in MODELS if name != "headless"], "repo_id": ["a/b/c", "", "..", "-"]},
    "report": {"reports": ["nowhere", "nothing", "robustness.json", "list.json", "broken.json", "good.csv", ""]},
    "compare": {"reports": ["nowhere", "nothing", "robustness.json", "list.json", "good.csv"]},
    "distance": {"tickets": ["nowhere", "nothing", "ticket.safetensors", "good.csv"]},
    "bench": {"model_name_or_path": [name for name in MODELS if name != "headless"]},
}


GOOD = ("train", "sparse", "search", "sweep", "evaluate", "probe", "prune")
for _verb in GOOD:
    VERBS[_verb]["output_dir"] = ["good.csv", "good.csv/in a file"]


def arguments_of(verb: str, here: Path, out: Path, option: str, value: str) -> list[str]:
    """A line that would do, with one option turned bad; names of files of the folder stand for their paths."""
    short = {"max_steps": "1", "report_to": "none", "use_cpu": "True", "score_batches": "2", "score_warmup": "1"}
    short |= {"per_device_train_batch_size": "4", "search_epochs": "2", "disable_tqdm": "True", "round_to": "1"}
    plain = {name: value for name, value in short.items() if not name.startswith(("s", "r")) or name == "report_to"}
    model, data = {"model_name_or_path": "model"}, {"validation_file": "good.csv"}
    good = {
        "train": {**model, **data, **short, "train_file": "good.csv"},
        "search": {**model, **data, **short, "train_file": "good.csv"},
        "sparse": {**model, **data, **plain, "train_file": "good.csv"},
        "sweep": {**model, **data, **short, "train_file": "good.csv", "sparsities": "0.5"},
        "evaluate": {**model, **data, "recipes": "deepwordbug", "query_budget": "2"},
        "attack": {**model, "text": "w5 w20", "recipe": "deepwordbug"},
        "probe": {**model, **data, "kinds": "white_box", "radii": "0.1"},
        "prune": {**model, **({} if option == "ticket" else {"random": "True"})},
        "push": {"folder": "model", "repo_id": "me/one"},
    }.get(verb, {})
    good[option] = str(here / value) if option == "output_dir" else value
    if verb in GOOD and (option != "output_dir" or not value):
        good["output_dir"] = str(out)
    line = [verb]
    for name, given in good.items():
        line += [
            f"--{name}",
            str(here / given) if name != "output_dir" and given and (here / given).exists() else given,
        ]
    return line


@pytest.mark.parametrize("verb", VERBS)
def test_every_bad_line_is_refused_in_one(verb, here, tmp_path, capsys):
    if verb in ("evaluate", "attack") and importlib.util.find_spec("textattack") is None:
        pytest.skip("TextAttack is not installed")
    if verb in (*GOOD, "attack"):
        # else every line might be refused for one reason
        assert main(arguments_of(verb, here, tmp_path / "good", "seed", "1")) == 0
        capsys.readouterr()
    lines = [
        (
            f"--{option} {value!r}",
            arguments_of(verb, here, tmp_path / str(number), option, value),
            tmp_path / str(number),
        )
        for number, (option, value) in enumerate(
            (option, value) for option, bad in VERBS[verb].items() for value in bad
        )
    ]
    more = [["--no_such_option", "1"], ["--output_dir"], ["stray", "words", "here"], []]
    more += [[str(here / name)] for name in ("job.yaml", "odd.yaml", "broken.yaml", "unknown.yaml")]
    lines += [(" ".join(line[-2:]), [verb, *line], tmp_path / "none") for line in more]
    found = []
    for name, line, out in lines:
        try:
            code = main(line)
        except SystemExit as stop:
            code = stop.code
        except BaseException as error:  # nothing may pass
            code = repr(error)
        said = [text for text in capsys.readouterr().err.splitlines() if text.startswith("robust-tickets")]
        if code == 0:
            continue
        if code != 2 or len(said) != 1 or "--debug shows where" in said[0] or "Traceback" in said[0]:
            found.append(f"{verb} {name}: {code}: {said}")
        written = sorted(path.name for path in out.rglob("*") if path.is_file()) if out.exists() else []
        if set(written) - {".training.lock"}:  # the system's, of a training that was refused as it began
            found.append(f"{verb} {name}: left {written}")
    assert not found, f"{len(found)} of {len(lines)}:\n" + "\n".join(found)
