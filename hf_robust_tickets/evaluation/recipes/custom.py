"""Recipes of one's own, by a Python path: `my_package.my_module:build` or `path/to/file.py:build`."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import ConfigurationError, UnknownNameError
from ..resources import get_resource
from .registry import Recipe

FORM = "my_package.my_module:build or path/to/file.py:build"


@functools.cache
def load_custom(spec: str) -> Recipe:
    """Loads a recipe that is not registered.

    Args:
        spec: A module or a file, a colon, and the name of a function from `RecipeContext` to a `textattack.Attack`, or
            of a `Recipe`. A function may carry attributes named as the fields of `Recipe` (`resources`,
            `needs_encoder`, `masked_lm`, ...).

    Returns:
        The recipe; its name is `spec`, its `source` the sha256 of the file.

    Raises:
        UnknownNameError: If there is no such module, file or name.
        ConfigurationError: If it is neither a function nor a recipe.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name.isidentifier():
        raise ConfigurationError(f"expected a recipe as {FORM}, got {spec!r}")
    module = _from_file(Path(place), spec) if place.endswith(".py") else _from_name(place, spec)
    found = getattr(module, name, None)
    if found is None:
        raise UnknownNameError(f"expected {name!r} in {place}, got a module without it: recipes are named as {FORM}")
    if isinstance(found, Recipe):
        recipe = found
    elif callable(found):
        recipe = Recipe(spec, found, **_attributes(found))
    else:
        raise ConfigurationError(
            f"expected {spec!r} to name a function from RecipeContext to textattack.Attack, or a Recipe, "
            f"got {type(found).__name__}"
        )
    for resource in recipe.resources:
        get_resource(resource)
    return dataclasses.replace(recipe, name=spec, source=_source(module))


def _attributes(function: Any) -> dict[str, Any]:
    fields = {item.name for item in dataclasses.fields(Recipe)} - {"name", "build", "source"}
    return {name: getattr(function, name) for name in sorted(fields) if hasattr(function, name)}


def _from_file(path: Path, spec: str) -> ModuleType:
    if not path.is_file():
        raise UnknownNameError(f"expected a Python file for the recipe {spec!r}, got none at {path.resolve()}")
    unique = f"_recipe_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    loader = importlib.util.spec_from_file_location(unique, path)
    module = importlib.util.module_from_spec(loader)
    # dataclasses and pickle look their module up by name
    sys.modules[unique] = module
    try:
        loader.loader.exec_module(module)
    except BaseException:
        del sys.modules[unique]
        raise
    return module


def _from_name(name: str, spec: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UnknownNameError(
                f"expected an importable module for the recipe {spec!r}, got none named {error.name!r}: give "
                "path/to/file.py:build, or set PYTHONPATH"
            ) from error
        raise


def _source(module: ModuleType) -> dict[str, str]:
    path = inspect.getsourcefile(module)
    if path is None:
        raise ConfigurationError(f"expected {module.__name__} to have a source file, got none: put the recipe in one")
    return {"file": Path(path).name, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}
