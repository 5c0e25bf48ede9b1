"""The perturbation of one training step, from its start in the first pass to the last."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..adversaries import Adversary
from ..errors import ConfigurationError


class Perturbation:
    """Delta while one batch is attacked.

    Its shape is known only when the first pass has reached the perturbed module, so it is made there, by `add`.

    Args:
        adversary: What starts and moves it.
        mask: Gives the mask `(batch, tokens)` for the module's clean output.
        share_dropout: Put the random generator back in every pass to where it was in the first, so that all passes
            see the same dropout masks.

    Attributes:
        delta: The leaf tensor of the present pass; `None` before the first.
        grad: Gradient with respect to it where the pass gave one apart from `delta.grad`.
        skipped_ascents: Number of ascents left out because the gradient was not finite, as a tensor (no device sync).
    """

    def __init__(self, adversary: Adversary, mask: Callable[[Tensor], Tensor], share_dropout: bool) -> None:
        self.adversary = adversary
        self.delta: Tensor | None = None
        self.grad: Tensor | None = None
        self.skipped_ascents: Tensor | int = 0
        self._mask_of = mask
        self._mask: Tensor | None = None
        self._share_dropout = share_dropout
        self._generator_states: dict[str, Tensor] = {}

    def begin_pass(self, device: torch.device) -> None:
        """Called before each forward pass, on the device it runs on."""
        if self._share_dropout:
            self._replay("start of the pass", device)

    def add(self, clean: Tensor) -> Tensor:
        """The perturbation to add to the module's output `clean`, `(batch, tokens, dim)`."""
        if self.delta is None:
            self._mask = self._mask_of(clean)
            start = self.adversary.init(clean.detach().float(), self._mask)
            self.delta = start.requires_grad_()
        if self._share_dropout:
            # Again, for the first pass has drawn delta's start since its own start.
            self._replay("perturbed module", clean.device)
        return self.delta

    def ascend(self) -> None:
        """Moves delta with the gradient of the last pass; a gradient that is not finite leaves it where it is.

        Raises:
            ConfigurationError: If the pass did not go through the perturbed module.
        """
        if self.delta is None:
            raise ConfigurationError(
                "the forward pass did not go through the module to perturb, the model's input embeddings: give the "
                "model input_ids (not inputs_embeds), or set adversary_layer"
            )
        grad = self.delta.grad if self.grad is None else self.grad
        self.grad = None
        finite = torch.isfinite(grad).all()
        moved = self.adversary.ascend(self.delta.detach(), grad.float(), self._mask)
        self.skipped_ascents = self.skipped_ascents + (~finite).long()
        self.delta = torch.where(finite, moved, self.delta.detach()).requires_grad_()

    def _replay(self, point: str, device: torch.device) -> None:
        """Notes the generator's state when `point` is reached for the first time, and puts it back ever after."""
        generator = torch if device.type == "cpu" else getattr(torch, device.type)
        if point in self._generator_states:
            generator.set_rng_state(self._generator_states[point])
        else:
            self._generator_states[point] = generator.get_rng_state()
