"""What cannot be captured, said before training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import nn

from ..._compat import checkpointing_options
from ...errors import ConfigurationError
from ..callbacks.base import AttackCallback
from .buckets import BucketCollator
from .graphs import GRAPHS

if TYPE_CHECKING:
    from ...adversaries import Adversary
    from ..arguments import AdversaryOptions

_OF_TENSORS_ALONE = frozenset({"adaptive", "token-exchange"})
"""Extensions that do the same with every batch of a shape, on the device."""


def check_buckets(trainer: Any) -> None:
    """Raises ConfigurationError where batches cannot be padded to `pad_to_buckets`."""
    buckets = getattr(trainer.args, "pad_to_buckets", None)
    if buckets is not None:
        BucketCollator(trainer.data_collator, buckets, trainer.processing_class)


def check_capture(trainer: Any) -> None:
    """Raises ConfigurationError where the steps of a trainer cannot be captured."""
    device = trainer.args.device
    if device.type not in GRAPHS:
        raise ConfigurationError(
            f"capture_passes expected a CUDA device, got {device.type}: leave it out here, or train on one"
        )
    reasons = [*_of_surroundings(trainer), *_of_model(trainer)]
    if trainer.adversary is not None:
        reasons += _of_attack(trainer.adversary, trainer.adversary_options)
    if reasons:
        raise ConfigurationError(
            f"capture_passes repeats one step as it was recorded, got {'; '.join(reasons)}: leave one out"
        )


def check_callbacks(trainer: Any) -> None:
    """Raises ConfigurationError for callbacks that take part in steps, which a replayed one passes by."""
    found = [callback for callback in trainer.callback_handler.callbacks if isinstance(callback, AttackCallback)]
    found = [callback for callback in found if type(callback).meet_adversary is not AttackCallback.meet_adversary]
    if found:
        raise ConfigurationError(
            f"capture_passes repeats one step as it was recorded, got {type(found[0]).__name__}, which follows steps "
            "as they run: leave one out"
        )


def _of_surroundings(trainer: Any) -> Iterator[str]:
    args = trainer.args
    if args.world_size > 1 or args.n_gpu > 1:
        yield f"{max(args.world_size, args.n_gpu)} devices, which exchange gradients in it"
    if trainer.is_fsdp_enabled:
        yield "FSDP, which gathers weights in it"
    if trainer.is_deepspeed_enabled:
        yield "DeepSpeed, whose engine takes part in it"
    if trainer.accelerator.scaler is not None:
        yield "fp16, whose loss scale is decided step by step (use bf16)"
    if args.torch_compile:
        yield "torch_compile, which makes graphs itself"
    if checkpointing_options(args) is not None:
        yield "checkpointing of activations, which puts the random generator back in it"
    if args.torch_empty_cache_steps is not None:
        yield "torch_empty_cache_steps, which frees memory in it"
    if "lomo" in args.optim or "layerwise" in args.optim:
        yield f"optim={args.optim!s}, which updates weights in the backward pass"
    if getattr(args, "dirichlet_neighbours", None):
        yield "dirichlet_neighbours, which draws on the host"
    if trainer.teacher is not None:
        yield "a teacher, with which it is untested"
    if trainer.searches:
        yield f"{type(trainer).__name__}, which changes the model between steps"


def _of_model(trainer: Any) -> Iterator[str]:
    model = trainer.accelerator.unwrap_model(trainer.model)
    if any(isinstance(part, nn.Embedding) and part.sparse for part in model.modules()):
        yield "sparse gradients of embeddings, whose size depends on the batch"
    config = getattr(model, "config", None)
    drops = [name for name in ("layerdrop", "encoder_layerdrop", "decoder_layerdrop") if getattr(config, name, 0)]
    if drops:
        # The device would not notice: the layers that the recorded step left out would stay out.
        yield f"{' and '.join(drops)}, for which the host draws"


def _of_attack(adversary: Adversary, options: AdversaryOptions) -> Iterator[str]:
    name = adversary.name
    if adversary.space == "pixels":
        yield f"{name}, which looks at the first images on the host"
    if adversary.remembers or adversary.replays > 1:
        yield f"{name}, which keeps a perturbation from step to step"
    if other := set(adversary.extensions) - _OF_TENSORS_ALONE:
        yield f"{name} with {', '.join(sorted(other))}, which keep more than gradients"
    if options.adversary_warmup or options.adversary_schedule != "constant":
        yield "adversary_warmup or adversary_schedule, by which lengths change from step to step"
    if options.adversary_restarts > 1 or options.adversary_share_dropout:
        yield "adversary_restarts or adversary_share_dropout, which are untested or put the random generator back"
    if options.adversary_weight_perturbation or options.adversary_layer:
        yield "adversary_weight_perturbation or adversary_layer, with which it is untested"
