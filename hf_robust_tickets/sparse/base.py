"""The contract between a method of sparse training and whoever trains with it: tensors in, masks out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._arguments import check_fields
from ..errors import ConfigurationError, UnknownNameError
from .density import check_density, kept_per_layer
from .mask import Masks
from .pattern import parse_pattern, pattern_masks

_METHODS: dict[str, type[SparseMethod]] = {}


class Decision(NamedTuple):
    """What the records of the training so far ask for, besides the regular update.

    Attributes:
        prune_more: Drop more weights than are grown.
        grow_more: Grow more weights than are dropped.
    """

    prune_more: bool = False
    grow_more: bool = False


REGULAR = Decision()


class LayerUpdate(NamedTuple):
    """New mask of one layer.

    Attributes:
        survivors: Which weights were kept through the drop, and keep their value.
        mask: Those and the grown ones. Which of these start at zero is `reset_regrown`'s business: those that were
            masked before, or those that were dropped just now too.
    """

    survivors: Tensor
    mask: Tensor


@dataclass(frozen=True)
class SparseMethod(ABC):
    """Which weights are kept, at the start and as training goes on.

    A method holds its hyper-parameters and nothing else (it is frozen): masks and records are the callback's business,
    and everything random is a function of a seed and the step, so that a checkpoint needs no generator's state.

    Attributes:
        density: Fraction of the weights that is kept, in (0, 1), or a pattern N:M such as `"2:4"`: N of each M
            neighbours along the inputs of a layer, whatever distribution of densities is asked for.
    """

    density: float | str = 0.2

    name: ClassVar[str] = ""
    looks_at_model: ClassVar[bool] = False  # masks come from `masks_from_model(model, weights)` (SynFlow)
    searches: ClassVar[bool] = False  # begins dense and finds its mask while it trains (Robust Bird)
    adapts: ClassVar[bool] = False  # looks at records of a development split (Flying Bird+)
    under_standard_loss: ClassVar[bool] = False  # steps whose gradient decides are not attacked (RigL)
    attack_search = False  # stage 1 is attacked too; an option of Robust Bird
    reset_regrown = False  # what is dropped and grown again at once starts at zero; an option of Flying Bird

    def __post_init__(self) -> None:
        check_fields(self)
        if isinstance(self.density, np.floating):
            object.__setattr__(self, "density", float(self.density))  # checkpoints hold the options as JSON
        check_density(self.density, f"{type(self).__name__}: density")

    @abstractmethod
    def initial_masks(self, weights: Mapping[str, Tensor], seed: int) -> Masks | None:
        """The masks that training starts with.

        Args:
            weights: Parameter name -> weight, `(outputs, inputs)` or `(outputs, inputs, height, width)`.
            seed: Makes random positions repeatable.

        Returns:
            Parameter name -> BoolTensor of its shape; None to start dense.
        """

    def is_update_step(self, step: int, max_steps: int) -> bool:
        """Whether masks change after optimiser step `step` (1, 2, ..., `max_steps`)."""
        return False

    @property
    def grows_by_gradient(self) -> bool:
        """Whether updates look at the gradient of masked weights."""
        return False

    def describe(self) -> dict[str, Any]:
        """Name and hyper-parameters, as JSON scalars."""
        return {"name": self.name, **asdict(self)}


def generator(seed: int, *position: int) -> torch.Generator:
    """A random generator on the CPU that depends on a seed and a position (step, layer) alone."""
    state = np.random.SeedSequence([seed, *position]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 32 | int(state[1]))


def random_masks(weights: Mapping[str, Tensor], density: float | str, distribution: str, seed: int) -> Masks:
    """Masks of exact density at random positions.

    Args:
        weights: Parameter name -> weight.
        density: Fraction kept over all layers, or a pattern.
        distribution: How a fraction is shared out; see `kept_per_layer`.
        seed: Makes the positions repeatable.
    """
    pattern = parse_pattern(density)
    if pattern is not None:
        scores = {
            name: torch.rand(weight.shape, generator=generator(seed, 0, index)).to(weight.device)
            for index, (name, weight) in enumerate(weights.items())
        }
        return pattern_masks(scores, pattern)
    counts = kept_per_layer({name: weight.shape for name, weight in weights.items()}, density, distribution)
    masks = {}
    for index, (name, weight) in enumerate(weights.items()):
        order = torch.randperm(weight.numel(), generator=generator(seed, 0, index))
        mask = torch.zeros(weight.numel(), dtype=torch.bool)
        mask[order[: counts[name]]] = True
        masks[name] = mask.reshape(weight.shape).to(weight.device)
    return masks


def global_masks(scores: Mapping[str, Tensor], density: float | str) -> Masks:
    """Keeps the highest scores of all layers together; every layer keeps its highest one at least.

    Args:
        scores: Parameter name -> score of each weight.
        density: Fraction kept over all layers; or a pattern, which keeps the highest of each group.
    """
    pattern = parse_pattern(density)
    if pattern is not None:
        return pattern_masks(scores, pattern)
    sizes = [score.numel() for score in scores.values()]
    kept_per_layer({name: score.shape for name, score in scores.items()}, density, "uniform")  # refuses empty layers
    # Scores in float64 may be beyond what a float32 can hold.
    dtype = torch.promote_types(torch.float32, next(iter(scores.values())).dtype)
    flat = torch.cat([score.detach().reshape(-1).to(dtype) for score in scores.values()])
    start = 0
    for size in sizes:
        flat[start + flat[start : start + size].argmax()] = torch.inf
        start += size
    mask = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    mask[flat.topk(round(density * len(flat)), sorted=False).indices] = True
    parts = mask.split(sizes)
    return {name: part.reshape(score.shape).clone() for (name, score), part in zip(scores.items(), parts, strict=True)}


def register_sparse_method(name: str, method: type[SparseMethod]) -> None:
    """Makes a method available by name.

    Raises:
        ConfigurationError: If the name is taken by another class.
    """
    if _METHODS.get(name, method) is not method:
        raise ConfigurationError(f"the sparse method {name!r} is registered already: choose another name")
    _METHODS[name] = method


def list_sparse_methods() -> list[str]:
    """Names of all registered methods, sorted."""
    return sorted(_METHODS)


def get_sparse_method(name: str, **options: Any) -> SparseMethod:
    """Builds a method from its name, e.g. `get_sparse_method("flying-bird", density=0.1)`.

    Raises:
        UnknownNameError: If no method has this name.
        ConfigurationError: If it has no such option, or refuses the value.
    """
    if not isinstance(name, str) or name not in _METHODS:
        raise UnknownNameError(f"unknown sparse method {name!r}: expected one of {', '.join(list_sparse_methods())}")
    known = [option.name for option in fields(_METHODS[name]) if option.init]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ConfigurationError(f"{name} has no option {', '.join(unknown)}: expected {', '.join(known)}")
    return _METHODS[name](**options)
