"""One of each method, and random starts that do not depend on how batches are cut."""

from __future__ import annotations

import pytest
import torch

from hf_robust_tickets.adversaries import (
    ALUM,
    FGM,
    FGSM,
    MART,
    PGD,
    SMART,
    TAVAT,
    TRADES,
    VAT,
    YOPO,
    Adversary,
    FreeAT,
    FreeLB,
    FreeLBPlusPlus,
    RandomNoise,
    RDrop,
)

# With lengths at which a tiny model's gradients differ visibly from the clean ones.
METHODS: dict[str, Adversary] = {
    "fgm": FGM(step_size=1.0),
    "fgsm": FGSM(step_size=1.0),
    "pgd": PGD(steps=3, step_size=1.0, max_norm=2.0),
    "free-at": FreeAT(steps=2, step_size=1.0, max_norm=2.0, init_magnitude=5.0),
    "freelb": FreeLB(steps=3, init_magnitude=0.0, step_size=1.0),
    "freelb++": FreeLBPlusPlus(steps=3, init_magnitude=0.0, step_size=1.0),
    "yopo": YOPO(steps=3, inner_steps=2, init_magnitude=0.0, step_size=1.0),
    "ta-vat": TAVAT(steps=2, step_size=1.0, init_magnitude=0.5, max_norm=2.0),
    "random-noise": RandomNoise(init_magnitude=1.0),
    "mart": MART(steps=2, step_size=1.0, init_magnitude=1.0, max_norm=4.0),
    "trades": TRADES(steps=2, step_size=1.0, init_magnitude=1.0, max_norm=4.0),
    "smart": SMART(step_size=1.0, init_magnitude=1.0, max_norm=4.0, coefficient=3.0),
    "alum": ALUM(step_size=1.0, init_magnitude=1.0, max_norm=4.0),
    "vat": VAT(step_size=1.0, init_magnitude=0.3),
    "r-drop": RDrop(),
}

EVERY = pytest.mark.parametrize("name", sorted(METHODS))


def _uniform(x: torch.Tensor, mask: torch.Tensor, magnitude: float, norm: str, scope: str) -> torch.Tensor:
    # Not a constant: layer norm takes one away.
    return magnitude * 0.1 * torch.sin(_numbered(x)).clone()


def _normal(x: torch.Tensor, mask: torch.Tensor, magnitude: float) -> torch.Tensor:
    return magnitude * torch.cos(_numbered(x)).clone()


def _numbered(x: torch.Tensor) -> torch.Tensor:
    return torch.arange(x[0].numel(), device=x.device).reshape(x[0].shape).expand_as(x)


# Random starts that depend on the entry alone, so that batches can be cut in different ways.
START_PATCHES = {
    f"hf_robust_tickets.adversaries.{module}.{function}": start
    for start, function, modules in (
        (_uniform, "uniform_start", ("text.pgd", "text.ta_vat", "text.random_noise", "text.mart")),
        (_normal, "normal_start", ("regularizer", "text.vat")),
    )
    for module in modules
}
