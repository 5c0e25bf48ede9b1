"""Which weights of a model a mask may lie on, by name patterns."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping

from torch import nn

from ..errors import ConfigurationError

# Last resort for models that are no `PreTrainedModel`, or whose head lies inside the base model (timm).
_HEADS = {"classifier", "fc", "head", "heads", "lm_head", "qa_outputs", "score"}
_WILDCARDS = set("*?[")


def select_weights(
    model: nn.Module,
    include: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
    *,
    trainable_only: bool = True,
) -> dict[str, nn.Parameter]:
    """The weights that sparse training masks: of linear and convolutional layers, trainable.

    Left out by default are biases and norms (they are no such weights), the embeddings of the input (a patch embedding
    too), what is tied to them, and the head of the task. A pattern with wildcards (`*`, `?`, `[...]`) must match the
    whole parameter name; one without stands for consecutive parts of it: `"layer.1"` matches
    `bert.encoder.layer.1.output.dense.weight` and no weight of layer 10.

    Args:
        model: The model, not wrapped.
        include: Patterns; a weight must match one of them. Given, they decide alone: a head that matches is masked.
        exclude: Patterns; a weight that matches one of them is left out.
        trainable_only: Whether frozen weights are left out, which a training cannot mask.

    Returns:
        Parameter name -> parameter, in the order of the model.

    Raises:
        ConfigurationError: If a pattern matches nothing, or nothing is left.
    """
    maskable = dict(_maskable(model, trainable_only))
    chosen = maskable if include is None else _matching(include, maskable, "include")
    if include is None:
        inside = _embeddings_and_heads(model)
        chosen = {name: weight for name, weight in chosen.items() if id(weight) not in inside}
    if exclude is not None:
        left_out = _matching(exclude, dict(model.named_parameters()), "exclude")
        chosen = {name: weight for name, weight in chosen.items() if name not in left_out}
    if not chosen:
        kind = "trainable weight" if trainable_only else "weight"
        raise ConfigurationError(
            f"no weight is left to mask in {type(model).__name__}: expected at least one {kind} of a linear "
            "or convolutional layer; widen include, or narrow exclude"
        )
    return chosen


def transposed_weights(model: nn.Module, weights: Mapping[str, nn.Parameter]) -> list[str]:
    """Names of the weights whose inputs come first, which GPT-2's linear layers have."""
    from transformers.pytorch_utils import Conv1D

    found = {id(module.weight) for module in model.modules() if isinstance(module, Conv1D)}
    return [name for name, weight in weights.items() if id(weight) in found]


def _maskable(model: nn.Module, trainable_only: bool) -> Iterator[tuple[str, nn.Parameter]]:
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer; kept out of the import of this room

    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv1D)
    weights = {id(module.weight) for module in model.modules() if isinstance(module, kinds)}
    for name, parameter in model.named_parameters():
        if id(parameter) in weights and (parameter.requires_grad or not trainable_only):
            yield name, parameter


def _embeddings_and_heads(model: nn.Module) -> set[int]:
    """Identities of the parameters that are left out by default."""
    found = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    for getter in ("get_input_embeddings", "get_output_embeddings"):
        try:
            module = getattr(model, getter)()
        except (AttributeError, NotImplementedError):
            continue  # convolutional models have no embeddings
        if isinstance(module, nn.Module):
            found |= {id(parameter) for parameter in module.parameters()}
    base = getattr(model, "base_model", model)
    within = {id(parameter) for parameter in base.parameters()} if base is not model else None
    for name, parameter in model.named_parameters():
        outside = within is not None and id(parameter) not in within
        if outside or _HEADS & set(name.split(".")):
            found.add(id(parameter))
    return found


def _matching(
    patterns: str | Iterable[str], parameters: dict[str, nn.Parameter], option: str
) -> dict[str, nn.Parameter]:
    found: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matches = {name for name in parameters if _matches(name, pattern)}
        if not matches:
            example = next(iter(parameters), "none")
            raise ConfigurationError(
                f"the pattern {pattern!r} of {option} matches none of {len(parameters)} parameters (such as "
                f"{example!r}): use shell wildcards over the whole name, or consecutive parts of it"
            )
        found |= matches
    return {name: parameter for name, parameter in parameters.items() if name in found}


def _matches(name: str, pattern: str) -> bool:
    if _WILDCARDS & set(pattern):
        return fnmatch.fnmatchcase(name, pattern)
    return f".{pattern.strip('.')}." in f".{name}."
