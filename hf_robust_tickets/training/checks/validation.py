"""What a method cannot be used with, said before training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments

from ..._compat import checkpointing_options
from ...adversaries import YOPO, Adversary, InfoBERT, PixelSpace, Regularizer
from ...architectures import get_architecture, layer_module
from ...errors import CheckpointError, ConfigurationError
from ..arguments import AdversaryOptions

_KEEPER_OF_MASKS = "SparseTrainingCallback"


def refuse_adversary(trainer: Trainer, adversary: Adversary, options: AdversaryOptions) -> None:
    """Raises ConfigurationError where an adversary cannot be right in a trainer."""
    refuse_surroundings(trainer.args, trainer.accelerator, adversary)
    refuse_options(adversary, options)
    refuse_layer(trainer._bare_model(), adversary, options)
    refuse_reentrant_checkpoints(trainer.args, adversary, options)
    refuse_weight_perturbation(trainer.args, adversary, options)
    refuse_own_loss(trainer.args, adversary, trainer.compute_loss_func)
    refuse_replicas(trainer.args, adversary, options)
    if isinstance(adversary, InfoBERT):
        refuse_critic(trainer.args, trainer.accelerator.unwrap_model(trainer.model))


def refuse_options(adversary: Adversary, options: AdversaryOptions) -> None:
    """Raises ConfigurationError for options that a method has no use for."""
    if isinstance(adversary, Regularizer) and options.adversary_clean_weight:
        raise ConfigurationError(
            f"{adversary.name} trains on the clean loss already, got adversary_clean_weight="
            f"{options.adversary_clean_weight}: set the weight of its penalty, coefficient"
        )
    if options.adversary_restarts > 1:
        weights = [adversary.loss_weight(k) for k in range(adversary.num_passes)]
        if isinstance(adversary, Regularizer) or adversary.remembers or len(weights) < 2 or any(weights[:-1]):
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
            "leave them away, or use pgd"
        )
    if isinstance(adversary, PixelSpace) and options.adversary_layer:
        raise ConfigurationError(
            f"{adversary.name} perturbs pixels, got adversary_layer={options.adversary_layer}: use 0, or freelb"
        )
    if isinstance(adversary, InfoBERT) and options.adversary_layer:
        raise ConfigurationError(
            f"infobert looks at the embeddings, got adversary_layer={options.adversary_layer}: use 0, or freelb"
        )
    if adversary.remembers == "run" and options.adversary_layer:
        raise ConfigurationError(
            f"{adversary.name} keeps a perturbation per word, got adversary_layer={options.adversary_layer}: use 0"
        )


def refuse_layer(model: nn.Module, adversary: Adversary, options: AdversaryOptions) -> None:
    """Raises ConfigurationError where a model has no such place to perturb."""
    if isinstance(adversary, PixelSpace):
        return
    layer_module(model, options.adversary_layer)
    if isinstance(adversary, YOPO) and options.adversary_layer >= len(get_architecture(model).layers(model)):
        raise ConfigurationError(
            f"{adversary.name} runs the layer above what it perturbs alone, got adversary_layer="
            f"{options.adversary_layer}, the last one: use a smaller number, or freelb"
        )


def refuse_reentrant_checkpoints(args: TrainingArguments, adversary: Adversary, options: AdversaryOptions) -> None:
    """Raises ConfigurationError where torch could not give the gradient of delta alone."""
    if not (checkpointing_options(args) or {}).get("use_reentrant"):
        return
    # Passes that train give delta's gradient too, by the way.
    alone = not all(adversary.loss_weight(k) for k in range(adversary.num_passes))
    if alone or isinstance(adversary, (YOPO, InfoBERT)) or options.adversary_weight_perturbation:
        raise ConfigurationError(
            f"{adversary.name} takes gradients of the perturbation alone, which reentrant activation checkpointing "
            "refuses, got use_reentrant=True: set use_reentrant=False in the kwargs of checkpointing, or use freelb"
        )


def refuse_weight_perturbation(args: TrainingArguments, adversary: Adversary, options: AdversaryOptions) -> None:
    """Raises ConfigurationError where weights cannot be perturbed."""
    if not options.adversary_weight_perturbation:
        return
    title = f"adversary_weight_perturbation={options.adversary_weight_perturbation}"
    passes = [adversary.loss_weight(k) for k in range(adversary.num_passes)]
    one = isinstance(adversary, Regularizer) or (not any(passes[:-1]) and not adversary.remembers)
    if not one or isinstance(adversary, (YOPO, InfoBERT)) or options.adversary_clean_weight:
        raise ConfigurationError(
            f"{title} needs a method that trains on the end of its ascent, got {adversary.name} (with clean weight "
            f"{options.adversary_clean_weight:g}): use pgd, fgsm, trades or mart, on embeddings or pixels"
        )
    if args.world_size > 1 or args.fsdp or args.deepspeed or options.adversary_layer:
        raise ConfigurationError(
            f"{title} moves whole weights of all layers in one process, got {args.world_size} processes, fsdp, "
            "deepspeed or adversary_layer: use one process and adversary_layer=0"
        )


def refuse_own_loss(args: TrainingArguments, adversary: Adversary, compute_loss_func: Any) -> None:
    """Raises ConfigurationError for another loss than that of a method which brings its own."""
    if getattr(adversary, "ascends_task_loss", False) and (args.label_smoothing_factor or compute_loss_func):
        raise ConfigurationError(
            f"{adversary.name} has a loss of its own, got label_smoothing_factor={args.label_smoothing_factor} or "
            "compute_loss_func: leave them away, or use trades"
        )


def refuse_critic(args: TrainingArguments, model: nn.Module) -> None:
    """Raises ConfigurationError where InfoBERT's critic cannot be a part of the model."""
    for where, there in (
        ("deepspeed, whose engine takes every gradient of a trained pass for the last", args.deepspeed),
        ("a PEFT model, whose checkpoints leave its estimator out", hasattr(model, "peft_config")),
    ):
        if there:
            raise ConfigurationError(
                f"infobert trains an estimator in the model and ranks words by a gradient, got {where}: use freelb"
            )


def refuse_replicas(args: TrainingArguments, adversary: Adversary, options: AdversaryOptions) -> None:
    """Raises ConfigurationError for what the replicas of `torch.nn.DataParallel` would make wrong."""
    if args.n_gpu < 2:
        return
    for what, there in (
        ("infobert compares the words of a whole micro-batch", isinstance(adversary, InfoBERT)),
        ("adversary_share_dropout speaks of one generator per pass", options.adversary_share_dropout),
        ("torch_compile keeps the weights of one device", args.torch_compile),
    ):
        if there:
            raise ConfigurationError(
                f"{what}, got {args.n_gpu} devices in one process, each with a replica of torch.nn.DataParallel: "
                f"launch with `torchrun --nproc_per_node {args.n_gpu}`"
            )


def refuse_surroundings(args: TrainingArguments, accelerator: Any, adversary: Adversary | None = None) -> None:
    """Raises ConfigurationError where an adversary (or this one) cannot be right."""
    parallelism = getattr(accelerator, "parallelism_config", None)
    if parallelism is not None and (parallelism.cp_enabled or parallelism.sp_enabled):
        raise ConfigurationError(
            "an adversary and context or sequence parallelism do not go together: a rank sees only a part of the "
            "sentence that one perturbation belongs to; use data parallelism"
        )
    engine = getattr(accelerator.state, "deepspeed_plugin", None)
    if engine is None or engine.zero_stage != 3:
        return
    # Between passes, and where a pass ends half way, ZeRO-3 leaves a rank without the weights.
    if getattr(adversary, "proximal_coefficient", 0.0):
        raise ConfigurationError(
            f"{adversary.name} averages weights, which ZeRO-3 does not leave in the model, got "
            f"proximal_coefficient={adversary.proximal_coefficient}: set it to 0, or use ZeRO-2 or FSDP2"
        )
    if isinstance(adversary, YOPO):
        raise ConfigurationError(
            f"{adversary.name} runs the first layer alone, which ZeRO-3 cannot follow: use ZeRO-2 or FSDP2"
        )


def refuse_lost_masks(state: TrainerState, callbacks: Sequence[TrainerCallback]) -> None:
    """Raises CheckpointError where a training under masks would go on without them, and become dense.

    Args:
        state: As the checkpoint has it.
        callbacks: Those that the training goes on with.
    """
    known = {type(callback).__name__ for callback in callbacks}
    if _KEEPER_OF_MASKS in (state.stateful_callbacks or {}) and _KEEPER_OF_MASKS not in known:
        raise CheckpointError(
            f"expected the {_KEEPER_OF_MASKS} that the checkpoint was trained with, got none: pass it with "
            "the same method, or begin a new training from the weights of the checkpoint"
        )
