"""Word embeddings that do not train."""

from __future__ import annotations

from torch import nn
from transformers import TrainingArguments

from ..._compat import checkpointing_options, without_adapter
from ...architectures import layer_module
from ...errors import ConfigurationError


class FrozenEmbeddings:
    """Takes the weights of a model's input embeddings out of training, until it is asked to let go.

    Adversarial training moves what the words are to where the attack is; substitutions are found among words that were
    close before. A frozen table keeps them there, and spares the optimiser half of a small encoder's weights. The
    adversary's perturbation is added to the output of the table: attacks are what they were.

    Args:
        model: The unwrapped model, before its optimiser is made.
        args: Of the training.

    Raises:
        ConfigurationError: If the model names no embeddings, or reentrant activation checkpointing would lose the
            gradients of the layers above them.
    """

    def __init__(self, model: nn.Module, args: TrainingArguments) -> None:
        if (checkpointing_options(args) or {}).get("use_reentrant"):
            raise ConfigurationError(
                "above frozen embeddings reentrant activation checkpointing has no gradients, got use_reentrant=True: "
                "set use_reentrant=False in the kwargs of checkpointing"
            )
        embeddings = layer_module(without_adapter(model), 0)
        self._weights = [weight for weight in embeddings.parameters() if weight.requires_grad]
        for weight in self._weights:
            weight.requires_grad_(False)
            weight.grad = None

    def let_go(self) -> None:
        """Lets the weights train again."""
        for weight in self._weights:
            weight.requires_grad_(True)
