"""One layer of a model as a place: where a perturbation of hidden states goes."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from .._compat import without_adapter
from ..errors import ConfigurationError
from .registry import get_architecture


def layer_number(model: nn.Module, layer: int) -> int:
    """A layer's number from the beginning, where it may be counted from the end.

    Args:
        model: The model inside all wrappers, or a PEFT model.
        layer: 0 for the embedding of the input, a layer's number from 1 on, or from the end: -1 is the last layer. Of
            an encoder-decoder: the encoder's.

    Raises:
        ConfigurationError: If there is no such layer.
        UnknownArchitectureError: If nobody has described this model type (`layer` 0 needs no description).
    """
    if layer == 0:
        return 0
    count = len(layers_of(model))
    if not 1 <= abs(layer) <= count:
        raise ConfigurationError(
            f"expected 0 for the embedding, or a layer from 1 to {count} (from the end: -1 to -{count}), got {layer}"
        )
    return layer if layer > 0 else count + 1 + layer


def layer_module(model: nn.Module, layer: int) -> nn.Module:
    """The module whose output is that of layer `layer`; 0 for the embedding of the input.

    Args:
        model: As in `layer_number`.
        layer: As in `layer_number`.

    Raises:
        ConfigurationError: If there is no such layer, or the model runs the same layer several times, or does not
            name its input embeddings.
        UnknownArchitectureError: If nobody has described this model type (`layer` 0 needs no description).
    """
    model = without_adapter(model)
    layer = layer_number(model, layer)
    if layer == 0:
        return _input_embeddings(model)
    layers = layers_of(model)
    runs = getattr(model.config.get_text_config(), "num_hidden_layers", len(layers))
    if runs != len(layers):
        raise ConfigurationError(
            f"layer {layer} is not one place in this model, whose {len(layers)} layers are run {runs} times: use 0"
        )
    return layers[layer - 1]


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The layers of a model, in order; of an encoder-decoder those of its encoder.

    Args:
        model: As in `layer_module`.

    Raises:
        UnknownArchitectureError: If nobody has described this model type.
    """
    model = without_adapter(model)
    return list(get_architecture(model).layers(model))


def _models_inside(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if hasattr(child, "get_input_embeddings"):
            yield child
        else:
            yield from _models_inside(child)


def _input_embeddings(model: nn.Module) -> nn.Module:
    encoder = model.get_encoder() if hasattr(model, "get_encoder") else model
    if encoder is not model and hasattr(encoder, "get_input_embeddings"):
        # Of an encoder-decoder: what its own get_input_embeddings() gives holds the weights and is not called.
        return _input_embeddings(encoder)
    try:
        embeddings = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    except NotImplementedError:  # what transformers' models raise that know none
        embeddings = None
    if embeddings is None and len(inside := list(_models_inside(model))) == 1:
        # A SentenceTransformer, say, whose first module holds a model of transformers.
        return _input_embeddings(inside[0])
    if embeddings is None:
        raise ConfigurationError(
            f"expected a model whose get_input_embeddings() gives the module to perturb, got {type(model).__name__}: "
            "define that method, or perturb pixels"
        )
    return embeddings
