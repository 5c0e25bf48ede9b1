"""InfoBERT's critic inside the model that it judges, for the time of a training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ...adversaries.text.infobert import AnchorCritic
from ...errors import ConfigurationError

_NAME = "anchor_critic"


class CriticHook:
    """Puts a critic into a model, where the optimiser, checkpoints and data parallelism find its weights.

    It is called inside the model's own forward pass, and its scores are among the outputs: what is not, data
    parallelism takes for unused.

    Args:
        model: The unwrapped model; a critic it has already is kept.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        if not hasattr(model, _NAME):
            weight = model.get_input_embeddings().weight
            critic = AnchorCritic(model.config.get_text_config().hidden_size)
            model.add_module(_NAME, critic.to(device=weight.device, dtype=weight.dtype))
        self._armed = False
        self._handle = model.register_forward_hook(self._hook)

    @contextmanager
    def armed(self) -> Iterator[None]:
        """While it lasts, the outputs' hidden states end in the critic's scores, `(batch, tokens, batch)`."""
        self._armed = True
        try:
            yield
        finally:
            self._armed = False

    def remove(self) -> None:
        """Takes the critic out of the model."""
        self._handle.remove()
        delattr(self._model, _NAME)

    def _hook(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if self._armed:
            states = hidden_states(output)
            scores = getattr(module, _NAME)(states[0], states[-1][:, 0])
            # Not under a name of its own: data parallelism rebuilds outputs from the names of their class.
            output["hidden_states"] = (*states, scores)
        return output


def hidden_states(outputs: Any) -> tuple[Tensor, ...]:
    """The output of the embeddings, of each layer, and what `CriticHook` adds.

    Raises:
        ConfigurationError: If the model gives no hidden states.
    """
    states = outputs.get("hidden_states") if isinstance(outputs, dict) else None
    if not states:
        raise ConfigurationError(
            "infobert needs the hidden states of the model, and it gives none: use a transformers model that returns "
            "them (output_hidden_states), or freelb"
        )
    return states
