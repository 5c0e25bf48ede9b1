"""The Universal Sentence Encoder as a resource: in TensorFlow Hub's cache folder."""

# ruff: noqa: D102  (what the methods do stands in `Resource`)

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from .base import Resource, files_below, find, place

USE_URL = "https://tfhub.dev/google/universal-sentence-encoder/3"
"""The version that TextAttack's `UniversalSentenceEncoder` loads."""

INSTALL = "pip install tensorflow tensorflow-hub 'setuptools<81'"


def tfhub_cache() -> str | None:
    """TensorFlow Hub's cache folder, which TextAttack moves into its own; None if neither is set."""
    return os.environ.get("TFHUB_CACHE_DIR") or os.environ.get("TA_CACHE_DIR")


@dataclass(frozen=True)
class UniversalSentenceEncoderModel(Resource):
    """TensorFlow, TensorFlow Hub and the model."""

    @property
    def source(self) -> str:
        return USE_URL

    @property
    def command(self) -> str:
        return f"{INSTALL} && robust-tickets resources fetch {self.name}"

    def location(self) -> str:
        return f"TFHUB_CACHE_DIR ({tfhub_cache() or 'not set'})"

    def missing(self) -> str | None:
        if importlib.util.find_spec("tensorflow_hub") is None:
            return "Python package tensorflow-hub"
        return None if saved_models() else f"saved_model.pb in {self.location()}"

    def root(self) -> Path | None:
        cache = tfhub_cache()
        return None if cache is None else Path(cache)

    def found(self) -> list[Path]:
        return [file for saved in saved_models()[:1] for file in files_below(saved.parent)]

    def fetch(self) -> None:
        if importlib.util.find_spec("tensorflow_hub") is None:
            raise OSError(f"tensorflow-hub is not installed: run `{INSTALL}`")
        cache = tfhub_cache()
        if cache is None:
            raise OSError("expected TFHUB_CACHE_DIR or TA_CACHE_DIR to be set, got neither: it would not be kept")
        os.environ.setdefault("TFHUB_CACHE_DIR", cache)
        try:
            importlib.import_module("tensorflow_hub").resolve(USE_URL)
        except (ImportError, ValueError, RuntimeError) as error:
            raise OSError(f"{type(error).__name__}: {error}") from error

    def install(self, folder: Path) -> None:
        cache = tfhub_cache()
        if cache is None:
            raise OSError("expected TFHUB_CACHE_DIR or TA_CACHE_DIR to be set, got neither")
        # TensorFlow Hub names a model's folder by the sha1 of its address
        name = hashlib.sha1(USE_URL.encode(), usedforsecurity=False).hexdigest()
        places = [name, f"textattack_cache/{name}", "universal-sentence-encoder", "universal-sentence-encoder_3"]
        found = find(folder, places, "the Universal Sentence Encoder")
        if not (found / "saved_model.pb").is_file():
            raise OSError(f"expected saved_model.pb in {found}, got none")
        with self.workshop() as workshop:
            place(found, Path(cache, name), workshop)


def saved_models() -> list[Path]:
    """The models in TensorFlow Hub's cache folder."""
    cache = tfhub_cache()
    return sorted(Path(cache).glob("*/saved_model.pb")) if cache else []
