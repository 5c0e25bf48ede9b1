"""Every batch several times in a row, for methods that step the optimiser between the ascents of one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import torch
from accelerate.data_loader import SeedableRandomSampler
from torch.utils.data import RandomSampler, Sampler
from transformers import Trainer

from ...adversaries import Adversary
from ...errors import ConfigurationError


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


def replay_batches(sampler: Sampler | None, trainer: Trainer, adversary: Adversary) -> Sampler | None:
    """A trainer's sampler, with every batch as often in a row as the adversary says.

    Raises:
        ConfigurationError: If batches come from a stream.
    """
    if adversary.replays == 1:
        return sampler
    if sampler is None:
        raise ConfigurationError(f"{adversary.name} replays batches of a data set with a length, got a stream")
    args = trainer.args
    if isinstance(sampler, RandomSampler):
        # As accelerate does with the samplers it knows: the order is that of seed and epoch, on every rank.
        seed = args.seed if args.data_seed is None else args.data_seed
        sampler = SeedableRandomSampler(sampler.data_source, generator=torch.Generator(), data_seed=seed)
    # Not args.train_batch_size, which auto_find_batch_size leaves as it was.
    block = trainer._train_batch_size * args.world_size * args.gradient_accumulation_steps
    return ReplaySampler(sampler, block, adversary.replays)
