"""The perturbation of one training step, from its start in the first pass to the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..._reading import tokenizer_of
from ...adversaries import Adversary, AdversaryState, perturbation_mask
from ...adversaries.geometry import expand_mask
from ...adversaries.units import in_tensor_units
from ...errors import ConfigurationError
from ..arguments import AdversaryOptions
from .calls import inputs_of_call


class Perturbation:
    """Delta while one batch is attacked.

    Its shape is known only when the first pass has reached the perturbed module, so it is made there, by `add`.

    Args:
        adversary: What starts and moves it.
        inputs: The batch as the model receives it.
        share_dropout: Put the random generator back in every pass to where it was in the first, so that all passes
            see the same dropout masks.
        state: What the adversary keeps of earlier steps.
        spared: Ids of tokens that are not perturbed.
        alone: Why the model can be called only once in a pass; `None` where each further call has a delta of its own.
        in_layers: Whether a hidden layer is perturbed, and not the embeddings.

    Attributes:
        delta: The leaf tensor of the present pass, in the adversary's unit of length; `None` before the first. Where a
            pass calls the model several times, that of the first call.
        grad: Gradient with respect to it where the pass gave one apart from `delta.grad`.
        mask: `(rows, tokens)`, 1 where a token may be perturbed; `None` before the first pass.
        shares_dropout: Whether all passes see the same dropout masks.
        skipped_ascents: Number of ascents left out because the gradient was not finite, as a tensor (no device sync).
    """

    def __init__(
        self,
        adversary: Adversary,
        inputs: dict[str, Any],
        share_dropout: bool,
        state: AdversaryState,
        spared: Sequence[int] = (),
        alone: str | None = None,
        in_layers: bool = False,
    ) -> None:
        self.adversary = adversary
        self.delta: Tensor | None = None
        self.grad: Tensor | None = None
        self.skipped_ascents: Tensor | int = 0
        self._inputs = inputs
        self._state = state
        self._spared = spared
        self.mask: Tensor | None = None
        self.shares_dropout = share_dropout
        self._generator_states: dict[str, Tensor] = {}
        self._drawn: Tensor | None = None
        self._unit: Tensor | None = None
        self._alone, self._in_layers = alone, in_layers
        self._call = self._calls = 0
        self._others: list[Perturbation] = []

    @property
    def deltas(self) -> list[Tensor]:
        """The leaf tensors of all calls of the model in a pass; one, but for models that are called for each text."""
        return [self.delta, *(other.delta for other in self._others)]

    def take_gradients(self, gradients: Sequence[Tensor | None]) -> None:
        """Keeps the gradients with respect to `deltas` for the next ascent."""
        for part, gradient in zip((self, *self._others), gradients, strict=True):
            part.grad = gradient

    def begin_pass(self, device: torch.device) -> None:
        """Called before each forward pass, on the device it runs on."""
        self._calls = 0
        if self.shares_dropout:
            self._replay("start of the pass", device)

    def meet(self, device: torch.device) -> None:
        """Called where a pass, perturbed or clean, goes through the perturbed module; what is below may be cached."""
        if self.shares_dropout:
            self._replay("perturbed module", device)

    def add(self, clean: Tensor) -> Tensor:
        """The perturbation to add to the module's output `clean`, `(batch, tokens, dim)`.

        Raises:
            ConfigurationError: If the pass has come here before, and the method has one perturbation per batch.
        """
        if self._is_repeated(clean):
            self.meet(clean.device)
            return self.added()
        self._calls += 1
        if self._calls > 1:
            return self._of_further_call(self._calls - 1, clean)
        self.meet(clean.device)
        if self.delta is None:
            if self._drawn is not None:
                # Another start than the last one, although the dropout masks are the same.
                _generator(clean.device).set_rng_state(self._drawn)
            self.restart(clean)
            if self.shares_dropout:
                # Drawing the start has moved the generator on.
                self._drawn = _generator(clean.device).get_rng_state()
                self.meet(clean.device)
        return self.added()

    def added(self) -> Tensor:
        """What delta, which has a start, adds to the module's output."""
        return self._in_tensor(self.adversary.added(self.delta))

    def restart(self, clean: Tensor) -> None:
        """Draws a start for delta; `clean` as in `add`."""
        self.mask = perturbation_mask(inputs_of_call(self._inputs, self._call, clean), clean, self._spared)
        whole = clean.detach().float()
        self._unit = self.adversary.unit(whole, self.mask)
        start = self.adversary.init(whole, self.mask)
        start = self.adversary.recall(self._state, start, self._inputs.get("input_ids"))
        # What is remembered of another batch may lie where this one has padding.
        self.delta = (start * expand_mask(self.mask, clean).to(start.dtype)).detach().requires_grad_()

    def forget(self) -> None:
        """Lets the next pass draw another start."""
        self.delta, self._others = None, []

    def ascend(self) -> None:
        """Moves delta with the gradient of the last pass; a gradient that is not finite leaves it where it is.

        Raises:
            ConfigurationError: If the pass did not go through the perturbed module.
        """
        self.require_delta()
        grad = self.delta.grad if self.grad is None else self.grad
        self.grad = None
        finite = torch.isfinite(grad).all()
        moved = self.adversary.ascend(self.delta.detach(), in_tensor_units(grad.float(), self._unit), self.mask)
        self.skipped_ascents = self.skipped_ascents + (~finite).long()
        self.delta = torch.where(finite, moved, self.delta.detach()).requires_grad_()
        for other in self._others:
            # What the last pass has not called has nothing to climb.
            if other.grad is not None or other.delta.grad is not None:
                other.ascend()
            self.skipped_ascents, other.skipped_ascents = self.skipped_ascents + other.skipped_ascents, 0

    def weaken(self, shares: Tensor) -> None:
        """Leaves a share of the perturbation of each example, `(rows,)`; no ascent follows."""
        shares = shares.reshape(-1, 1, 1)
        self._unit = shares if self._unit is None else self._unit * shares
        for other in self._others:
            other.weaken(shares)

    def require_delta(self) -> None:
        """Raises ConfigurationError if no pass went through the perturbed module."""
        if self.delta is not None:
            return
        remedy = "give the model input_ids, not inputs_embeds"
        if "inputs_embeds" not in self._inputs:
            remedy = (
                "the model calls another one than its get_input_embeddings() gives; let that method give the one it "
                "calls"
            )
        raise ConfigurationError(
            f"the forward pass did not go through the module to perturb, expected it at the input embeddings (or the "
            f"layer adversary_layer), got inputs {', '.join(self._inputs)}: {remedy}"
        )

    def remember(self) -> None:
        """Leaves in the state what the next step needs."""
        self.adversary.remember(self._state, self.delta.detach(), self._inputs.get("input_ids"), self.mask)

    def length(self) -> Tensor:
        """Mean l2 norm of what is added, over the sentences."""
        own = self._in_tensor(self.adversary.added(self.delta.detach())).flatten(1).norm(dim=1).mean()
        return torch.stack([own, *(other.length() for other in self._others)]).mean()

    def _is_repeated(self, clean: Tensor) -> bool:
        """Whether a call of the model is one of a text that the pass has seen.

        Losses call a model again without gradients for their metrics (TRL's do), and checkpoints of activations
        compute hidden layers again.
        """
        again = self._in_layers or not torch.is_grad_enabled()
        return again and self.delta is not None and self.delta.shape == clean.shape

    def _of_further_call(self, call: int, clean: Tensor) -> Tensor:
        if self._alone is not None:
            raise ConfigurationError(
                f"expected a model that is called once in a pass, got another call with {tuple(clean.shape[:2])} "
                f"tokens: {self._alone}; use a method of passes alone, such as freelb, pgd or fgm, on the embeddings"
            )
        if call > len(self._others):
            other = Perturbation(self.adversary, self._inputs, False, self._state, self._spared)
            other._call = call
            self._others.append(other)
        other = self._others[call - 1]
        other.begin_pass(clean.device)
        return other.add(clean)

    def _in_tensor(self, added: Tensor) -> Tensor:
        """What is added, in units of the perturbed tensor."""
        return added if self._unit is None else added * self._unit

    def _replay(self, point: str, device: torch.device) -> None:
        """Notes the generator's state when `point` is reached for the first time, and restores it every later time."""
        generator = _generator(device)
        if point in self._generator_states:
            generator.set_rng_state(self._generator_states[point])
        else:
            self._generator_states[point] = generator.get_rng_state()


def _generator(device: torch.device) -> Any:
    """What has `get_rng_state` and `set_rng_state` for a device."""
    return torch if device.type == "cpu" else getattr(torch, device.type)


def spared_tokens(options: AdversaryOptions, processor: Any) -> list[int]:
    """Ids of the tokens that `options` take out of the attack: none, or those that stand for no word.

    Args:
        options: `adversary_special_tokens` is read.
        processor: The tokenizer, or a processor that has one. Its unknown word and its mask stand for words, unless
            they are one token with the end of a sentence or another mark (GPT-2's are).

    Raises:
        ConfigurationError: If there is no tokenizer to name the tokens.
    """
    if options.adversary_special_tokens:
        return []
    tokenizer = tokenizer_of(processor)
    if not hasattr(tokenizer, "all_special_ids"):
        raise ConfigurationError(
            f"adversary_special_tokens=False needs a tokenizer that names them, got {type(processor).__name__}: pass "
            "processing_class=tokenizer"
        )
    marks = {getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "cls", "sep", "pad")}
    words = {tokenizer.unk_token_id, tokenizer.mask_token_id} - marks
    return sorted(set(tokenizer.all_special_ids) - words)
