"""Neighbours of words from a file, e.g. the nearest ones in a space of counter-fitted vectors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from ..errors import DataError
from .base import ListedWords


class NeighbourList(ListedWords):
    """Replaces words by their neighbours in a list that somebody has made.

    Only words of letters alone take part, in small letters. A file whose name holds `counterfit` counts as the
    counter-fitted neighbours that attacks such as TextFooler draw from.
    """

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Reads a list.

        Args:
            path: A JSON file that maps a word to a list of words, or a parquet file with a column of words and one of
                lists of words.

        Raises:
            DataError: If there is no such file, it is no mapping of words to lists of words, or none of its words has
                a neighbour.
        """
        path = Path(path)
        readers = {".json": _read_json, ".parquet": _read_parquet}
        if path.suffix not in readers or not path.is_file():
            raise DataError(
                f"expected a list of neighbours, a .json or .parquet file that maps a word to a list of words, got "
                f"{path}{'' if path.is_file() else ', which does not exist'}: give the right path"
            )
        words: dict[str, tuple[str, ...]] = {}
        for word, neighbours in readers[path.suffix](path):
            if not isinstance(word, str) or not _is_list_of_words(neighbours):
                raise _no_mapping(path, f"the entry {str(word)[:40]!r}: {str(neighbours)[:40]!r}")
            key = word.lower()
            kept = dict.fromkeys(each.lower() for each in neighbours if each.isalpha())
            if key.isalpha() and kept.keys() - {key}:
                words[key] = tuple(each for each in kept if each != key)
        if not words:
            raise _no_mapping(path, "none that has a neighbour")
        counter_fitted = "counterfit" in path.name.lower().replace("-", "").replace("_", "")
        named = (f"neighbours:{path.name}",)
        return cls(words, (*named, "counter-fitted-neighbors") if counter_fitted else named)


def _read_json(path: Path) -> Iterable[tuple[Any, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _no_mapping(path, f"a file that cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(content, Mapping):
        raise _no_mapping(path, f"a {type(content).__name__}")
    return content.items()


def _read_parquet(path: Path) -> Iterable[tuple[Any, Any]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _no_mapping(path, f"a file that cannot be read ({' '.join(str(error).split())})") from error
    types = {field.name: field.type for field in table.schema}
    texts = [name for name, kind in types.items() if pa.types.is_string(kind) or pa.types.is_large_string(kind)]
    lists = [name for name, kind in types.items() if pa.types.is_list(kind) or pa.types.is_large_list(kind)]
    if len(texts) != 1 or len(lists) != 1:
        raise _no_mapping(path, f"columns {', '.join(f'{name} ({kind})' for name, kind in types.items())}")
    return zip(table[texts[0]].to_pylist(), table[lists[0]].to_pylist(), strict=True)


def _is_list_of_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _no_mapping(path: Path, found: str) -> DataError:
    return DataError(
        f"expected words and their lists of neighbours in {path}, got {found}: give a JSON file such as "
        '{"film": ["movie", "picture"]}, or a parquet file with a column of words and one of lists'
    )
