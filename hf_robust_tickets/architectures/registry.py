"""From `config.model_type` to the description of the family."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigurationError, UnknownArchitectureError
from .base import Architecture

# By model type, and by what the configuration must have besides.
_KNOWN: dict[tuple[str, tuple[Any, ...]], Architecture] = {}


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
        known = _KNOWN.get((model_type, architecture.only_if))
        if known is not None and not replace:
            raise ConfigurationError(
                f"model type {model_type!r} is already described by architecture {known.name!r}: pass replace=True to "
                "replace it"
            )
    for model_type in architecture.model_types:
        _KNOWN[model_type, architecture.only_if] = architecture
    return architecture


def known_model_types() -> list[str]:
    """The model types that are described, sorted."""
    return sorted({model_type for model_type, _ in _KNOWN})


def known_architectures() -> list[Architecture]:
    """All descriptions, sorted by name."""
    return sorted({each.name: each for each in _KNOWN.values()}.values(), key=lambda each: each.name)


def get_architecture(model: Any) -> Architecture:
    """The description of a model's family.

    Args:
        model: A `transformers` model (or anything else with a `config`); a wrapper has to be taken off first.

    Raises:
        UnknownArchitectureError: If nobody has described this model type.
    """
    config = getattr(model, "config", None)
    model_type = getattr(config, "model_type", None)
    found = [each for (known, only_if), each in _KNOWN.items() if known == model_type and _fits(config, only_if)]
    if not found and getattr(config, "is_encoder_decoder", False):
        raise UnknownArchitectureError(
            f"expected an encoder-decoder that is described (T5, BART, ...), got {model_type!r} "
            f"({type(model).__name__}): describe its stacks and its cross-attention with register_architecture(...)"
        )
    if not found:
        raise UnknownArchitectureError(
            f"expected a model whose config.model_type is one of {', '.join(known_model_types())}; got {model_type!r} "
            f"({type(model).__name__}): unwrap the model, or describe its family with register_architecture(...)"
        )
    # The description that asks for most.
    return max(found, key=lambda each: len(each.only_if))


def _fits(config: Any, only_if: tuple[Any, ...]) -> bool:
    return not only_if or getattr(config, only_if[0], None) == only_if[1]
