"""Masked language models for the recipes that let one propose words: BERT-Attack, BAE, CLARE, A2T-MLM."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import ConfigurationError, MissingResourceError
from .resources import handed_over_model, hub_snapshot, is_offline

MODEL_TYPES = ("bert", "bart", "electra", "gpt", "gpt2", "longformer", "roberta", "xlnet")
"""Kinds of models whose marks of sub-words TextAttack knows (`check_if_subword`)."""

BERT = "google-bert/bert-base-uncased"
DISTILROBERTA = "distilbert/distilroberta-base"


@dataclass(frozen=True)
class MaskedLM:
    """A masked language model, loaded.

    Attributes:
        name: How reports call it.
        model: The model, in evaluation mode.
        tokenizer: Its tokenizer.
        published: Whether it is the model of the recipe's paper.
    """

    name: str
    model: Any
    tokenizer: Any
    published: bool = False


def load_masked_lm(spec: Any, paper: str, device: torch.device) -> MaskedLM:
    """Loads the model that `masked_language_model=` asks for.

    Args:
        spec: None for the model of the recipe's paper, a name on the Hub, a folder, or `(model, tokenizer)`.
        paper: The name of the paper's model on the Hub.
        device: Where to put it.

    Returns:
        The model; it counts as the published one only under the published name.

    Raises:
        MissingResourceError: If it cannot be found or fetched.
        ConfigurationError: If it is no masked language model that the recipes can use.
    """
    import transformers

    if isinstance(spec, tuple | list):
        model, tokenizer = _pair(spec)
        name, published = getattr(model.config, "_name_or_path", "") or type(model).__name__, False
    else:
        name = paper if spec is None else os.fspath(spec)
        published = name in {paper, paper.partition("/")[2]} and not Path(name).is_dir()
        folder = (handed_over_model(paper) if published else None) or name
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=is_offline())
            model = transformers.AutoModelForMaskedLM.from_pretrained(folder, local_files_only=is_offline())
        except (OSError, ValueError) as error:
            reason = str(error).split("\n", 1)[0][:200]
            raise MissingResourceError(
                f"masked language model {name!r} not found ({reason}): run `hf download {name}` with a network, or "
                "pass masked_language_model= a folder or name (then not comparable)"
            ) from error
    if model.config.model_type not in MODEL_TYPES:
        raise ConfigurationError(
            f"expected a masked language model of a kind among {', '.join(MODEL_TYPES)}, got "
            f"{model.config.model_type}: its marks of sub-words are not known to TextAttack; pass another"
        )
    if tokenizer.mask_token_id is None:
        raise ConfigurationError(f"expected a tokenizer with a mask token for {name!r}, got none: pass another")
    return MaskedLM(name, model.eval().to(device), tokenizer, published)


def _pair(spec: Any) -> tuple[Any, Any]:
    if len(spec) != 2 or not hasattr(spec[0], "config") or not callable(spec[1]):
        kinds = ", ".join(type(item).__name__ for item in spec)
        raise ConfigurationError(f"expected masked_language_model (model, tokenizer), got ({kinds})")
    return spec[0], spec[1]


def check_masked_lm(spec: Any) -> tuple[str | None, str]:
    """Why a model could not be loaded, as far as can be told without loading it (None if it is there), and a
    command that fetches it.
    """
    if not isinstance(spec, str | os.PathLike) or Path(spec).is_dir():
        return None, ""
    name = os.fspath(spec)
    if handed_over_model(name) or hub_snapshot(name):
        return None, ""
    return f"masked language model {name!r} not in the cache of the Hub", f"hf download {name}"
