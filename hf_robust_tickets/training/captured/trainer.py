"""What a `Trainer` of captured steps does more than another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer

from .buckets import BucketCollator
from .checks import check_buckets, check_capture
from .options import CaptureOptions
from .steps import CapturedSteps


class CapturingTrainer(Trainer):
    """`Trainer` whose steps are captured and replayed, if its arguments are `CaptureOptions` and say so.

    Attributes:
        captured: The graphs of the present training; `None` where steps run as they are.
    """

    captured: CapturedSteps | None = None

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer.train`; graphs live as long as it lasts."""
        self._forget_graphs()
        try:
            return super().train(*args, **kwargs)
        finally:
            self._forget_graphs()

    def get_train_dataloader(self) -> DataLoader:
        """As in `Trainer.get_train_dataloader`, padded to the lengths of `pad_to_buckets`."""
        buckets, plain = getattr(self.args, "pad_to_buckets", None), self.data_collator
        if buckets is None:
            return super().get_train_dataloader()
        self.data_collator = BucketCollator(plain, buckets, self.processing_class)
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = plain

    def take_step(
        self, step: Callable[..., Tensor], model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any
    ) -> Tensor:
        """Runs a step, or replays what was captured of one on a batch of this shape.

        Args:
            step: The attacked or the plain step, called with the other arguments.
            model: What the Trainer trains with.
            inputs: The batch.
            num_items_in_batch: As in `Trainer.training_step`.
        """
        if self.captured is None:
            return step(model, inputs, num_items_in_batch)
        return self.captured(step, model, self._prepare_inputs(inputs), num_items_in_batch)

    def _take_capture(self) -> None:
        """Takes up the options; the adversary is known by now."""
        self.captured = None
        check_buckets(self)
        if isinstance(self.args, CaptureOptions) and self.args.capture_passes:
            check_capture(self)
            self.captured = CapturedSteps(self)

    def _forget_graphs(self) -> None:
        if self.captured is not None:
            self.captured.forget()

    def _update_auto_batch_size(self, *args: Any, **kwargs: Any) -> None:
        # Batches of the size that was too large do not come again.
        self._forget_graphs()
        super()._update_auto_batch_size(*args, **kwargs)
