"""What tests of attacks on text share."""

from __future__ import annotations

import pytest

from hf_robust_tickets.evaluation.resources import HOMOGLYPHS_FILE, HOWNET_FILE
from tests.testing.tiny_parts import masked_lm, write_hownet, write_vectors


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Small resources of every kind that can be made, where they are looked for."""
    monkeypatch.setenv("TA_CACHE_DIR", str(tmp_path))
    write_vectors(tmp_path)
    write_hownet(tmp_path / HOWNET_FILE)
    (tmp_path / HOMOGLYPHS_FILE).parent.mkdir()
    (tmp_path / HOMOGLYPHS_FILE).write_text("# a comment\n0061 ;\t0430 #* ( a → а ) LATIN\n006F ; 043E # ( o → о )\n")
    return masked_lm(tmp_path)
