"""Every batch several times in a row, for methods that step the optimiser between the ascents of one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sized

from torch.utils.data import Sampler


class ReplaySampler(Sampler[int]):
    """Repeats blocks of another sampler's indices.

    Args:
        sampler: Gives the order of the examples.
        block: Examples of one optimiser step, over all ranks and all micro-batches; the last block is filled up from
            the order's beginning, so that a replay is always whole.
        replays: How many times each block comes.
    """

    def __init__(self, sampler: Sampler[int] | Sized, block: int, replays: int) -> None:
        self.sampler = sampler
        self.block = block
        self.replays = replays

    def __len__(self) -> int:
        blocks = -(-len(self.sampler) // self.block)
        return blocks * self.block * self.replays

    def __iter__(self) -> Iterator[int]:
        order = list(self.sampler)
        missing = -len(order) % self.block
        order += [order[i % len(order)] for i in range(missing)]
        for start in range(0, len(order), self.block):
            for _ in range(self.replays):
                yield from order[start : start + self.block]

    def set_epoch(self, epoch: int) -> None:
        """Passes the epoch on, for samplers that shuffle by it."""
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)
