"""Values against their annotations: a wrong type is said in words where it is given, not where it is first used."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from .errors import ConfigurationError

Function = TypeVar("Function", bound=Callable[..., Any])


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and not math.isnan(value)


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool) or type(value).__name__ == "bool_"


def _each(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: _is_list(value) and all(map(kind, value))


def _is_list(value: Any) -> bool:
    return hasattr(value, "__len__") and hasattr(value, "__iter__") and not isinstance(value, str | bytes | Mapping)


def _is_name(value: Any) -> bool:
    return isinstance(value, str)


def _is_a(name: str) -> Callable[[Any], bool]:
    return lambda value: any(kind.__name__ == name for kind in type(value).__mro__)


_OWN = ("Adversary", "EvaluationConfig", "Gates", "RecipeResult", "RobustTicket", "UnitScores", "WhiteBoxResult")
"""Classes of this package, told by their names: nothing is imported for it."""

# What a part of an annotation takes, and what it is called; an annotation with any other part is not looked at.
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "int": (_is_whole, "a whole number"),
    "float": (_is_number, "a number"),
    "bool": (_is_truth, "True or False"),
    "str": (_is_name, "a string"),
    "None": (lambda value: value is None, "None"),
    "os.PathLike[str]": (lambda value: isinstance(value, os.PathLike), "a path"),
    "Sequence[int]": (_each(_is_whole), "a list of whole numbers"),
    "Sequence[float]": (_each(_is_number), "a list of numbers"),
    "Sequence[str]": (_each(_is_name), "a list of strings"),
    "list[str]": (_each(_is_name), "a list of strings"),
    "list[int]": (_each(_is_whole), "a list of whole numbers"),
    **{name: (_is_a(name), f"a {name}") for name in _OWN},
    "Mapping[str, Any]": (lambda value: isinstance(value, Mapping), "a mapping"),
    "tuple[float, float]": (lambda value: _each(_is_number)(value) and len(value) == 2, "two numbers"),
}


def check_value(name: str, annotation: Any, value: Any) -> None:
    """Checks one value.

    Args:
        name: What it is called in the message.
        annotation: Its annotation, as text or as a type; one that holds more than numbers, strings, truth values,
            paths, lists of them and results of this package is not looked at.
        value: The value.

    Raises:
        ConfigurationError: If it is of another type, or no number at all (NaN).
    """
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    parts = [part.strip() for part in text.split("|")]
    if not all(part in _KINDS for part in parts):
        return
    if any(_KINDS[part][0](value) for part in parts):
        return
    wanted = " or ".join(_KINDS[part][1] for part in parts)
    raise ConfigurationError(f"expected {name} to be {wanted}, got {_shown(value)}: correct the value")


def check_fields(instance: Any, of: type | None = None) -> None:
    """Checks the fields of a dataclass against their annotations.

    Args:
        instance: An instance.
        of: Check the fields of this dataclass alone, one that the instance derives from; None for all.

    Raises:
        ConfigurationError: If a value is of another type.
    """
    # HfArgumentParser writes another type into the fields: the annotations are left alone.
    annotations: dict[str, Any] = {}
    for kind in reversed((of or type(instance)).__mro__):
        annotations |= vars(kind).get("__annotations__", {})
    for field in fields(of or instance):
        check_value(field.name, annotations.get(field.name, field.type), getattr(instance, field.name))


def check_arguments(function: Function) -> Function:
    """A function that checks its arguments against their annotations before it begins."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        for name, parameter in signature.parameters.items():
            if name in given and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                check_value(name, parameter.annotation, given[name])
        return function(*args, **kwargs)

    return wrapped  # type: ignore[return-value]


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
