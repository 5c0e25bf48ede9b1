"""Every version shim and optional import of the package, in one place.

A shim says which defect it works around, where it is fixed and when it can be removed.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import MissingDependencyError


def require(module: str, *, extra: str) -> ModuleType:
    """Imports an optional dependency.

    Args:
        module: Name of the module, e.g. `"matplotlib"`.
        extra: The extra of this package that installs it, e.g. `"plots"`.

    Returns:
        The imported module.

    Raises:
        MissingDependencyError: If it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{module} is needed for this and cannot be imported ({error}): "
            f"run `pip install 'hf_robust_tickets[{extra}]'`"
        ) from error
