"""The ticket: which heads and neurons of a model are kept."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from .._files import read_bytes, write_bytes
from ..errors import CheckpointError, TicketError

_FORMAT = "robust-ticket"


@dataclass(frozen=True, eq=False)
class RobustTicket:
    """A structured mask: one vector of heads and one of neurons for each layer.

    A layer of which nothing is kept loses that block; see `prune_`.

    Two tickets are equal when all their entries are; a ticket can be hashed, saved, and used as a dictionary key.

    Args:
        heads: One boolean vector per layer, shape `(heads of that layer,)`, True = kept.
        neurons: One boolean vector per layer, shape `(neurons of that layer,)`, True = kept.

    Raises:
        TicketError: If the two have different depths, or an entry is no boolean vector.

    Example:
        >>> ticket = RobustTicket(heads=[torch.tensor([True, False])], neurons=[torch.tensor([True, True, False])])
        >>> ticket.head_counts, ticket.neuron_counts, ticket.head_sparsity
        ([1], [2], 0.5)
    """

    heads: tuple[torch.Tensor, ...]
    neurons: tuple[torch.Tensor, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", _vectors(self.heads, "heads"))
        object.__setattr__(self, "neurons", _vectors(self.neurons, "neurons"))
        if len(self.heads) != len(self.neurons) or not self.heads:
            raise TicketError(
                f"expected as many layers of heads as of neurons, at least one; "
                f"got {len(self.heads)} and {len(self.neurons)}"
            )

    @property
    def head_counts(self) -> list[int]:
        """Heads kept in each layer."""
        return [int(mask.sum()) for mask in self.heads]

    @property
    def neuron_counts(self) -> list[int]:
        """Neurons kept in each layer."""
        return [int(mask.sum()) for mask in self.neurons]

    @property
    def head_sparsity(self) -> float:
        """Fraction of the heads that is removed, 0..1."""
        return _sparsity(self.heads)

    @property
    def neuron_sparsity(self) -> float:
        """Fraction of the neurons that is removed, 0..1."""
        return _sparsity(self.neurons)

    def shape(self) -> dict[str, list[int]]:
        """Heads and neurons per layer of the model that the ticket was drawn for: `{"heads": ..., "neurons": ...}`."""
        return {"heads": [len(mask) for mask in self.heads], "neurons": [len(mask) for mask in self.neurons]}

    def fingerprint(self) -> str:
        """SHA-256 over all entries, in hexadecimal: equal for equal tickets, on every machine and version."""
        digest = hashlib.sha256()
        for kind, masks in (("heads", self.heads), ("neurons", self.neurons)):
            for mask in masks:
                digest.update(f"{kind}:{len(mask)}:".encode())
                digest.update(bytes(mask.tolist()))
        return digest.hexdigest()

    def summary(self) -> dict[str, Any]:
        """The ticket in figures, as plain JSON data."""
        return {
            "layers": len(self.heads),
            "head_counts": self.head_counts,
            "neuron_counts": self.neuron_counts,
            "dense_heads": self.shape()["heads"],
            "dense_neurons": self.shape()["neurons"],
            "head_sparsity": self.head_sparsity,
            "neuron_sparsity": self.neuron_sparsity,
            "fingerprint": self.fingerprint(),
        }

    def compose(self, inner: RobustTicket) -> RobustTicket:
        """The ticket over the dense model that equals this one followed by `inner`, drawn for the model it left.

        Raises:
            TicketError: If `inner` was drawn for a model of another shape.
        """
        left = {"heads": self.head_counts, "neurons": self.neuron_counts}
        if inner.shape() != left:
            raise TicketError(f"expected a ticket for what this one kept, {left}, got one for {inner.shape()}")
        return RobustTicket(
            heads=[_scatter(outer, kept) for outer, kept in zip(self.heads, inner.heads)],
            neurons=[_scatter(outer, kept) for outer, kept in zip(self.neurons, inner.neurons)],
        )

    def to_bytes(self) -> bytes:
        """The content of the file that `save` writes."""
        tensors = {f"heads.{i}": mask for i, mask in enumerate(self.heads)}
        tensors |= {f"neurons.{i}": mask for i, mask in enumerate(self.neurons)}
        metadata = {"format": _FORMAT, "version": "1", "fingerprint": self.fingerprint()}
        return safetensors.torch.save(tensors, metadata=metadata)

    @classmethod
    def from_bytes(cls, content: bytes, source: str = "the ticket") -> RobustTicket:
        """The ticket in the content of a file; `source` names it in error messages.

        Raises:
            CheckpointError: If it is no ticket, or a damaged one.
        """
        try:
            tensors = safetensors.torch.load(content)
        except safetensors.SafetensorError as error:
            raise CheckpointError(f"expected a ticket in {source}, got a damaged file ({error})") from error
        depth = len(tensors) // 2
        keys = {f"{kind}.{i}" for kind in ("heads", "neurons") for i in range(depth)}
        if set(tensors) != keys or not tensors:
            raise CheckpointError(f"expected a ticket in {source}, got a file with the tensors {sorted(tensors)[:4]}")
        try:
            ticket = cls(
                heads=[tensors[f"heads.{i}"] for i in range(depth)],
                neurons=[tensors[f"neurons.{i}"] for i in range(depth)],
            )
        except TicketError as error:
            raise CheckpointError(f"expected a ticket in {source}, got an invalid one: {error}") from error
        expected = _metadata(content).get("fingerprint")
        if expected != ticket.fingerprint():
            raise CheckpointError(
                f"expected fingerprint {expected} in {source}, got {ticket.fingerprint()}: the file was altered"
            )
        return ticket

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the ticket to a safetensors file, atomically; missing folders are created.

        Returns:
            The path.
        """
        write_bytes(path, self.to_bytes())
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RobustTicket:
        """Reads a ticket that `save` wrote.

        Raises:
            CheckpointError: If the file is missing, is no ticket, or is damaged.
        """
        return cls.from_bytes(read_bytes(path, "a ticket"), source=str(path))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RobustTicket):
            return NotImplemented
        mine, theirs = (*self.heads, *self.neurons), (*other.heads, *other.neurons)
        return self.shape() == other.shape() and all(torch.equal(a, b) for a, b in zip(mine, theirs))

    def __hash__(self) -> int:
        return hash(self.fingerprint())

    def __repr__(self) -> str:
        shape = self.shape()
        return (
            f"RobustTicket(layers={len(self.heads)}, heads={sum(self.head_counts)}/{sum(shape['heads'])}, "
            f"neurons={sum(self.neuron_counts)}/{sum(shape['neurons'])}, fingerprint={self.fingerprint()[:12]})"
        )


def _vectors(masks: Iterable[torch.Tensor | Sequence[bool]], kind: str) -> tuple[torch.Tensor, ...]:
    vectors = []
    if not isinstance(masks, Iterable):
        raise TicketError(f"expected one boolean vector of {kind} per layer, got {masks!r}")
    for i, mask in enumerate(masks):
        try:
            vector = torch.as_tensor(mask).detach().to("cpu", copy=True)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TicketError(f"expected one boolean vector of {kind} per layer, got {mask!r} in layer {i}") from error
        if vector.dtype != torch.bool or vector.dim() != 1:
            raise TicketError(
                f"expected one boolean vector of {kind} per layer, "
                f"got {vector.dtype} of shape {tuple(vector.shape)} in layer {i}"
            )
        vectors.append(vector)
    return tuple(vectors)


def _sparsity(masks: Sequence[torch.Tensor]) -> float:
    return 1 - sum(int(mask.sum()) for mask in masks) / (sum(len(mask) for mask in masks) or 1)


def _scatter(outer: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    composed = outer.clone()
    composed[outer] = kept
    return composed


def _metadata(content: bytes) -> dict[str, str]:
    # safetensors reads metadata from files only; the header is 8 bytes of length and then JSON.

    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]).get("__metadata__", {})
