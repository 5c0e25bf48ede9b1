"""What an attacked step costs in theory, in units of a plain one."""

from __future__ import annotations

from ...adversaries import Adversary
from ..arguments import AdversaryOptions
from ..extensions import get_extension

# A forward pass, the gradients of activations and those of weights cost a third of a plain pass each.
_THIRD = 1 / 3


def step_cost(adversary: Adversary | None, options: AdversaryOptions, num_layers: int, cached: bool) -> float:
    """Cost of an attacked step; a pass without weight gradients counts 2/3, a forward pass alone 1/3.

    The layers count alike, and embeddings and heads not at all, as in the Trainer's estimate.

    Args:
        adversary: The method; `None` is a plain step.
        options: How it is used.
        num_layers: Layers of the model; only read where the passes do not all run through the same ones.
        cached: Whether the layers up to `adversary_layer` run once per batch.
    """
    if adversary is None:
        return 1.0
    extensions = [get_extension(name) for name in adversary.extensions]
    uncached = sum(extension.uncached_cost(adversary) for extension in extensions)
    passes = adversary.cost - uncached + (options.adversary_clean_weight > 0)
    if options.adversary_weight_perturbation:
        passes += 2 if adversary.step == "regularized" else 1
    if options.adversary_restarts > 1:
        ascents = (adversary.num_passes - 1) * 2 * _THIRD
        passes += (options.adversary_restarts - 1) * ascents + options.adversary_restarts * _THIRD
    if cached:
        layer = options.adversary_layer
        below = (layer if layer > 0 else num_layers + 1 + layer) / num_layers
        passes = passes * (1 - below) + below
    return passes + uncached + sum(extension.extra_cost(adversary, num_layers) for extension in extensions)
