"""The errors of this package: a small tree, each also the built-in error that a caller would expect.

Every message is one line that says what was expected, what was got, and what to do.
"""

from __future__ import annotations


class RobustTicketsError(Exception):
    """Root of the tree: `except RobustTicketsError` catches all that this package raises on purpose."""


class ConfigurationError(RobustTicketsError, ValueError):
    """An option, or a combination of options, that cannot work."""


class SparsityError(ConfigurationError):
    """A sparsity outside [0, 1)."""


class UnknownNameError(ConfigurationError):
    """A name that no registry knows: an adversary, a recipe, an architecture."""


class UnknownArchitectureError(UnknownNameError):
    """A model whose heads and neurons nobody has described yet."""


class TicketError(RobustTicketsError, ValueError):
    """A ticket that does not fit the model, or gates in the wrong state."""


class CheckpointError(RobustTicketsError, ValueError):
    """A checkpoint that is incomplete, tampered with, or belongs to another job."""


class HubError(RobustTicketsError, OSError):
    """The Hub refused a request, or could not be reached."""


class DivergenceError(RobustTicketsError, FloatingPointError):
    """A training whose loss or weights are no longer finite."""


class TrainingStopped(RobustTicketsError, RuntimeError):
    """A training that was stopped on request, by SIGTERM with `enable_jit_checkpoint`, before there is a result."""


class DataError(RobustTicketsError, ValueError):
    """A data set without the columns, labels or values that the task needs."""


class MissingDependencyError(RobustTicketsError, ImportError):
    """An optional package that is not installed; the message names the extra."""


class MissingResourceError(RobustTicketsError, FileNotFoundError):
    """A resource file (word vectors, WordNet, ...) that is absent; the message names the command that fetches it."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
