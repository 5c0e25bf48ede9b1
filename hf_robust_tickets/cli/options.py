"""Options that verbs share, and how they are read."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from transformers import HfArgumentParser

from .._files import read_yaml
from ..errors import ConfigurationError


@dataclass
class ModelOptions:
    """Which model."""

    model_name_or_path: str = field(metadata={"help": "A folder, or a repository of the Hub."})
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of the repository."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code that comes with the model."})


@dataclass
class DataOptions:
    """Which texts and labels."""

    dataset_name: str | None = field(default=None, metadata={"help": "A data set of the Hub, e.g. nyu-mll/glue."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Its configuration, e.g. sst2."})
    train_file: str | None = field(default=None, metadata={"help": "A parquet, csv, tsv or json file in its place."})
    validation_file: str | None = field(default=None, metadata={"help": "A parquet, csv, tsv or json file."})
    train_split: str = field(default="train", metadata={"help": "Name of the split to train on."})
    validation_split: str = field(default="validation", metadata={"help": "Name of the split to evaluate on."})
    text_columns: list[str] | None = field(
        default=None, metadata={"help": "One column, or two for pairs; default: the columns of text there are."}
    )
    label_column: str = field(default="label", metadata={"help": "Column with the label."})
    max_length: int | None = field(
        default=None,
        metadata={"help": "Longer texts are cut to this many tokens; default: what the model reads, in training 128."},
    )
    encoding: str = field(default="utf-8", metadata={"help": "Of csv files, e.g. utf-16 or latin-1."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Train on a random part of this size."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Evaluate on a random part of this size."})


def parse(
    verb: str, kinds: tuple[type, ...], argv: list[str], defaults: Mapping[str, Any] | None = None
) -> tuple[Any, ...]:
    """Reads the options of a verb, from the command line or from one YAML file.

    Args:
        verb: Its name, for the help.
        kinds: Dataclasses to fill.
        argv: What follows the verb.
        defaults: Values of options that are not named, where they are others than those of the dataclasses.

    Returns:
        One object per dataclass.

    Raises:
        ConfigurationError: If the line or the file names an option that does not exist.
        ValueError: If a value is refused.
    """
    parser = _Parser(kinds, prog=f"robust-tickets {verb}")
    parser.set_defaults(**(defaults or {}))
    if len(argv) == 1 and argv[0].endswith((".yaml", ".yml")):
        argv = _read_yaml(Path(argv[0]), parser)
    *filled, left = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True)
    if left:
        unknown = next((word for word in left if word.startswith("--")), None)
        if unknown is None:
            raise ConfigurationError(f"expected options that begin with --, got {left[0]!r}")
        raise ConfigurationError(parser.unknown(unknown.removeprefix("--").partition("=")[0]))
    return tuple(filled)


def named(argv: list[str]) -> dict[str, str]:
    """The options that a line, or the YAML file in its place, names, each with its first value: unchecked.

    Raises:
        ConfigurationError: If the file cannot be read.
    """
    if len(argv) == 1 and argv[0].endswith((".yaml", ".yml")):
        content = read_yaml(Path(argv[0]), "a file of options")
        content = content if isinstance(content, dict) else {}
        return {str(name): str(value) for name, value in content.items() if value is not None}
    found = {}
    for place, word in enumerate(argv):
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            found[name.replace("-", "_")] = value if equals else "".join(argv[place + 1 : place + 2])
    return found


class _Parser(HfArgumentParser):
    """A parser whose errors are one line: the usage of a hundred options hides what is wrong."""

    @property
    def names(self) -> list[str]:
        """All options, without their dashes."""
        return [option.removeprefix("--") for option in self._option_string_actions]

    def unknown(self, name: str, dashes: str = "--") -> str:
        """What to say of an option that there is not: the one that was meant, if there is one like it.

        Args:
            name: The option, without dashes.
            dashes: How options begin where this one stands.
        """
        close = difflib.get_close_matches(name, self.names, n=1)
        meant = f"did you mean {dashes}{close[0]}?" if close else f"see {self.prog} --help"
        return f"unknown option {dashes}{name}; {meant}"

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _read_yaml(path: Path, parser: _Parser) -> list[str]:
    """The file's options as they would be typed: the parser knows their types (`1e-2` is text to YAML)."""
    content = read_yaml(path, "a file of options")
    if not isinstance(content, dict):
        raise ConfigurationError(f"expected a YAML file with one `option: value` per line, got {path}")
    argv: list[str] = []
    for key, value in content.items():
        if str(key) not in parser.names:
            raise ConfigurationError(f"{path}: {parser.unknown(str(key), dashes='')}")
        # YAML 1.1 reads a bare `no` as false, which `save_strategy: no` does not mean.
        values = ["no"] if value is False and key.endswith("_strategy") else value
        values = values if isinstance(values, list) else [values]
        if any(isinstance(item, list) for item in values):
            raise ConfigurationError(f"{path}: expected a value or a list of values for {key}, got a list in a list")
        if value is not None:
            # Options that are mappings are JSON on the command line.
            argv += [f"--{key}", *(json.dumps(item) if isinstance(item, dict) else str(item) for item in values)]
    return argv
