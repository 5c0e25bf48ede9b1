"""Models and tokenizers as the command line gets them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PretrainedConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from .._reading import pad_as_one, require_vocabulary
from ..errors import CheckpointError, ConfigurationError, RobustTicketsError
from ..evaluation.datasets.labels import Classes
from ..tickets import load_pruned
from ..tickets.hub import DAMAGE
from .options import ModelOptions

logger = logging.getLogger(__name__)

DTYPES = ("float32", "bfloat16", "float16")


@dataclass
class TrainedModelOptions(ModelOptions):
    """Which model to train."""

    dtype: str = field(
        default="float32",
        metadata={"help": f"Type of the weights while they train: {', '.join(DTYPES)}; half is for tries alone."},
    )
    ignore_mismatched_sizes: bool = field(
        default=False, metadata={"help": "Replace a head for another number of classes by a new one."}
    )


def load_tokenizer(options: ModelOptions) -> PreTrainedTokenizerBase:
    """The tokenizer that comes with the model.

    Raises:
        CheckpointError: If there is no such folder, or no tokenizer in it.
    """
    _check_folder(options.model_name_or_path)
    with in_words(options, "a tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(
            options.model_name_or_path, revision=options.model_revision, trust_remote_code=options.trust_remote_code
        )
    require_vocabulary(tokenizer, options.model_name_or_path)
    return tokenizer


def load_config(options: ModelOptions) -> PretrainedConfig:
    """The configuration of the model."""
    _check_folder(options.model_name_or_path)
    with in_words(options, "a model"):
        return AutoConfig.from_pretrained(
            options.model_name_or_path, revision=options.model_revision, trust_remote_code=options.trust_remote_code
        )


def load_to_evaluate(
    options: ModelOptions, auto: type = AutoModelForSequenceClassification
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A trained classifier, pruned or dense, and its tokenizer, padded alike.

    Args:
        options: Where it is.
        auto: The class of transformers that opens it: of texts, or of their words.

    Raises:
        CheckpointError: If the checkpoint has no classifier, that of another task, or no tokenizer.
    """
    task = auto.__name__.removeprefix("AutoModel")
    config = load_config(options)
    saved = [name for name in config.architectures or () if "For" in name]
    # Heads of different tasks may have one name: a classifier of texts would answer for every word.
    if saved and not any(task in name for name in saved):
        raise CheckpointError(
            f"expected a model {task} at {options.model_name_or_path}, got {saved[0]}: `robust-tickets evaluate` "
            "takes it with the --task that it is for"
        )
    model, missing = _load(options, config, auto)
    if missing:
        raise CheckpointError(
            f"expected a classifier at {options.model_name_or_path}, got a checkpoint without {missing[0]}: a new "
            "head answers at random; train it first"
        )
    tokenizer = load_tokenizer(options)
    pad_as_one(model, tokenizer)
    return model, tokenizer


def load_to_train(options: TrainedModelOptions, classes: Classes) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model with a head for some classes, new where it has none, and its tokenizer, padded alike.

    Raises:
        CheckpointError: If there is no such folder, or no tokenizer in it.
        ConfigurationError: If its head is for another number of classes, and may not be replaced.
    """
    if options.dtype not in DTYPES:
        raise ConfigurationError(f"expected a dtype among {', '.join(DTYPES)}, got {options.dtype!r}")
    tokenizer = load_tokenizer(options)
    config = load_config(options)
    if has_classifier(config) and config.num_labels != len(classes.names) and not options.ignore_mismatched_sizes:
        raise ConfigurationError(
            f"expected a model for the data's {len(classes.names)} classes, or one without a head, got "
            f"{options.model_name_or_path} with {config.num_labels}: pass --ignore_mismatched_sizes True to give it a "
            "new head"
        )
    model, _ = _load(
        options,
        config,
        num_labels=len(classes.names),
        id2label=dict(enumerate(classes.names)),
        label2id={name: number for number, name in enumerate(classes.names)},
        dtype=getattr(torch, options.dtype),
        ignore_mismatched_sizes=options.ignore_mismatched_sizes,
    )
    pad_as_one(model, tokenizer)
    if tokenizer.padding_side != "right":
        logger.warning("the tokenizer pads on the left, where positions begin: it pads on the right from here on")
        tokenizer.padding_side = "right"
    return model, tokenizer


def load_classifier(options: ModelOptions) -> PreTrainedModel:
    """A sequence classifier, pruned or dense; a checkpoint without a head gets one that is random, with a warning."""
    model, missing = _load(options, load_config(options))
    if missing:
        logger.warning("%s has no %s: it is new and random", options.model_name_or_path, ", ".join(missing))
    return model


def has_classifier(config: PretrainedConfig) -> bool:
    """Whether a checkpoint was saved with the head of a sequence classifier."""
    return any("ForSequenceClassification" in name for name in config.architectures or ())


def _load(
    options: ModelOptions,
    config: PretrainedConfig,
    auto: Any = AutoModelForSequenceClassification,
    **changes: Any,
) -> tuple[PreTrainedModel, list[str]]:
    """The model, and the weights that the checkpoint does not have; `config` is what it was saved with."""
    where: dict[str, Any] = {"revision": options.model_revision, "output_loading_info": True, **changes}
    if getattr(config, "robust_ticket", None):
        model, report = load_pruned(options.model_name_or_path, auto, **where)
    else:
        with in_words(options, "the weights of a classifier"):
            model, report = auto.from_pretrained(
                options.model_name_or_path, **where, trust_remote_code=options.trust_remote_code
            )
    return model, sorted(report["missing_keys"])


@contextlib.contextmanager
def in_words(options: ModelOptions, what: str) -> Iterator[None]:
    """Says what could not be opened: transformers and safetensors raise whatever they stumble over."""
    try:
        yield
    except RobustTicketsError:
        raise
    except (*DAMAGE, EOFError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"expected {what} at {options.model_name_or_path!r}, got: {reason or type(error).__name__}; give a whole "
            "folder, or the name of a repository of the Hub"
        ) from error


def _check_folder(name: str) -> None:
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
        raise CheckpointError(f"no folder {name}: give a model's folder, or the name of a repository of the Hub")
