"""What a `Trainer` of augmented data does more than another."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase, Trainer, default_data_collator

from ..._provenance import note_training_resources
from ...augmentation import WordSource, WordSubstitution, build_source
from ...errors import ConfigurationError
from ...evaluation.victim.model import length_limit
from .collator import AugmentingCollator, EpochWatch
from .options import AugmentationOptions


class AugmentingTrainer(Trainer):
    """`Trainer` whose training data are read with other words, if its arguments are `AugmentationOptions` and say so.

    The batches of training alone are made by an `AugmentingCollator` around that of the trainer; the model's
    configuration notes what words came from, by which an evaluation tells attacks that are not unseen.

    Raises:
        ConfigurationError: If there is no tokenizer (`processing_class`) to find words with.
        DataError: If a list of neighbours is missing, or is none.
        MissingResourceError: If WordNet is asked for and is not there.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._word_sources: dict[str, WordSource] = {}
        # What is missing is missed now, not after a search.
        self._augmenting_collator()

    def get_train_dataloader(self) -> DataLoader:
        """As in `Trainer.get_train_dataloader`, with words replaced where the arguments ask for it."""
        collator, plain = self._augmenting_collator(), self.data_collator
        callbacks = self.callback_handler.callbacks
        callbacks[:] = [callback for callback in callbacks if not isinstance(callback, EpochWatch)]
        if collator is None:
            return super().get_train_dataloader()
        callbacks.append(EpochWatch(collator))
        sources = collator.substitution.sources
        config = self.accelerator.unwrap_model(self.model).config
        note_training_resources(config, [name for source in sources for name in source.resources])
        self.data_collator = collator
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = plain

    def _augmenting_collator(self) -> AugmentingCollator | None:
        options = self.args
        if not isinstance(options, AugmentationOptions) or not options.augment_rate:
            return None
        tokenizer = self.processing_class
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise ConfigurationError(
                f"augment_rate needs a tokenizer to find words with, got {type(tokenizer).__name__}: pass "
                "processing_class=tokenizer"
            )
        for name in options.augment_with:
            if name not in self._word_sources:
                self._word_sources[name] = build_source(name)
        sources = [self._word_sources[name] for name in options.augment_with]
        return AugmentingCollator(
            self.data_collator,
            WordSubstitution(tokenizer, sources, options.augment_rate),
            tokenizer,
            seed=options.seed if options.data_seed is None else options.data_seed,
            max_length=length_limit(self.accelerator.unwrap_model(self.model), tokenizer),
            keeps_length=self.data_collator is default_data_collator,
        )
