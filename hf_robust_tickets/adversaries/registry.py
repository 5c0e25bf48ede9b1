"""Adversaries by name, for arguments and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError, UnknownNameError

if TYPE_CHECKING:
    from .base import Adversary

_ADVERSARIES: dict[str, type[Adversary]] = {}


def register_adversary(name: str, adversary: type[Adversary]) -> None:
    """Makes an adversary available by name.

    Args:
        name: The name users type, e.g. `"freelb"`.
        adversary: A class derived from `Adversary` whose hyper-parameters are keyword arguments with defaults.

    Raises:
        ConfigurationError: If the name is taken by another class.
    """
    if _ADVERSARIES.get(name, adversary) is not adversary:
        raise ConfigurationError(f"the adversary {name!r} is registered already: choose another name")
    _ADVERSARIES[name] = adversary


def list_adversaries() -> list[str]:
    """Names of all registered adversaries, sorted."""
    return sorted(_ADVERSARIES)


def get_adversary(name: str, **options: Any) -> Adversary:
    """Builds an adversary from its name.

    Args:
        name: A registered name; see `list_adversaries`.
        **options: Hyper-parameters that differ from the method's defaults, e.g. `steps=3`.

    Raises:
        UnknownNameError: If no adversary has this name.
        ConfigurationError: If it has no such hyper-parameter, or refuses the value.
    """
    if not isinstance(name, str) or name not in _ADVERSARIES:
        raise UnknownNameError(
            f"unknown adversary {name!r}: expected one of {', '.join(list_adversaries())}, "
            "or add yours with register_adversary"
        )
    adversary = _ADVERSARIES[name]
    known = adversary.__dataclass_fields__
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ConfigurationError(f"{name} has no option {', '.join(unknown)}: expected {', '.join(known)}")
    return adversary(**options)
