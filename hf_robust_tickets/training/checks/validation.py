"""What a method cannot be used with, said before training."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerState, TrainingArguments

from ..._compat import checkpointing_options, without_adapter
from ...adversaries import Adversary
from ...architectures import layer_module
from ...errors import CheckpointError, ConfigurationError
from ...evaluation.victim.model import require_right_padding
from ..arguments import AdversaryOptions
from ..extensions import get_extension

logger = logging.getLogger(__name__)

_HALVES = frozenset({"float16", "bfloat16"})

# Their ascents or their loss are not those of the pass whose weights would be moved.
_MOVED_APART = frozenset({"first-layer", "critic"})


def check_adversary(trainer: Trainer, adversary: Adversary, options: AdversaryOptions) -> None:
    """Raises ConfigurationError where an adversary cannot be right in a trainer."""
    _check_surroundings(trainer.args, trainer.accelerator)
    _check_options(adversary, options)
    _check_sees_images(trainer.accelerator.unwrap_model(trainer.model), adversary)
    require_right_padding(trainer.accelerator.unwrap_model(trainer.model), trainer.data_collator)
    if adversary.space == "embeddings":
        layer_module(trainer.accelerator.unwrap_model(trainer.model), options.adversary_layer)
    _check_reentrant_checkpoints(trainer.args, adversary, options)
    _check_weight_perturbation(trainer.args, adversary, options)
    _check_own_loss(trainer.args, adversary, trainer.compute_loss_func, getattr(trainer, "teacher", None))
    for name in adversary.extensions:
        get_extension(name).validate(trainer, adversary, options)
    _check_replicas(trainer.args, options)


def _check_sees_images(model: Any, adversary: Adversary) -> None:
    """Raises ConfigurationError for an attack on pixels and a model that takes none."""
    if adversary.space != "pixels":
        return
    parameters = inspect.signature(without_adapter(model).forward).parameters
    if "pixel_values" not in parameters and (isinstance(model, PreTrainedModel) or "input_ids" in parameters):
        raise ConfigurationError(
            f"{adversary.name} perturbs pixels, got a {type(model).__name__}, which takes no pixel_values: use a "
            "method on embeddings, such as freelb"
        )


def warn_of_half_weights(model: nn.Module) -> None:
    """Says that weights in half precision lose the small steps of fine-tuning: transformers opens them as saved."""
    halves = {str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.requires_grad} & _HALVES
    if halves:
        logger.warning(
            "the weights are trained in %s, where steps that are small beside them are lost (of 1.0, below 0.0005 and "
            "0.004): load the model with dtype=torch.float32, and set bf16 or fp16 in the arguments for speed",
            ", ".join(sorted(halves)),
        )


def _check_options(adversary: Adversary, options: AdversaryOptions) -> None:
    """Raises ConfigurationError for options that a method has no use for."""
    if adversary.step == "regularized" and options.adversary_clean_weight:
        raise ConfigurationError(
            f"{adversary.name} trains on the clean loss already, got adversary_clean_weight="
            f"{options.adversary_clean_weight}: set the weight of its penalty, coefficient"
        )
    if options.adversary_restarts > 1:
        weights = [adversary.loss_weight(k) for k in range(adversary.num_passes)]
        if adversary.step == "regularized" or adversary.remembers or len(weights) < 2 or any(weights[:-1]):
            raise ConfigurationError(
                f"{adversary.name} has no ascents apart from what it trains on, got adversary_restarts="
                f"{options.adversary_restarts}: use pgd or fgsm"
            )
        if adversary.init_magnitude == 0:
            raise ConfigurationError(
                f"adversary_restarts={options.adversary_restarts} needs random starts, got init_magnitude 0: set "
                "adversary_init_magnitude"
            )
    if adversary.replays > 1 and (options.adversary_every > 1 or options.adversary_start_step):
        raise ConfigurationError(
            f"{adversary.name} gives every batch {adversary.replays} times in a row, attacked or not, got "
            f"adversary_every={options.adversary_every} and adversary_start_step={options.adversary_start_step}: "
            "leave them out, or use pgd"
        )
    if adversary.space == "pixels" and options.adversary_layer:
        raise ConfigurationError(
            f"{adversary.name} perturbs pixels, got adversary_layer={options.adversary_layer}: use 0, or freelb"
        )
    if adversary.remembers == "run" and options.adversary_layer:
        raise ConfigurationError(
            f"{adversary.name} keeps a perturbation per word, got adversary_layer={options.adversary_layer}: use 0"
        )


def _check_reentrant_checkpoints(args: TrainingArguments, adversary: Adversary, options: AdversaryOptions) -> None:
    """Raises ConfigurationError where torch could not give the gradient of delta alone."""
    if not (checkpointing_options(args) or {}).get("use_reentrant"):
        return
    # Passes that train the weights give delta's gradient too.
    alone = not all(adversary.loss_weight(k) for k in range(adversary.num_passes))
    if alone or adversary.extensions or options.adversary_weight_perturbation:
        raise ConfigurationError(
            f"{adversary.name} takes gradients of the perturbation alone, which reentrant activation checkpointing "
            "refuses, got use_reentrant=True: set use_reentrant=False in the kwargs of checkpointing, or use freelb"
        )


def _check_weight_perturbation(args: TrainingArguments, adversary: Adversary, options: AdversaryOptions) -> None:
    """Raises ConfigurationError where weights cannot be perturbed."""
    if not options.adversary_weight_perturbation:
        return
    title = f"adversary_weight_perturbation={options.adversary_weight_perturbation}"
    passes = [adversary.loss_weight(k) for k in range(adversary.num_passes)]
    one = adversary.step == "regularized" or (not any(passes[:-1]) and not adversary.remembers)
    if not one or _MOVED_APART & {*adversary.extensions} or options.adversary_clean_weight:
        raise ConfigurationError(
            f"{title} needs a method that trains on the end of its ascent, got {adversary.name} (with clean weight "
            f"{options.adversary_clean_weight:g}): use pgd, fgsm, trades or mart, on embeddings or pixels"
        )
    if args.world_size > 1 or args.fsdp or args.deepspeed or options.adversary_layer:
        raise ConfigurationError(
            f"{title} moves whole weights of all layers in one process, got {args.world_size} processes, fsdp, "
            "deepspeed or adversary_layer: use one process and adversary_layer=0"
        )


def _check_own_loss(args: TrainingArguments, adversary: Adversary, compute_loss_func: Any, teacher: Any) -> None:
    """Raises ConfigurationError for another loss than that of a method which brings its own."""
    if adversary.step != "regularized" or not adversary.ascends_task_loss:
        return
    if args.label_smoothing_factor or compute_loss_func:
        raise ConfigurationError(
            f"{adversary.name} has a loss of its own, got label_smoothing_factor={args.label_smoothing_factor} or "
            "compute_loss_func: leave them out, or use trades"
        )
    if teacher is not None:
        raise ConfigurationError(
            f"{adversary.name} has a loss of its own, which leaves no place to a teacher: use trades"
        )


def _check_replicas(args: TrainingArguments, options: AdversaryOptions) -> None:
    """Raises ConfigurationError for what the replicas of `torch.nn.DataParallel` would make wrong."""
    if args.n_gpu < 2:
        return
    for what, there in (
        ("adversary_share_dropout speaks of one generator per pass", options.adversary_share_dropout),
        ("torch_compile keeps the weights of one device", args.torch_compile),
    ):
        if there:
            raise ConfigurationError(
                f"{what}, got {args.n_gpu} devices in one process, each with a replica of torch.nn.DataParallel: "
                f"launch with `torchrun --nproc_per_node {args.n_gpu}`"
            )


def _check_surroundings(args: TrainingArguments, accelerator: Any) -> None:
    """Raises ConfigurationError where no adversary can be right."""
    parallelism = getattr(accelerator, "parallelism_config", None)
    if parallelism is not None and (parallelism.cp_enabled or parallelism.sp_enabled):
        raise ConfigurationError(
            "an adversary and context or sequence parallelism do not go together: a rank sees only a part of the "
            "sentence that one perturbation belongs to; use data parallelism"
        )


def check_resumed_callbacks(state: TrainerState, callbacks: Sequence[TrainerCallback]) -> None:
    """Raises CheckpointError where a training would go on without a callback that it cannot be right without.

    Under masks of single weights, for one: without their callback, or a class that extends it, the training would
    become dense.

    Args:
        state: As the checkpoint has it.
        callbacks: Those that the training goes on with.
    """
    known = {type(callback).__name__ for callback in callbacks}
    for name, records in (state.stateful_callbacks or {}).items():
        records = records if isinstance(records, list) else [records]
        if name not in known and any(record.get("must_resume") for record in records):
            raise CheckpointError(
                f"expected the {name} that the checkpoint was trained with, got none: pass it with the same method, "
                "or begin a new training from the weights of the checkpoint"
            )
