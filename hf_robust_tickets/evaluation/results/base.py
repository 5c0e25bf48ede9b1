"""What every result of an evaluation holds, and how it is written and read."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, Self

from ..._arguments import check_arguments
from ..._files import read_json, write_json
from ...errors import CheckpointError

logger = logging.getLogger(__name__)

_WHAT = "the result of an evaluation"
_REMEDY = "evaluate again, or read it with the version of hf_robust_tickets that wrote it"

_KINDS: dict[str, type[EvaluationResult]] = {}


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """The circumstances of an evaluation, and its way to JSON and back.

    A subclass names its kind (`class NoiseResult(EvaluationResult, kind="noise")`), adds its figures as fields, and
    the ones that follow from them as `derived`.

    Attributes:
        model: What was evaluated: name, class, number of parameters, sha256 of its weights, its ticket if any.
        settings: The arguments that bear on the figures, and the data set.
        seed: Seed of the sample and of what was random; None where nothing was.
        sample_ids: Rows of the data set that were used.
        warnings: What a reader of the figures has to know.
        versions: Versions of the packages involved.
    """

    kind: ClassVar[str] = ""
    schema: ClassVar[str] = ""
    schema_version: ClassVar[int] = 2
    readable_versions: ClassVar[tuple[int, ...]] = (1, 2)
    """Of version 1, fields that came later have their defaults."""
    alike: ClassVar[tuple[str, ...]] = ()
    """Fields that should be equal where two results are compared; else the comparison has a remark."""
    why_no_answers: ClassVar[str] = "it holds counts, and no answer per example"

    model: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    sample_ids: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    def __init_subclass__(cls, kind: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.kind, cls.schema = kind, f"hf_robust_tickets/{kind}"
        _KINDS[cls.schema] = cls

    @property
    def answers(self) -> dict[str, dict[int, bool]]:
        """Attack -> row -> whether the model was right: what a paired comparison needs; empty where it is not kept."""
        return {}

    def derived(self) -> dict[str, Any]:
        """Figures that follow from the fields, as JSON, for people who read the file."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `from_dict` reads them back."""
        head = {"schema": self.schema, "schema_version": self.schema_version, "kind": self.kind}
        own = {self._key(each.name): self._encoded(each.name, getattr(self, each.name)) for each in fields(self)}
        return {**head, **own, **self.derived()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the result as JSON, atomically: a reader sees the old file or the new one.

        Args:
            path: The file; its folder is made if need be.
        """
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads what `save` wrote.

        Raises:
            CheckpointError: If it is something else, damaged, or of a schema version that is not known.
        """
        return cls.from_dict(read_json(path, _WHAT), origin=f" in {path}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], origin: str = "") -> Self:
        """The inverse of `to_dict`; `origin` is for the error, which is that of `load`."""
        if not isinstance(values, dict) or values.get("schema") != cls.schema:
            got = values.get("schema") if isinstance(values, dict) else None
            raise CheckpointError(
                f"expected a result of the kind {cls.kind!r} (schema {cls.schema!r}){origin}, got "
                f"{f'the schema {got!r}' if got else 'another JSON file'}"
            )
        version = values.get("schema_version")
        if version not in cls.readable_versions:
            raise CheckpointError(
                f"expected a schema version of {cls.readable_versions}{origin}, got {version}: {_REMEDY}"
            )
        try:
            return cls(**{each.name: cls._field(each, values, lenient=version == 1) for each in fields(cls)})
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise CheckpointError(
                f"expected a whole result of the kind {cls.kind!r}{origin}, got one with a missing or unknown field "
                f"({error!r}): {_REMEDY}"
            ) from error

    @classmethod
    def _field(cls, each: Field[Any], values: Mapping[str, Any], lenient: bool) -> Any:
        if lenient and cls._key(each.name) not in values:
            if each.default is not MISSING:
                return each.default
            if each.default_factory is not MISSING:
                return each.default_factory()
        return cls._decoded(each.name, values[cls._key(each.name)])

    @classmethod
    def _key(cls, name: str) -> str:
        """What a field is called in the file."""
        return name

    def _encoded(self, name: str, value: Any) -> Any:
        """A field as JSON."""
        if isinstance(value, tuple):
            return list(value)
        return dict(value) if isinstance(value, Mapping) else value

    @classmethod
    def _decoded(cls, name: str, value: Any) -> Any:
        """The inverse of `_encoded`."""
        return tuple(value) if name in ("sample_ids", "warnings") else value


@check_arguments
def load_result(path: str | os.PathLike[str]) -> EvaluationResult:
    """Opens the result of any evaluation.

    Raises:
        CheckpointError: If the file holds none, or a damaged one.
    """
    values = read_json(path, _WHAT)
    schema = values.get("schema")
    if schema not in _KINDS:
        known = ", ".join(sorted(result.kind for result in _KINDS.values()))
        got = f"the schema {schema!r}" if schema else "another JSON file"
        raise CheckpointError(f"expected the result of an evaluation ({known}) in {path}, got {got}")
    return _KINDS[schema].from_dict(values, origin=f" in {path}")


def log_warnings(warnings: Iterable[str]) -> None:
    """Says what a reader of a result has to know."""
    for warning in warnings:
        logger.warning("%s", warning)
