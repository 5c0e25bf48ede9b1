"""From `config.model_type` to the description of the family."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigurationError, UnknownArchitectureError
from .base import Architecture

_BY_MODEL_TYPE: dict[str, Architecture] = {}


def register_architecture(architecture: Architecture, *, replace: bool = False) -> Architecture:
    """Makes a family known under each of its model types.

    Args:
        architecture: The description.
        replace: Whether it may take the place of another one; without it a duplicate is refused.

    Returns:
        The same description.

    Raises:
        ConfigurationError: If it is no `Architecture`, or if one of its model types is taken.
    """
    if not isinstance(architecture, Architecture):
        raise ConfigurationError(f"expected an Architecture, got {type(architecture).__name__}")
    for model_type in architecture.model_types:
        if model_type in _BY_MODEL_TYPE and not replace:
            raise ConfigurationError(
                f"model type {model_type!r} is already described by architecture "
                f"{_BY_MODEL_TYPE[model_type].name!r}: pass replace=True to replace it"
            )
    for model_type in architecture.model_types:
        _BY_MODEL_TYPE[model_type] = architecture
    return architecture


def known_model_types() -> list[str]:
    """The model types that are described, sorted."""
    return sorted(_BY_MODEL_TYPE)


def get_architecture(model: Any) -> Architecture:
    """The description of a model's family.

    Args:
        model: A `transformers` model (or anything else with a `config`); a wrapper has to be taken off first.

    Raises:
        UnknownArchitectureError: If nobody has described this model type.
    """
    config = getattr(model, "config", None)
    model_type = getattr(config, "model_type", None)
    if model_type not in _BY_MODEL_TYPE and getattr(config, "is_encoder_decoder", False):
        raise UnknownArchitectureError(
            f"expected an encoder or a decoder, got encoder-decoder model {model_type!r} ({type(model).__name__}): "
            "no description covers cross-attention; take an encoder such as bert or a decoder such as llama"
        )
    if model_type not in _BY_MODEL_TYPE:
        raise UnknownArchitectureError(
            f"expected a model whose config.model_type is one of {', '.join(known_model_types())}; got {model_type!r} "
            f"({type(model).__name__}): unwrap the model, or describe its family with register_architecture(...)"
        )
    return _BY_MODEL_TYPE[model_type]
