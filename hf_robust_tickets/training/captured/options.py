"""Whether steps are captured, and the lengths that batches are padded to."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..._arguments import check_fields
from ...errors import ConfigurationError


@dataclass
class CaptureOptions:
    """Steps of fixed shapes as captured graphs.

    Attributes:
        capture_passes: On a CUDA device, all passes of a step (forward, backward, ascents) are captured as one graph
            per shape of a batch, and replayed from then on: one launch in place of thousands. See
            `docs/performance.md` for what can be captured.
        pad_to_buckets: Lengths, in tokens, that training batches are padded to: each to the first that holds its
            longest text. `None` for as little padding as there can be, and then a shape for each length.
    """

    capture_passes: bool = field(
        default=False, metadata={"help": "On CUDA: all passes of a step as one captured graph per shape."}
    )
    pad_to_buckets: list[int] | None = field(
        default=None, metadata={"help": "Lengths that training batches are padded to, e.g. 32 64 128."}
    )

    def _check_capture(self) -> None:
        if isinstance(self.pad_to_buckets, int):
            self.pad_to_buckets = [self.pad_to_buckets]
        check_fields(self, CaptureOptions)
        buckets = self.pad_to_buckets
        if buckets is not None and (not buckets or min(buckets) < 1 or len(set(buckets)) < len(buckets)):
            raise ConfigurationError(
                f"expected pad_to_buckets to name different lengths of at least 1, got {buckets}: e.g. [32, 64, 128], "
                "or leave it out"
            )
