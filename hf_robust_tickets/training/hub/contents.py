"""What may leave this machine: the files that reopen a model, its card and its reports, and no others."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from transformers.dynamic_module_utils import get_relative_imports

from ..._files import read_json
from ...errors import CheckpointError, ConfigurationError

ALLOWED = (
    # the model
    *("config.json", "generation_config.json", "model.safetensors", "model-?????-of-?????.safetensors"),
    *("model.safetensors.index.json", "ticket.safetensors", "sparse_masks.safetensors"),
    *("adapter_config.json", "adapter_model.safetensors"),
    # its tokenizer or processor, whatever the kind
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("vocab.txt", "merges.txt", "spiece.model", "spm.model", "spm_char.model", "sentencepiece.model"),
    *("sentencepiece.bpe.model", "tokenizer.model", "tiktoken.model", "source.spm", "target.spm", "bpe.codes"),
    *("dict.txt", "emoji.json", "entity_vocab.json", "normalizer.json", "byte_maps.json", "vocab-src.json"),
    *("vocab-tgt.json", "word_shape.json", "word_pronunciation.json", "*.jinja", "chat_template.json"),
    *("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"),
    # sentence-transformers
    *("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
    # its card
    *("README.md", "model_card.json", "ticket.png"),
    # its reports: figures, no texts
    *("ticket.json", "search_log.json", "cost.json", "search.json", "all_results.json", "train_results.json"),
    *("eval_results.json", "test_results.json", "robust-tickets-*.yaml"),
)
"""Names, in the folder itself and in those of `_PARTS`. Reports of attacks are left out: they hold texts."""

# Pickled weights reopen the model where there are no others.
_PICKLED = ("pytorch_model.bin", "pytorch_model-?????-of-?????.bin", "pytorch_model.bin.index.json")
_CONFIGURATIONS = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")
# The modules of sentence-transformers, such as 1_Pooling, further templates of chats, and results for the Hub.
_PARTS = re.compile(r"\d+_[A-Z]\w*|additional_chat_templates|\.eval_results")
_MODULE = re.compile(r"(?:.+--)?(\w+)\.\w+")


def files_to_upload(folder: Path, also: Sequence[str] = ()) -> list[str]:
    """Names of the files in a folder that may be uploaded.

    Args:
        folder: A checkpoint's folder.
        also: Further files in it, by their path from there, because somebody has asked for them.

    Raises:
        CheckpointError: If one of them is a link to something else than a file of that kind in the same folder.
        ConfigurationError: If a file in `also` is not there.
    """
    names = {path.name for path in folder.iterdir() if path.is_file()}
    found = {name for name in names if _is_allowed(name)} | (names & _code(folder))
    for part in (path for path in folder.iterdir() if path.is_dir() and _PARTS.fullmatch(path.name)):
        found |= {f"{part.name}/{path.name}" for path in part.iterdir() if path.is_file() and _is_allowed(path.name)}
    if not any(name.endswith(".safetensors") and name.startswith(("model", "adapter_model")) for name in found):
        found |= {name for name in names if any(fnmatchcase(name, pattern) for pattern in _PICKLED)}
    for name in also:
        if not (folder / name).is_file() or not _is_inside(folder, folder / name):
            raise ConfigurationError(
                f"expected a file in {folder} to upload too, got {name!r}: name one that is there"
            )
    for name in sorted(found):
        _check_no_link(folder, name)
    return sorted(found | {Path(name).as_posix() for name in also})


def _is_allowed(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in ALLOWED)


def _check_no_link(folder: Path, name: str) -> None:
    # A link may stand for a file of the same name in the folder, such as the weights of a checkpoint. Under an allowed
    # name anything else could be sent.
    path = folder / name
    is_link = path.is_symlink() or (path.parent.is_symlink() and path.parent != folder)
    if is_link and not (_is_inside(folder, path) and path.resolve().name == path.name):
        raise CheckpointError(
            f"expected files to upload in {folder}, got {name}, a link to {path.resolve()}: copy the file, or the "
            "whole folder with `cp -rL`"
        )


def _is_inside(folder: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _code(folder: Path) -> set[str]:
    """Files of code that the configurations name for `trust_remote_code`, and those that these import."""
    modules = list(_named_modules(folder))
    found: set[str] = set()
    while modules:
        name = f"{modules.pop()}.py"
        if name not in found and (folder / name).is_file():
            found.add(name)
            _check_no_link(folder, name)
            modules += [module for module in get_relative_imports(folder / name) if module.isidentifier()]
    return found


def _named_modules(folder: Path) -> Iterator[str]:
    for name in _CONFIGURATIONS:
        if not (folder / name).is_file():
            continue
        auto_map = read_json(folder / name, "a configuration").get("auto_map")
        values: Iterable[Any] = auto_map.values() if isinstance(auto_map, dict) else ()
        for value in values:
            for reference in value if isinstance(value, list | tuple) else (value,):
                if isinstance(reference, str) and (module := _MODULE.fullmatch(reference)):
                    yield module[1]


def patterns(names: Iterable[str]) -> list[str]:
    """Names as the patterns of `HfApi.upload_folder` that match them alone."""
    return [glob.escape(name) for name in names]
