"""How the texts of the training data are varied while they are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..._arguments import check_fields
from ...errors import ConfigurationError


@dataclass
class AugmentationOptions:
    """Words replaced and misspelt anew in each epoch; the evaluation data stay as they are.

    Attributes:
        augment_rate: Probability with which a word of a training text is replaced each time it is read; 0: none.
        augment_with: Where other words come from, each equally likely: `"wordnet"` (synonyms), `"characters"`
            (misspellings of one character), or the path of a list of neighbours (.json or .parquet; see
            `augmentation.NeighbourList`).
        dirichlet_neighbours: `"wordnet"`, or a list of neighbours, among which the embeddings of words are mixed at
            random in each step (Dirichlet Neighborhood Ensemble).
        dirichlet_alpha: Concentration of the mixture: large for points near the centre of a word and its neighbours,
            small for points near one of them.
    """

    augment_rate: float = field(default=0.0, metadata={"help": "Share of the words that are replaced; 0: none."})
    augment_with: list[str] | None = field(
        default=None, metadata={"help": "wordnet, characters, or files of neighbours (.json, .parquet)."}
    )

    dirichlet_neighbours: str | None = field(
        default=None, metadata={"help": "wordnet, or a file of neighbours to mix embeddings of words with."}
    )
    dirichlet_alpha: float = field(default=1.0, metadata={"help": "Concentration of the mixture."})

    def augmentation_facts(self) -> dict[str, Any]:
        """What is on, as JSON scalars; files by their names, for a path says nothing elsewhere."""
        found: dict[str, Any] = {}
        if self.augment_rate:
            names = ", ".join(Path(source).name for source in self.augment_with)
            found |= {"augment_rate": self.augment_rate, "augment_with": names}
        if self.dirichlet_neighbours:
            names = Path(self.dirichlet_neighbours).name
            found |= {"dirichlet_neighbours": names, "dirichlet_alpha": self.dirichlet_alpha}
        return found

    def _check_augmentation(self) -> None:
        if isinstance(self.augment_with, str):
            self.augment_with = [self.augment_with]
        check_fields(self, AugmentationOptions)
        if not self.dirichlet_alpha > 0:
            raise ConfigurationError(f"dirichlet_alpha must be positive, got {self.dirichlet_alpha}: e.g. 1.0")
        if not 0 <= self.augment_rate <= 1:
            raise ConfigurationError(
                f"augment_rate must be in [0, 1], got {self.augment_rate}: it is a share of words"
            )
        if bool(self.augment_rate) != bool(self.augment_with):
            raise ConfigurationError(
                f"expected augment_rate and augment_with together, got {self.augment_rate} and {self.augment_with}: "
                "pass e.g. augment_rate=0.15, augment_with=['wordnet', 'characters']"
            )
