"""What an evaluation was made with: fingerprints, versions, seeds."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import platform
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._provenance import describe_data, model_fingerprint, training_resources
from .._random_numbers import accelerators, device_states, set_device_states
from .._version import __version__
from .config import EvaluationConfig
from .sampling import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGES = ("textattack", "transformers", "torch", "numpy", "nltk", "sentence-transformers")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that bear on the figures; absent ones are left out."""
    found = {"python": platform.python_version(), "hf_robust_tickets": __version__}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def describe_model(model: PreTrainedModel) -> dict[str, Any]:
    """Name, class, size, weights and ticket of the attacked model."""
    config = model.config
    return {
        "name_or_path": getattr(config, "_name_or_path", "") or "",
        "class": type(model).__name__,
        "model_type": config.model_type,
        "num_labels": config.num_labels,
        "id2label": {str(label): name for label, name in config.id2label.items()},
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "sha256": model_fingerprint(model),
        "robust_ticket": getattr(config, "robust_ticket", None),
        "training_resources": list(training_resources(config)),
    }


def describe_texts(
    dataset: Any, examples: Sequence[Example], config: EvaluationConfig, max_length: int
) -> dict[str, Any]:
    """How texts were read, for the settings of a result.

    Args:
        dataset: Where they are from.
        examples: Those that were used.
        config: The settings of the evaluation.
        max_length: Truncation in tokens, as it was applied.
    """
    found = {"text_columns": list(examples[0].texts), "label_column": config.label_column, "max_length": max_length}
    return {**found, **({"bf16": True} if config.bf16 else {}), "data": describe_data(dataset)}


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """sha256 over class, vocabulary, special tokens and what it makes of a sentence."""
    probe = tokenizer("The quick-brown Fox doesn't jump, naïve!")["input_ids"]
    parts = [type(tokenizer).__name__, sorted(tokenizer.get_vocab().items()), tokenizer.all_special_tokens, probe]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def sample_fingerprint(examples: Sequence[Example]) -> str:
    """sha256 over rows, texts and labels of the sample."""
    rows = [[example.index, example.texts, example.label] for example in examples]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def derive_seed(seed: int, recipe: str, index: int) -> int:
    """A seed of 32 bits for one example under one recipe.

    Args:
        seed: The evaluation's seed.
        recipe: Name of the recipe.
        index: Row of the example.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{recipe}:{index}".encode()).digest()[:4], "big")


def random_states() -> tuple[Any, ...]:
    """States of the generators of `random`, NumPy and PyTorch, its accelerators' among them."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), device_states(*accelerators())


def set_random_states(states: tuple[Any, ...]) -> None:
    """Puts back what `random_states` gave."""
    python_state, numpy_state, torch_state, devices = states
    random.setstate(python_state)
    np.random.set_state(numpy_state)
    torch.set_rng_state(torch_state)
    set_device_states(devices)


@contextlib.contextmanager
def seeded(seed: int, recipe: str, index: int) -> Iterator[None]:
    """Seeds `random`, NumPy and PyTorch for one example under one recipe, and puts their states back afterwards.

    TextBugger and DeepWordBug draw from `random` and from NumPy. A seed per example makes its outcome independent of
    which examples went before: a resumed evaluation equals an uninterrupted one.

    Args:
        seed: The evaluation's seed.
        recipe: Name of the recipe.
        index: Row of the example.
    """
    derived = derive_seed(seed, recipe, index)
    before = random_states()
    random.seed(derived)
    np.random.seed(derived)
    torch.manual_seed(derived)
    try:
        yield
    finally:
        set_random_states(before)
