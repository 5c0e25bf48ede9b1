"""What a `Trainer` of augmented data does more than another."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase, Trainer, default_data_collator

from ..._provenance import note_training_resources
from ...augmentation import DirichletNeighbourhoods, WordSource, WordSubstitution, build_source
from ...errors import ConfigurationError
from ...evaluation.victim.model import length_limit
from .collator import AugmentingCollator, EpochWatch
from .mixing import EmbeddingMixer
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
        self._mixer: EmbeddingMixer | None = None
        # What is missing is missed now, not after a search.
        self._augmenting_collator()
        self._embedding_mixer()

    def get_train_dataloader(self) -> DataLoader:
        """As in `Trainer.get_train_dataloader`, with words replaced where the arguments ask for it."""
        collator, plain = self._augmenting_collator(), self.data_collator
        self._mixer = self._embedding_mixer()
        sources = [] if collator is None else list(collator.substitution.sources)
        sources += [] if self._mixer is None else [self._mixer.neighbourhoods.source]
        if sources:
            config = self.accelerator.unwrap_model(self.model).config
            note_training_resources(config, [name for source in sources for name in source.resources])
        callbacks = self.callback_handler.callbacks
        callbacks[:] = [callback for callback in callbacks if not isinstance(callback, EpochWatch)]
        if collator is None:
            return super().get_train_dataloader()
        callbacks.append(EpochWatch(collator))
        self.data_collator = collator
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = plain

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """As in `Trainer.training_step`, with word embeddings mixed where the arguments ask for it."""
        if self._mixer is None:
            return super().training_step(model, inputs, *args, **kwargs)
        with self._mixer.around(self.accelerator.unwrap_model(self.model), inputs, self.state.global_step):
            return super().training_step(model, inputs, *args, **kwargs)

    def _augmenting_collator(self) -> AugmentingCollator | None:
        options = self.args
        if not isinstance(options, AugmentationOptions) or not options.augment_rate:
            return None
        tokenizer = self._words_of("augment_rate")
        sources = [self._word_source(name) for name in options.augment_with]
        return AugmentingCollator(
            self.data_collator,
            WordSubstitution(tokenizer, sources, options.augment_rate),
            tokenizer,
            seed=self._data_seed,
            max_length=length_limit(self.accelerator.unwrap_model(self.model), tokenizer),
            keeps_length=self.data_collator is default_data_collator,
        )

    def _embedding_mixer(self) -> EmbeddingMixer | None:
        options = self.args
        if not isinstance(options, AugmentationOptions) or options.dirichlet_neighbours is None:
            return None
        self._check_mixing()
        source = self._word_source(options.dirichlet_neighbours)
        tokenizer = self._words_of("dirichlet_neighbours")
        return EmbeddingMixer(DirichletNeighbourhoods(tokenizer, source, options.dirichlet_alpha), self._data_seed)

    def _check_mixing(self) -> None:
        """Embeddings are looked up anew in a hook: the table has to be whole, and the hook to be seen."""
        found = {
            "torch_compile": self.args.torch_compile,
            "FSDP": self.is_fsdp_enabled,
            "DeepSpeed": self.is_deepspeed_enabled,
            "torch.nn.DataParallel": self.args.n_gpu > 1,
        }
        if wrong := [name for name, on in found.items() if on]:
            raise ConfigurationError(
                f"dirichlet_neighbours looks words up in a whole table of embeddings, got {', '.join(wrong)}: use "
                "DDP, or augment_rate in its place"
            )

    def _words_of(self, option: str) -> PreTrainedTokenizerBase:
        """The tokenizer, in which an option needs to find words."""
        tokenizer = self.processing_class
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise ConfigurationError(
                f"{option} needs a tokenizer to find words with, got {type(tokenizer).__name__}: pass "
                "processing_class=tokenizer"
            )
        return tokenizer

    def _word_source(self, name: str) -> WordSource:
        if name not in self._word_sources:
            self._word_sources[name] = build_source(name)
        return self._word_sources[name]

    @property
    def _data_seed(self) -> int:
        return self.args.seed if self.args.data_seed is None else self.args.data_seed
