"""The graphs of one training: a step is recorded on its third batch of a shape and replayed from then on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...errors import ConfigurationError, DataError
from ..steps.metrics import AttackMeter
from .checks import check_callbacks
from .graphs import GRAPHS, Graph

if TYPE_CHECKING:
    from ..steps.base import AdversarialStep

MOST_SHAPES = 16
"""Graphs of one kind of step. Each holds what its step needs of memory beside the results of the others."""

WARM_UP = 2
"""Steps of each shape that run as they are, and train, before one is recorded: libraries choose what they will do, and
the attack makes what it keeps."""

Step = Callable[[nn.Module, dict[str, Any], Any], Tensor]


@dataclass
class _Recorded:
    """A step that was captured.

    Args:
        graph: Repeats it.
        inputs: The batch that it reads, in memory that stays.
        counted: `num_items_in_batch`, likewise, or `None`.
        loss: What it gives, written again by every replay.
        passes: Passes over the batch.
        meter: What one step says of the attack, written again by every replay.
        skipped: Ascents that one step left out.
    """

    graph: Graph
    inputs: dict[str, Any]
    counted: Tensor | None
    loss: Tensor
    passes: int
    meter: AttackMeter
    skipped: Tensor | int


class CapturedSteps:
    """Runs the steps of a training: the first of each shape as they are, the others as replays of a captured graph.

    A graph repeats what was asked of the device, on the same memory. So a batch is copied to where the recorded one
    was; gradients are added to tensors that stay, which are zeroed where the Trainer has let go of them; and whatever
    the host does in a step (counting passes, adding to the log) is done here again. Plain and attacked steps have
    graphs of their own, so that `adversary_every` and `adversary_start_step` choose between them. The optimiser's
    step, clipping and the schedule stay outside.

    The last batch of an epoch, where it is smaller, and micro-batches of a step with fewer of them run as they are.

    Args:
        trainer: Whose steps.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._graph: type[Graph] = GRAPHS[trainer.args.device.type]
        self.forget()

    def forget(self) -> None:
        """Drops all graphs: the model, or the size of its batches, will be another."""
        self._recorded: dict[Hashable, _Recorded] = {}
        self._seen: Counter[Hashable] = Counter()
        # Of the weights that steps reach: others must stay without, or the optimiser would move them too.
        self._gradients: dict[nn.Parameter, Tensor | None] = {}
        self._places: tuple[int, ...] = ()
        self._pool: Any = None

    @property
    def graphs(self) -> int:
        """Steps that are captured by now."""
        return len(self._recorded)

    def __call__(self, step: Step, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any) -> Tensor:
        """As `step`, with the same gradients, log and loss.

        Raises:
            ConfigurationError: If the step cannot be captured, or there are too many shapes.
            DataError: If a batch holds something that cannot be put where another one was.
        """
        trainer = self._trainer
        whole = trainer.current_gradient_accumulation_steps == trainer.args.gradient_accumulation_steps
        if not whole or _rows(inputs) < trainer._train_batch_size:
            return step(model, inputs, num_items_in_batch)
        counted = self._on_device(num_items_in_batch)
        attacked = step is trainer.adversarial_step
        key = (attacked, counted is None, _shape_of(inputs))
        if key not in self._recorded:
            if self._seen[key] < WARM_UP:
                self._check_number(key)
                self._seen[key] += 1
                return self._warm_up(step, model, inputs, counted)
            self._recorded[key] = self._record(step, model, inputs, counted)
        return self._replay(self._recorded[key], model, inputs, counted)

    def _warm_up(self, step: Step, model: nn.Module, inputs: dict[str, Any], counted: Tensor | None) -> Tensor:
        loss = self._graph.warm_up(lambda: step(model, inputs, counted))
        for weight in model.parameters():
            if weight.grad is not None:
                self._gradients.setdefault(weight, None)
        return loss

    def _record(self, step: Step, model: nn.Module, inputs: dict[str, Any], counted: Tensor | None) -> _Recorded:
        trainer, runner = self._trainer, self._trainer.runner
        check_callbacks(trainer)
        if runner.terms:
            raise ConfigurationError(
                "capture_passes repeats one step as it was recorded, got penalties on the weights (runner.terms), "
                "which may change from step to step: leave one out"
            )
        self._pool = self._graph.new_pool() if self._pool is None else self._pool
        self._places = self._places or _places(model)
        buffers = {name: value.clone() if isinstance(value, Tensor) else value for name, value in inputs.items()}
        counted = None if counted is None else counted.clone()
        self._lay_out_gradients(model)
        graph, passes = self._graph(self._pool), runner.passes
        with _noted_apart(trainer.adversarial_step) as noted:
            loss = self._captured(graph, lambda: step(model, dict(buffers), counted))
        self._check_gradients(model)
        passes, runner.passes = runner.passes - passes, passes
        return _Recorded(graph, buffers, counted, loss, passes, *noted)

    def _captured(self, graph: Graph, step: Callable[[], Tensor]) -> Tensor:
        try:
            return graph.capture(step)
        except RuntimeError as error:
            if "out of memory" in str(error):
                raise
            raise ConfigurationError(
                "capture_passes expected a step that gives the device work and waits for none of it, got one that "
                f"cannot be captured ({str(error).splitlines()[0]}): something in the model or its loss reads a "
                "number or a size back; leave capture_passes out"
            ) from error

    def _replay(self, recorded: _Recorded, model: nn.Module, inputs: dict[str, Any], counted: Tensor | None) -> Tensor:
        if _places(model) != self._places:
            raise ConfigurationError(
                "capture_passes expected weights that stay where they are, got some that were moved or replaced since "
                "the first step was captured, by a callback perhaps: leave capture_passes out"
            )
        for name, buffer in recorded.inputs.items():
            if isinstance(buffer, Tensor):
                buffer.copy_(inputs[name], non_blocking=True)
        if counted is not None:
            recorded.counted.copy_(counted, non_blocking=True)
        model.train()
        self._lay_out_gradients(model)
        recorded.graph.replay()
        self._trainer.runner.passes += recorded.passes
        step: AdversarialStep | None = self._trainer.adversarial_step
        if step is not None and recorded.meter.steps:
            step.meter.take(recorded.meter)
            step.skipped_ascents = step.skipped_ascents + recorded.skipped
        return recorded.loss.clone()

    def _lay_out_gradients(self, model: nn.Module) -> None:
        """Gives the weights the gradients that graphs add to, with what they have by now; zero for none."""
        empty = []
        for weight, kept in self._gradients.items():
            if kept is None:
                kept = self._gradients[weight] = torch.zeros_like(weight)
            if weight.grad is None:
                empty.append(kept)
            elif weight.grad is not kept:
                kept.copy_(weight.grad)
            weight.grad = kept
        if empty:
            torch._foreach_zero_(empty)

    def _check_gradients(self, model: nn.Module) -> None:
        for name, weight in model.named_parameters():
            if weight.grad is not self._gradients.get(weight):
                raise ConfigurationError(
                    f"capture_passes expected every step to reach the same weights, got a gradient of {name} that the "
                    "first steps did not have or that is another tensor: leave capture_passes out"
                )

    def _check_number(self, key: Hashable) -> None:
        of_this_kind = {other[2] for other in self._seen if other[0] == key[0]}
        if len(of_this_kind | {key[2]}) > MOST_SHAPES:
            lengths = sorted({size for shape in of_this_kind for _, sizes, *_ in shape for size in sizes[1:]})
            raise ConfigurationError(
                f"capture_passes expected batches of at most {MOST_SHAPES} shapes, got one more (lengths until now: "
                f"{', '.join(map(str, lengths))}): pad to a few lengths, e.g. pad_to_buckets=[32, 64, 128]"
            )

    def _on_device(self, num_items_in_batch: Any) -> Tensor | None:
        if num_items_in_batch is None or isinstance(num_items_in_batch, Tensor):
            return num_items_in_batch
        return torch.full((), num_items_in_batch, device=self._trainer.args.device)


@contextmanager
def _noted_apart(step: AdversarialStep | None) -> Iterator[list[Any]]:
    """Keeps what a step says of the attack out of the log while it lasts; then `[meter, skipped ascents]` of it."""
    meter, noted = AttackMeter(), []
    if step is None:
        yield noted
        noted += [meter, 0]
        return
    kept = step.meter, step.skipped_ascents
    step.meter, step.skipped_ascents = meter, 0
    try:
        yield noted
        noted += [meter, step.skipped_ascents]
    finally:
        step.meter, step.skipped_ascents = kept


def _rows(inputs: dict[str, Any]) -> int:
    return next((len(value) for value in inputs.values() if isinstance(value, Tensor) and value.dim()), 0)


def _shape_of(inputs: dict[str, Any]) -> tuple[Any, ...]:
    found = []
    for name, value in sorted(inputs.items()):
        if isinstance(value, Tensor):
            found.append((name, tuple(value.shape), value.dtype))
        elif value is None or isinstance(value, bool | int | str):
            found.append((name, (), value))
        else:
            raise DataError(
                f"capture_passes expected tensors and plain values in a batch, got {name} of type "
                f"{type(value).__name__}: let the collator leave it out"
            )
    return tuple(found)


def _places(model: nn.Module) -> tuple[int, ...]:
    return tuple(weight.data_ptr() for weight in model.parameters())
