"""Training steps by the name that an adversary declares."""

from __future__ import annotations

from ...adversaries import Adversary
from ...errors import ConfigurationError, UnknownNameError
from ..arguments import AdversaryOptions
from .base import AdversarialStep
from .multi_pass import MultiPassStep
from .regularized import RegularizedStep
from .runner import StepRunner

_STEPS: dict[str, type[AdversarialStep]] = {"multi-pass": MultiPassStep, "regularized": RegularizedStep}


def register_step(name: str, step: type[AdversarialStep]) -> None:
    """Makes a step available to the adversaries that name it (`Adversary.step`).

    Raises:
        ConfigurationError: If the name is taken by another class.
    """
    if _STEPS.get(name, step) is not step:
        raise ConfigurationError(f"the training step {name!r} is registered already: choose another name")
    _STEPS[name] = step


def build_step(runner: StepRunner, adversary: Adversary, options: AdversaryOptions) -> AdversarialStep:
    """The step that runs an adversary.

    Raises:
        UnknownNameError: If the step it names, or an extension, is not registered.
    """
    if adversary.step not in _STEPS:
        raise UnknownNameError(
            f"{adversary.name} asks for the training step {adversary.step!r}: expected one of "
            f"{', '.join(sorted(_STEPS))}, or add yours with register_step"
        )
    return _STEPS[adversary.step](runner, adversary, options)
