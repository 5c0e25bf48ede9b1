"""The settings that all evaluations share: which examples, how they are read, and how the model is run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self, TypedDict

from .._arguments import check_fields
from ..errors import ConfigurationError


class EvaluationSettings(TypedDict, total=False):
    """The fields of `EvaluationConfig` as keywords of an `evaluate_*` function."""

    num_examples: int | None
    seed: int
    text_columns: str | Sequence[str] | None
    label_column: str
    batch_size: int
    max_length: int | None
    bf16: bool
    progress: bool


@dataclass(frozen=True)
class EvaluationConfig:
    """What evaluations have in common; pass one to several of them, or its fields as plain keywords to one.

    Each evaluation takes what concerns it: images have no text columns, and contrast sets and transferred texts are
    evaluated whole, whatever `num_examples` says. The result holds the settings that were used.

    Attributes:
        num_examples: Size of a seeded, stratified sample; None for all examples.
        seed: Seed of the sample and, with recipe and row, of everything that is random.
        text_columns: The text column, or two for tasks on pairs; None to guess.
        label_column: Column of the labels: class numbers, or names that the model knows.
        batch_size: Most examples per forward (and backward) pass.
        max_length: Truncation in tokens; None for the tokenizer's limit.
        bf16: Runs the model under bfloat16 autocast.
        progress: Shows a progress bar where an evaluation takes long.

    Raises:
        ConfigurationError: If a value cannot work.

    Example:
        >>> config = EvaluationConfig(num_examples=500, max_length=128)
        >>> evaluate_noise(model, dataset, tokenizer, config=config)
        >>> evaluate_white_box(model, dataset, tokenizer, config=config, batch_size=16)     # one setting is another
    """

    num_examples: int | None = None
    seed: int = 0
    text_columns: str | Sequence[str] | None = None
    label_column: str = "label"
    batch_size: int = 64
    max_length: int | None = None
    bf16: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("num_examples", "max_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"expected {name} >= 1 or None, got {value}")
        if self.batch_size < 1:
            raise ConfigurationError(f"expected batch_size >= 1, got {self.batch_size}")

    @classmethod
    def merged(
        cls,
        function: Callable[..., Any],
        config: EvaluationConfig | None,
        settings: Mapping[str, Any],
        unused: Sequence[str] = (),
        **defaults: Any,
    ) -> Self:
        """The settings of one call.

        Args:
            function: The `evaluate_*` function, whose own options an error lists too.
            config: Settings that were handed over together; None for the defaults.
            settings: Settings that were handed over as keywords; they come first.
            unused: Settings that this function has no use for.
            **defaults: Where this function's defaults differ.

        Raises:
            ConfigurationError: If a keyword is unknown, or a value cannot work.
        """
        common = [field.name for field in fields(cls) if field.name not in unused]
        unknown = [name for name in settings if name not in common]
        if unknown:
            own = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
            raise ConfigurationError(
                f"expected options of {function.__name__} among {', '.join([*own, *common])}, got {', '.join(unknown)}"
            )
        return cls(**{**defaults, **settings}) if config is None else replace(config, **settings)

    @property
    def victim_options(self) -> dict[str, Any]:
        """The arguments of a `Victim`."""
        return {"batch_size": self.batch_size, "max_length": self.max_length, "bf16": self.bf16}
