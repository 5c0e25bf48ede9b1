"""Models and tokenizers as the command line gets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.modeling_utils import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from .._reading import require_vocabulary
from ..errors import CheckpointError
from ..tickets import load_pruned
from .options import ModelOptions


def load_tokenizer(options: ModelOptions) -> PreTrainedTokenizerBase:
    """The tokenizer that comes with the model.

    Raises:
        CheckpointError: If there is no such folder, or no tokenizer in it.
    """
    _check_folder(options.model_name_or_path)
    tokenizer = AutoTokenizer.from_pretrained(
        options.model_name_or_path, revision=options.model_revision, trust_remote_code=options.trust_remote_code
    )
    require_vocabulary(tokenizer, options.model_name_or_path)
    return tokenizer


def load_classifier(options: ModelOptions, **config: Any) -> PreTrainedModel:
    """A sequence classifier, pruned or dense.

    Args:
        options: Which one.
        **config: Values of the configuration to set, e.g. `num_labels`.
    """
    _check_folder(options.model_name_or_path)
    where = {"revision": options.model_revision}
    found = AutoConfig.from_pretrained(options.model_name_or_path, **where, trust_remote_code=False)
    if getattr(found, "robust_ticket", None):
        return load_pruned(options.model_name_or_path, AutoModelForSequenceClassification, **where, **config)
    return AutoModelForSequenceClassification.from_pretrained(
        options.model_name_or_path, **where, **config, trust_remote_code=options.trust_remote_code
    )


def _check_folder(name: str) -> None:
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
        raise CheckpointError(f"no folder {name}: give a model's folder, or the name of a repository of the Hub")
