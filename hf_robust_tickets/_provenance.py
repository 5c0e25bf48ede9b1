"""Where figures come from: which weights, which data."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import torch

from ._sharding import whole

_FROM_THE_HUB = re.compile(r"hf://datasets/([^@]+)@([0-9a-f]{40})/")


def model_fingerprint(model: torch.nn.Module) -> str:
    """sha256 over names, shapes, types and bytes of all weights and buffers.

    Sharded weights (FSDP2) are gathered one by one, which takes all processes: each has to call this.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        data = whole(tensor).detach().cpu().contiguous().reshape(-1)
        digest.update(data.view(torch.uint8).numpy().tobytes() if data.numel() else b"")
    return digest.hexdigest()


def note_training_resources(config: Any, names: Iterable[str]) -> None:
    """Writes into a model's configuration what words and edits its training data were augmented with.

    Args:
        config: The configuration; `save_pretrained` keeps what is written.
        names: Names of resources, those of `evaluation.recipes.overlap` or others; those of earlier trainings stay.
    """
    config.training_resources = sorted({*training_resources(config), *names})


def training_resources(config: Any) -> tuple[str, ...]:
    """What `note_training_resources` wrote; empty for a training on the data as they are."""
    found = getattr(config, "training_resources", None) or ()
    return tuple(str(name) for name in found) if isinstance(found, (list, tuple)) else ()


def describe_data(dataset: Any) -> dict[str, Any]:
    """What a data set says of itself, as JSON scalars.

    Args:
        dataset: A `datasets.Dataset`, or anything else that holds examples.

    Returns:
        `rows` where it has a length; for a data set of the Hub also `repository`, `revision`, `config` and `split`.
        Local files are not named: a path says nothing elsewhere.
    """
    found: dict[str, Any] = {"rows": len(dataset)} if hasattr(dataset, "__len__") else {}
    info = getattr(dataset, "info", None)
    sources = {
        match.groups()
        for url in getattr(info, "download_checksums", None) or ()
        if (match := _FROM_THE_HUB.match(url))
    }
    if len(sources) != 1:
        return found
    ((repository, revision),) = sources
    split = getattr(dataset, "split", None)
    found |= {"repository": repository, "revision": revision, "config": info.config_name}
    return {**found, "split": None if split is None else str(split)}
