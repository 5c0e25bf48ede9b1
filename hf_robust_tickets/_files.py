"""Files: written as a whole or not at all, and read with care where somebody else may have made them."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import pickle
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import yaml

from .errors import CheckpointError, ConfigurationError

LARGEST = 1 << 30
"""Bytes above which a file of text is not taken for what it should be."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_MOST_NODES = 100_000
# Some file systems of networks and other systems than POSIX do not sync folders.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EISDIR)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file in the folder of `path` that takes its place, on disk for good, when the block ends well.

    Missing folders are created. Where the block raises, and where the process is killed, `path` is as it was.

    Raises:
        ConfigurationError: If nothing can be written there.
        OSError: If the disk is full.
    """
    path = Path(path)
    if not path.name:
        raise ConfigurationError(f"expected the path of a file to write, got {str(path)!r}: give it a name")
    temporary = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        if error.errno in _FULL:
            raise
        raise ConfigurationError(
            f"expected to write {path}, got a refusal ({error.strerror}): give another place"
        ) from error
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def check_folder(path: str | os.PathLike[str]) -> None:
    """Raises ConfigurationError if a folder to write to cannot be made, for a file is in its place or above it."""
    for place in (Path(path), *Path(path).parents):
        if place.is_dir():
            return
        if os.path.lexists(place):
            raise ConfigurationError(f"expected a folder at {path}, got a file at {place}: give another place")


def make_folder(path: str | os.PathLike[str]) -> Path:
    """A folder to write to, with those above it.

    Raises:
        ConfigurationError: If there is a file in its place, or it may not be made.
        OSError: If the disk is full.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in _FULL:
            raise
        raise ConfigurationError(
            f"expected a folder at {path}, got a refusal ({error.strerror}): give another place"
        ) from error
    return Path(path)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file by `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes UTF-8 by `replacing`; a lone surrogate, which has no UTF-8, is written as Python and JSON spell it."""
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_json(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Writes JSON by `replacing`; lone surrogates come back when it is read.

    Raises:
        ConfigurationError: If the values cannot be written as JSON.
    """
    try:
        text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"expected plain values for {Path(path).name}, got something else ({error})"
        ) from error
    write_text(path, text + "\n")


def read_bytes(path: str | os.PathLike[str], what: str = "a file", largest: int = LARGEST) -> bytes:
    """The content of a regular file: a pipe would wait for ever for somebody to write.

    Args:
        path: The file.
        what: What it should be, for the message.
        largest: Bytes above which it is refused.

    Raises:
        CheckpointError: If it is absent, no regular file, too large, or cannot be read.
    """
    path = Path(path)
    try:
        if not path.is_file():
            found = "no such file" if not path.exists() else "it is a folder" if path.is_dir() else "no regular file"
            raise CheckpointError(
                f"expected {what} at {path}, got no file: it cannot be read ({found}); give the path of one"
            )
        size = path.stat().st_size
        if size > largest:
            raise CheckpointError(
                f"expected {what} of at most {largest:,} bytes at {path}, got {size:,}: it is not what it should be"
            )
        return path.read_bytes()
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:
        raise CheckpointError(f"expected {what} at {path!s}, which cannot be read ({error})") from error


def read_text(path: str | os.PathLike[str], what: str = "a text file", largest: int = LARGEST) -> str:
    """The text of a regular file in UTF-8, lone surrogates among it.

    Raises:
        CheckpointError: As `read_bytes`, and if it is no UTF-8.
    """
    try:
        return read_bytes(path, what, largest).decode("utf-8", errors="surrogatepass")
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"expected {what} in UTF-8 at {path}, got other bytes ({error}): save it anew"
        ) from error


def read_json(path: str | os.PathLike[str], what: str = "a JSON file", largest: int = LARGEST) -> dict[str, Any]:
    """The JSON object in a regular file.

    Raises:
        CheckpointError: As `read_text`, and if it is no JSON object.
    """
    text = read_text(path, what, largest)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"expected {what} at {path}, got no JSON ({error}): remove or replace it") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"expected {what} at {path}, got JSON that is a {type(values).__name__}: replace it")
    return values


def read_yaml(path: str | os.PathLike[str], what: str = "a YAML file") -> Any:
    """The values in a regular YAML file.

    Raises:
        CheckpointError: As `read_text`.
        ConfigurationError: If it is no YAML, or a few lines of aliases that stand for gigabytes.
    """
    return parse_yaml(read_text(path, what, largest=1 << 20), what, path)


def parse_yaml(text: str, what: str, source: Any) -> Any:
    """The values in a YAML text; `what` and `source` are for the message. Raises as `read_yaml`."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _count(node, {}) > _MOST_NODES:
            raise yaml.YAMLError(f"its aliases stand for more than {_MOST_NODES:,} values")
        return loader.construct_document(node)
    # Besides its own errors: what the values raise, such as the 31st of February, and lists in lists without end.
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigurationError(f"expected {what}, got {source}, which is no YAML: {reason}; correct it") from error
    finally:
        loader.dispose()


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for once every alias is written out."""
    if id(node) not in known:
        known[id(node)] = _MOST_NODES + 1  # what a node that holds itself would find
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        flat = (part for item in parts for part in (item if isinstance(item, tuple) else (item,)))
        known[id(node)] = 1 + sum(_count(part, known) for part in flat)
    return known[id(node)]


def read_array(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in a `.npy` file, mapped into memory; one of Python objects, which would run code, is refused.

    Raises:
        CheckpointError: If it is no such file.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"expected an array at {path}, got no file: give the path of one")
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, SyntaxError, OverflowError) as error:
        raise CheckpointError(f"expected an array at {path}, got another file ({error}): replace it") from error


def read_plain_pickle(path: str | os.PathLike[str], what: str = "a pickle", largest: int = LARGEST) -> Any:
    """What a pickle of dictionaries, lists, numbers and strings holds; one that would run code is refused unread.

    Raises:
        CheckpointError: As `read_bytes`, and if it holds anything else, or is damaged.
    """
    content = read_bytes(path, what, largest)
    try:
        return _PlainUnpickler(io.BytesIO(content)).load()
    # A damaged pickle can raise nearly anything: the opcodes work on whatever lies on the stack.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(
            f"expected {what} with plain values at {path}, got another ({reason}): replace it"
        ) from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for the code {module}.{name}")


def sync(path: Path) -> None:
    """Makes sure that a file's content, or a folder's names, are on disk, where the system can."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)
