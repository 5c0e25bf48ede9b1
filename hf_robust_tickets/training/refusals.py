"""What a method cannot be used with, said before training."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import TrainingArguments

from ..adversaries import YOPO, Adversary, InfoBERT, Regularizer
from ..errors import ConfigurationError
from .arguments import AdversaryOptions


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
    if isinstance(adversary, InfoBERT) and options.adversary_layer:
        raise ConfigurationError(
            f"infobert looks at the embeddings, got adversary_layer={options.adversary_layer}: use 0, or freelb"
        )
    if adversary.remembers == "run" and options.adversary_layer:
        raise ConfigurationError(
            f"{adversary.name} keeps a perturbation per word, got adversary_layer={options.adversary_layer}: use 0"
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
    if args.fsdp or args.deepspeed or options.adversary_layer:
        raise ConfigurationError(
            f"{title} moves whole weights of all layers, got fsdp, deepspeed or adversary_layer: use data "
            "parallelism (torchrun) and adversary_layer=0"
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
        ("fsdp", args.fsdp),
        ("deepspeed", args.deepspeed),
        ("torch_compile", args.torch_compile),
        ("a PEFT model, whose checkpoints leave it out", hasattr(model, "peft_config")),
    ):
        if there:
            raise ConfigurationError(f"infobert adds an estimator to the model, got {where}: use freelb")


def refuse_surroundings(args: TrainingArguments, accelerator: Any, adversary: Adversary | None = None) -> None:
    """Raises ConfigurationError where an adversary (or this one) cannot be right."""
    if args.n_gpu > 1:
        raise ConfigurationError(
            "an adversary and torch.nn.DataParallel do not go together, got "
            f"{args.n_gpu} devices in one process: launch with `torchrun --nproc_per_node {args.n_gpu}`"
        )
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
