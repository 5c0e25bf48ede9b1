"""Every version shim and optional import of the package, in one place.

A shim says which defect it works around, where it is fixed and when it can be removed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.machinery
import importlib.util
import inspect
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

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


def checkpointing_options(args: Any) -> dict[str, Any] | None:
    """The keyword arguments of activation checkpointing in `TrainingArguments`; `None` where it is off.

    `gradient_checkpointing` and its kwargs got another name in transformers 5 and go in 6; remove with the old name.
    """
    for name in ("activation_checkpointing", "gradient_checkpointing"):
        if getattr(args, name, None):
            return getattr(args, f"{name}_kwargs", None) or {}
    return None


_PASSES_KEYWORDS_TO_LOSS = re.compile(r"loss_function\((?:[^()]|\([^()]*\))*\*\*\w+")


def without_adapter(model: Any) -> Any:
    """The model of transformers inside a PEFT model; any other as it is."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def token_counts(trainer: Any) -> dict[str, Any]:
    """What a trainer counts in `compute_loss`, which an attacked step calls once per pass.

    TRL's trainers (1.x) add the tokens of each batch to `_total_train_tokens` there. Remove when they count elsewhere.
    """
    return {name: value for name, value in vars(trainer).items() if name == "_total_train_tokens"}


def loss_uses_num_items_in_batch(model: Any) -> bool:
    """Whether a model's own loss really normalises by `num_items_in_batch`.

    For float labels, set `config.problem_type`, as transformers asks for: before the first batch nothing else tells.

    Works around transformers#47688 (open in 5.23): the Trainer takes a `**kwargs` in `forward` for a promise to do so
    and then skips the division by the accumulation steps, while most text classifiers drop the argument. Remove when
    the Trainer asks the model. A model whose source cannot be read is trusted, as the Trainer does.

    Args:
        model: The unwrapped model.
    """
    model = without_adapter(model)
    if hasattr(model, "accepts_loss_kwargs"):
        return bool(model.accepts_loss_kwargs)
    try:
        source = inspect.getsource(inspect.unwrap(type(model).forward))
    except (OSError, TypeError):
        return True
    if "num_items_in_batch" not in source and _PASSES_KEYWORDS_TO_LOSS.search(source) is None:
        return False
    return not _is_mean_loss_in_disguise(model)


def _is_mean_loss_in_disguise(model: Any) -> bool:
    """Whether the loss is transformers' sequence or image classification loss for a regression or several labels.

    `ForSequenceClassificationLoss` takes the keyword in all three of its cases and passes it on in one.
    """
    if getattr(model.loss_function, "__name__", "") != "ForSequenceClassificationLoss":
        return False
    return model.config.num_labels == 1 or model.config.problem_type in ("regression", "multi_label_classification")


# What TextAttack 0.3.11 imports at module level without needing it for any recipe of this package, and the names it
# takes from there. flair 0.15.1 wants transformers<5, langdetect is not declared, the others are large and unused.
# Remove when: TextAttack imports them lazily (0.3.11 does not).
_TEXTATTACK_STAND_INS: dict[str, tuple[str, ...]] = {
    "flair": (),
    "flair.data": ("Sentence", "Tokenizer"),
    "flair.models": ("SequenceTagger",),
    "bert_score": (),
    "language_tool_python": (),
    "pinyin": (),
    "jieba": (),
    "OpenHowNet": (),
    "lemminflect": (),
    "num2words": ("num2words",),
    "word2number": ("w2n",),
    "Levenshtein": ("distance",),
    "langdetect": ("detect",),
    "terminaltables": (),
}

INSTALL_TEXTATTACK = "pip install 'hf_robust_tickets[attack]' && pip install --no-deps textattack==0.3.11"


def _placeholder(module: str, name: str) -> type:
    """A class that can be inherited from, but says what is missing as soon as it is used."""

    def refuse(self: object, *args: object, **kwargs: object) -> None:
        raise MissingDependencyError(f"{module}.{name} is needed and not installed: run `pip install {module}`")

    return type(name, (), {"__init__": refuse, "__module__": module})


@contextlib.contextmanager
def _stand_ins(wanted: dict[str, tuple[str, ...]]) -> Iterator[None]:
    """Puts empty modules in place of the absent ones, for the time of an import."""
    present = {top: importlib.util.find_spec(top) is not None for top in {name.split(".")[0] for name in wanted}}
    absent = {name: attributes for name, attributes in wanted.items() if not present[name.split(".")[0]]}
    for name, attributes in absent.items():
        module = ModuleType(name, "Stand-in for a package that is not installed.")
        # importlib.util.find_spec raises on a module whose __spec__ is None, and others may look meanwhile
        module.__spec__ = importlib.machinery.ModuleSpec(name, loader=None)
        module.__path__ = []
        for attribute in attributes:
            setattr(module, attribute, _placeholder(name, attribute))
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


@contextlib.contextmanager
def _textattack_surroundings() -> Iterator[None]:
    """Keeps TextAttack's import from downloading, from writing to its cache, and from moving other caches.

    Its import fetches NLTK packages unless a marker file lies in its cache folder, and copies TA_CACHE_DIR into
    HF_HOME, XDG_CACHE_HOME and more: it sees a temporary folder with the marker, and the environment is put back.
    Its augmenters read NLTK's stop words while they are imported: where they are absent they see an empty list.
    Its logging configuration disables every logger that exists: those that were enabled are enabled again.
    Remove when: TextAttack has no side effects at import (0.3.11 has).
    """
    nltk = require("nltk", extra="attack")
    before = dict(os.environ)
    loggers = [item for item in logging.root.manager.loggerDict.values() if isinstance(item, logging.Logger)]
    enabled = [item for item in loggers if not item.disabled]
    stopwords = nltk.corpus.stopwords
    try:
        nltk.data.find("corpora/stopwords")
    except LookupError:
        nltk.corpus.stopwords = type("NoStopwords", (), {"words": staticmethod(lambda language: [])})
    try:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "post_install_check_3").touch()
            os.environ["TA_CACHE_DIR"] = folder
            yield
    finally:
        nltk.corpus.stopwords = stopwords
        for item in enabled:
            item.disabled = False
        os.environ.clear()
        os.environ.update(before)


def textattack_cache() -> Path:
    """TextAttack's cache folder: `TA_CACHE_DIR`, or `~/.cache/textattack`."""
    return Path(os.environ.get("TA_CACHE_DIR") or "~/.cache/textattack").expanduser()


@functools.cache
def import_textattack() -> ModuleType:
    """Imports TextAttack 0.3.11 beside transformers 5, without network, NLTK data or side effects.

    It takes about ten seconds and 500 MB: call it inside functions only.

    Returns:
        The `textattack` module.

    Raises:
        MissingDependencyError: If TextAttack or something that it really needs is not installed.
    """
    if "textattack" in sys.modules:
        return _quietened(sys.modules["textattack"])
    import datasets  # noqa: F401  (before the surroundings: their cache paths are read at import)
    import huggingface_hub  # noqa: F401
    import transformers  # noqa: F401

    try:
        with _textattack_surroundings(), _stand_ins(_TEXTATTACK_STAND_INS):
            textattack = importlib.import_module("textattack")
    except ModuleNotFoundError as error:
        for name in [name for name in sys.modules if name.split(".")[0] == "textattack"]:
            del sys.modules[name]
        raise MissingDependencyError(
            f"TextAttack is needed for this and cannot be imported ({error}): run `{INSTALL_TEXTATTACK}`"
        ) from error
    importlib.import_module("textattack.shared.utils.install").TEXTATTACK_CACHE_DIR = str(textattack_cache())
    return _quietened(textattack)


def _quietened(textattack: ModuleType) -> ModuleType:
    """TextAttack with warnings alone, and those where all of the program's go: it writes to the stream that was the
    standard error when somebody first imported it, which may be closed."""
    logger = logging.getLogger("textattack.shared.utils.install")
    logger.setLevel(logging.WARNING)
    logger.handlers.clear()
    logger.propagate = True
    return textattack


def hub_connection_error() -> type[Exception]:
    """Base class of what the Hub client's HTTP library raises when there is no answer.

    huggingface_hub 1 uses httpx and 2 uses httpx2, which is the same library under a name of its own; both versions
    import the class where their own errors are defined. Remove when: huggingface_hub>=2 is required.
    """
    return importlib.import_module("huggingface_hub.errors").HTTPError
