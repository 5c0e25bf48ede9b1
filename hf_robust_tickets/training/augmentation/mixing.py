"""Mixtures of word embeddings inside a training step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...architectures import layer_module
from ...augmentation import DirichletNeighbourhoods, row_seed
from ...errors import DataError
from ...evaluation.victim.copies import to_device


class EmbeddingMixer:
    """Puts mixtures of neighbours in the place of word embeddings.

    The mixture of a row is a function of the seed, the step and its tokens: all passes of a step see the same, on any
    number of ranks, and so does a training that is resumed. An adversary adds its perturbation to the mixture.

    Args:
        neighbourhoods: Draws what words are mixed of.
        seed: Of the training.
    """

    def __init__(self, neighbourhoods: DirichletNeighbourhoods, seed: int) -> None:
        self.neighbourhoods = neighbourhoods
        self._seed = seed

    @contextmanager
    def around(self, model: nn.Module, inputs: Mapping[str, Any], step: int) -> Iterator[None]:
        """While it lasts, the model reads mixtures where a batch has words with neighbours.

        Args:
            model: The model, not wrapped.
            inputs: The batch; `input_ids` of shape `(rows, tokens)`.
            step: Number of the optimiser step.

        Raises:
            DataError: If the batch has no ids of one text per row.
        """
        ids = inputs.get("input_ids")
        if ids is None or ids.dim() != 2:
            raise DataError(
                f"expected a batch with input_ids of one text per row, got {', '.join(inputs)} with ids of shape "
                f"{None if ids is None else tuple(ids.shape)}: leave dirichlet_neighbours out for data of another form"
            )
        module = layer_module(model, 0)
        hook = _Mixing(*self._draw(ids, inputs.get("attention_mask"), step))
        # Before the hook of an adversary, which adds to what this one gives.
        handle = module.register_forward_hook(hook, prepend=True)
        try:
            yield
        finally:
            handle.remove()

    def _draw(self, ids: Tensor, mask: Tensor | None, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # The words decide, and the host knows them: the one number of a step that it waits for.
        rows, shown = torch.stack([ids, torch.ones_like(ids) if mask is None else mask.to(ids)]).tolist()
        # A row has its seed from its text: how far the batch is padded depends on what else is in it.
        texts = [[token for token, kept in zip(row, keep, strict=True) if kept] for row, keep in zip(rows, shown)]
        mixture = self.neighbourhoods.draw(rows, [row_seed(self._seed, step, text) for text in texts])
        return tuple(to_device(torch.from_numpy(part), ids.device) for part in mixture)


class _Mixing:
    """The hook of one step."""

    def __init__(self, rows: Tensor, columns: Tensor, ids: Tensor, weights: Tensor) -> None:
        self._places, self._ids, self._weights = (rows, columns), ids, weights

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        # The class's own forward: some families scale what they look up, and hooks are not to run again.
        near = type(module).forward(module, self._ids)
        mixed = (near * self._weights.to(near.dtype)[..., None]).sum(dim=1)
        return output.index_put(self._places, mixed)
