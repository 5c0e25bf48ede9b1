"""How the texts of the training data are varied while they are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import ConfigurationError


@dataclass
class AugmentationOptions:
    """Words replaced and misspelt anew in each epoch; the evaluation data stay as they are.

    Attributes:
        augment_rate: Probability with which a word of a training text is replaced each time it is read; 0: none.
        augment_with: Where other words come from, each equally likely: `"wordnet"` (synonyms), `"characters"`
            (misspellings of one character), or the path of a list of neighbours (.json or .parquet; see
            `augmentation.NeighbourList`).
    """

    augment_rate: float = field(default=0.0, metadata={"help": "Share of the words that are replaced; 0: none."})
    augment_with: list[str] | None = field(
        default=None, metadata={"help": "wordnet, characters, or files of neighbours (.json, .parquet)."}
    )

    def augmentation_facts(self) -> dict[str, Any]:
        """What is on, as JSON scalars; files by their names, for a path says nothing elsewhere."""
        if not self.augment_rate:
            return {}
        return {"augment_rate": self.augment_rate, "augment_with": ", ".join(Path(s).name for s in self.augment_with)}

    def _check_augmentation(self) -> None:
        if isinstance(self.augment_with, str):
            self.augment_with = [self.augment_with]
        if not 0 <= self.augment_rate <= 1:
            raise ConfigurationError(
                f"augment_rate must be in [0, 1], got {self.augment_rate}: it is a share of words"
            )
        if bool(self.augment_rate) != bool(self.augment_with):
            raise ConfigurationError(
                f"expected augment_rate and augment_with together, got {self.augment_rate} and {self.augment_with}: "
                "pass e.g. augment_rate=0.15, augment_with=['wordnet', 'characters']"
            )
