"""AutoAttack's attacks as its authors' package has them, and an image classifier as they want it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...adversaries import PixelBox
from ..victim.classifier import class_logits

_NORMS = {"linf": "Linf", "l2": "L2"}
_MOST_TARGETS = 9
# Perturbations come back from float32 arithmetic a little longer than they were made.
_ROUNDING = 1e-5


def make_suite(library: Any, classifier: nn.Module, options: tuple[float, str, int, str], classes: int) -> Any:
    """The library's attacks with the constants of their version."""
    radius, norm, seed, version = options
    device = next(classifier.parameters()).device
    suite = library.AutoAttack(classifier, eps=radius, norm=_NORMS[norm], seed=seed, version=version, device=device)
    suite.apgd_targeted.n_target_classes = suite.fab.n_target_classes = min(_MOST_TARGETS, classes - 1)
    return suite


def shorten(suite: Any, queries: int, iterations: int) -> None:
    """Gives the attacks other numbers of queries (Square) and iterations (APGD and FAB)."""
    suite.square.n_queries, suite.fab.n_iter = queries, iterations
    for attack in (suite.apgd, suite.apgd_targeted):
        attack.n_iter = attack.n_iter_orig = iterations
        # As its constructor has them.
        attack.n_iter_2, attack.n_iter_min, attack.size_decr = (
            max(int(share * iterations), 1) for share in (0.22, 0.06, 0.03)
        )


def run_attack(
    suite: Any,
    name: str,
    classifier: nn.Module,
    x: Tensor,
    y: Tensor,
    robust: Tensor,
    batch_size: int,
    radius: float,
    norm: str,
) -> None:
    """Runs one attack on what is right still, and notes in `robust` what it broke inside ball and box."""
    attack = {"apgd": suite.apgd, "fab": suite.fab, "square": suite.square}[name.split("-")[0]]
    if name == "apgd-t":
        attack = suite.apgd_targeted
    elif attack is suite.apgd:
        attack.loss = name.removeprefix("apgd-")
    elif attack is suite.fab:
        attack.targeted = name == "fab-t"
        attack.n_restarts = 1 if attack.targeted else attack.n_restarts
    attack.seed = suite.seed
    for chosen in robust.nonzero().flatten().split(batch_size):
        found = attack.perturb(x[chosen].clone(), y[chosen].clone()).detach()
        with torch.no_grad():
            broken = classifier(found).argmax(1) != y[chosen]
        change = (found - x[chosen]).flatten(1)
        length = torch.linalg.vector_norm(change, ord=float("inf") if norm == "linf" else 2, dim=1)
        inside = (length <= radius * (1 + _ROUNDING) + _ROUNDING) & ((found >= 0) & (found <= 1)).flatten(1).all(1)
        robust[chosen[broken & inside]] = False


class PixelClassifier(nn.Module):
    """The classifier as a function from pixels in [0, 1] to logits."""

    def __init__(self, model: nn.Module, box: PixelBox, bf16: bool = False) -> None:
        super().__init__()
        self.model, self.box, self.bf16 = model, box, bf16

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits, (batch, classes), of pixels (batch, channels, height, width)."""
        values = self.box.normalize(pixels).to(next(self.model.parameters()).dtype)
        with torch.autocast(pixels.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            return class_logits(self.model(pixel_values=values)).float()


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No gradient reaches the weights: the library calls `backward`."""
    before = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        for parameter in before:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, wanted in before.items():
            parameter.requires_grad_(wanted)
