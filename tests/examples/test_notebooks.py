"""The notebooks (examples in cells), run from top to bottom on a tiny encoder and few reviews."""

from __future__ import annotations

import re
from importlib.util import find_spec

import pytest

from tests.testing.paths import ROOT
from tests.testing.reviews import write_tiny_encoder

NOTEBOOKS = sorted(path for path in (ROOT / "examples").glob("*.py") if "# %%" in path.read_text())
SIZES = {"NUM_TRAIN": 100, "BATCH": 2, "EPOCHS": 1, "NUM_ATTACKED": 4}
NEEDED = {
    "evaluate_robustness": "textattack",
    "deepwordbug": "textattack",
    "onnxruntime": "onnxscript",
    "peft": "peft",
}
SAYS = {
    "attack_your_own_model": "the truth is somewhere between",
    "choose_by_robustness": "chosen: ",
    "export_and_serve": "tive (0.",
    "llama_lora": "opened again: logits differ by at most",
    "modernbert": "heads per layer",
    "multi_label": "F1 of negated: ",
    "nli_pairs": "deepwordbug: accuracy under attack",
    "sparsity_sweep": "deepwordbug",
    "token_classification": "of those that praise or blame",
}


def smaller(text: str, encoder: str) -> str:
    """The script with the sizes of a test, and nothing else changed."""

    def resized(found: re.Match[str]) -> str:
        names = [name.strip() for name in found[1].split(",")]
        return f"{found[1]} = {', '.join(str(SIZES[name]) for name in names)}"

    text, sizes = re.subn(r"^(NUM_TRAIN, [A-Z_, ]+) = .+$", resized, text, flags=re.MULTILINE)
    text, encoders = re.subn(r"^ENCODER = minilm_path\(\)", f"ENCODER = {encoder!r}", text, flags=re.MULTILINE)
    assert (sizes, encoders) == (1, 1)
    return text.replace('SPARSITIES = ["0.25", "0.5", "0.75"]', 'SPARSITIES = ["0.5"]')


def test_every_notebook_is_known():
    assert {path.stem for path in NOTEBOOKS} == set(SAYS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(notebook, tmp_path, monkeypatch, capsys):
    text = notebook.read_text()
    for word, package in NEEDED.items():
        if word in text and find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    encoder = str(write_tiny_encoder(tmp_path / "encoder"))
    monkeypatch.chdir(tmp_path)
    # Not "__main__": no child process may import the test in its place.
    exec(compile(smaller(text, encoder), notebook.name, "exec"), {"__name__": "notebook"})
    assert SAYS[notebook.stem] in capsys.readouterr().out
