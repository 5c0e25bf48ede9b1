"""HotFlip: the tokens of the next pass, chosen by the gradient of the last one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import Trainer

from ..._reading import tokenizer_of
from ..._sharding import is_sharded
from ...adversaries import Adversary
from ...adversaries.nearest import NearestTokens, require_neighbours, tokens_of_letters
from ...architectures import layer_module
from ...errors import ConfigurationError
from ..steps.state import load_tensors
from .adaptive import AdaptiveAttack
from .base import register_extension

if TYPE_CHECKING:
    from ..arguments import AdversaryOptions
    from ..steps.context import StepContext

_FILE = "adversary_neighbours.safetensors"


class TokenExchange(AdaptiveAttack):
    """Exchanges tokens between the first and the second pass (`HotFlip`).

    The method has `rate`, `candidates`, `chance` and `adaptive`. Which tokens are near is looked up once, in the
    embeddings as they are when a training begins, and goes on with it: a training that is resumed exchanges for the
    same ones.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._nearest: NearestTokens | None = None

    @classmethod
    def validate(cls, trainer: Trainer, adversary: Adversary, options: AdversaryOptions) -> None:
        """As in `Extension.validate`: words, their ids, and their embeddings on one device."""
        if options.adversary_layer:
            raise ConfigurationError(
                f"{adversary.name} exchanges tokens, got adversary_layer={options.adversary_layer}: use 0, or freelb"
            )
        tokenizer = tokenizer_of(trainer.processing_class)
        if not hasattr(tokenizer, "convert_ids_to_tokens"):
            raise ConfigurationError(
                f"{adversary.name} exchanges tokens for others of letters, which the tokenizer tells, got "
                f"{type(tokenizer).__name__}: pass processing_class=tokenizer"
            )
        model = trainer.accelerator.unwrap_model(trainer.model)
        if getattr(model.config, "is_encoder_decoder", False):
            raise ConfigurationError(
                f"{adversary.name} exchanges the tokens of one text, got {type(model).__name__}, which reads two: use "
                "freelb"
            )
        engine = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
        if trainer.is_fsdp_enabled or (engine is not None and engine.zero_stage == 3):
            raise ConfigurationError(
                f"{adversary.name} compares embeddings, which FSDP and ZeRO-3 leave on no rank whole: use freelb, DDP "
                "or ZeRO-2"
            )
        weight = getattr(layer_module(model, 0), "weight", None)
        if weight is None or weight.dim() != 2 or is_sharded(weight):
            raise ConfigurationError(
                f"{adversary.name} compares embeddings, expected get_input_embeddings() with a weight of shape "
                "(words, dim), got none: use freelb"
            )
        require_neighbours(tokens_of_letters(tokenizer, len(weight)))

    def before_ascent(self, context: StepContext) -> None:
        """As in `Extension.before_ascent`."""
        super().before_ascent(context)
        perturbation, ids = context.perturbation, context.inputs.get("input_ids")
        gradient = perturbation.delta.grad if perturbation.grad is None else perturbation.grad
        if ids is None or ids.numel() != gradient[..., 0].numel():
            shape = None if ids is None else tuple(ids.shape)
            raise ConfigurationError(
                f"{context.adversary.name} needs the input_ids of the {tuple(gradient.shape[:-1])} tokens, got "
                f"{shape}: use it on text models that are given ids"
            )
        rows = ids.reshape(gradient.shape[:-1])
        weight = layer_module(self.runner.unwrapped(), 0).weight.detach()
        candidates = self._candidates(weight, context.adversary.candidates)[rows]
        new = exchange(rows, gradient.float(), weight, candidates, perturbation.mask, context.adversary, self._shares)
        context.inputs = {**context.inputs, "input_ids": new.reshape(ids.shape)}

    def save(self, folder: Path) -> None:
        """As in `Extension.save`."""
        if self._nearest is not None and self.runner.trainer.args.should_save:
            save_file({"table": self._nearest.table.contiguous()}, folder / _FILE)

    def load(self, folder: Path) -> None:
        """As in `Extension.load`."""
        # Not there before the first attacked step.
        if (folder / _FILE).exists():
            self._nearest = NearestTokens(load_tensors(folder / _FILE, self.runner.trainer.args)["table"])

    def forget(self) -> None:
        """As in `Extension.forget`."""
        self._nearest = None

    def _candidates(self, weight: Tensor, most: int) -> Tensor:
        if self._nearest is None:
            trainer = self.runner.trainer
            letters = tokens_of_letters(tokenizer_of(trainer.processing_class), len(weight))
            self._nearest = NearestTokens.find(weight, letters, most, asked=_ids_of(trainer.train_dataset))
        return self._nearest.table


@torch.no_grad()
def exchange(
    ids: Tensor,
    gradient: Tensor,
    weight: Tensor,
    candidates: Tensor,
    mask: Tensor,
    adversary: Adversary,
    shares: Tensor | None = None,
) -> Tensor:
    """The ids with those tokens exchanged that promise the largest rise of the loss.

    Args:
        ids: `(batch, tokens)`.
        gradient: Of the loss with respect to the embeddings, `(batch, tokens, dim)`, float32.
        weight: The table of embeddings, `(words, dim)`.
        candidates: What each token may become, `(batch, tokens, most)`; itself for nothing.
        mask: `(batch, tokens)`, 1 for tokens that may be exchanged.
        adversary: Has `rate` and `chance`.
        shares: Of the rate, for every row, `(batch,)`; None for all of it.

    Returns:
        Ids of the same shape. At most the `rate` of a row's tokens, rounded up, are others, and only where the first
        order says that the loss rises; none where a gradient is not finite.
    """
    # (E_c - E_x) g, of which the second part is looked up once per token.
    own = (weight[ids].float() * gradient).sum(-1, keepdim=True)
    rise, which = (torch.einsum("btmd,btd->btm", weight[candidates].float(), gradient) - own).max(dim=-1)
    allowed = (rise > 0) & mask.bool() & torch.isfinite(gradient).all()
    if adversary.chance < 1:
        allowed &= torch.rand(ids.shape, device=ids.device) < adversary.chance
    order = rise.masked_fill(~allowed, -torch.inf).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    rate = adversary.rate if shares is None else adversary.rate * shares.unsqueeze(1)
    most = (rate * mask.sum(dim=1, keepdim=True)).ceil()
    chosen = candidates.gather(-1, which.unsqueeze(-1)).squeeze(-1)
    return torch.where(allowed & (order < most), chosen, ids)


def _ids_of(dataset: Any) -> Tensor | None:
    """The tokens of a data set that can be asked for all of them; None for a stream or one without ids."""
    if "input_ids" not in (getattr(dataset, "column_names", None) or ()) or not hasattr(dataset, "with_format"):
        return None
    import pyarrow.compute as pc

    try:
        rows = dataset.with_format("arrow")[:]["input_ids"]
    except TypeError:
        return None
    return torch.from_numpy(pc.unique(pc.list_flatten(rows)).to_numpy(zero_copy_only=False).astype("int64"))


register_extension("token-exchange", TokenExchange)
