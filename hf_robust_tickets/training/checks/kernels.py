"""Fused code that stands in for a model's modules, and what cannot be promised of it."""

from __future__ import annotations

from typing import Any

from transformers import Trainer

from ...errors import ConfigurationError


def check_kernels(trainer: Trainer) -> None:
    """Raises ConfigurationError where a ticket job would meet modules whose forward pass is another's.

    A gate is a hook on a projection: code that reads the projection's weight and does not call it would leave the gate
    without effect, and the search would rank noise. Attention implementations (`attn_implementation`) call the
    projections and are no such code.
    """
    if trainer.args.use_liger_kernel:
        raise ConfigurationError(
            "a ticket job calls every projection as a module, for its gates and its cut, got use_liger_kernel=True, "
            "whose fused layers are not tested with that: leave it out here, and use it to train the pruned model"
        )
    if kernelised(trainer.accelerator.unwrap_model(trainer.model)):
        raise ConfigurationError(
            "a ticket job calls every projection as a module, for its gates and its cut, got a model with "
            "use_kernels=True, whose layers are replaced by kernels of the Hub: set model.use_kernels = False first, "
            "and True again on the pruned model"
        )


def kernelised(model: Any) -> bool:
    """Whether kernels of the Hub stand in for modules of a model of transformers."""
    return bool(getattr(model, "_use_kernels", False))
