"""Masks at rest: a bit per weight in files, and less beside the weights that they belong to."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .._files import replacing
from ..errors import CheckpointError, ConfigurationError
from .mask import Masks, check_masks

# What content that somebody altered raises.
_DAMAGE = (AttributeError, KeyError, TypeError, ValueError, OverflowError, RuntimeError, zlib.error)


def pack_bits(mask: Tensor) -> np.ndarray:
    """A mask as bits, eight to a byte: 1/32 of the size of float32 weights."""
    return np.packbits(mask.detach().reshape(-1).to("cpu", torch.uint8).numpy())


def unpack_bits(packed: np.ndarray, shape: tuple[int, ...] | list[int]) -> Tensor:
    """The mask that `pack_bits` was given, on the CPU.

    Raises:
        ValueError: If the number of bytes does not fit the shape.
    """
    count = _entries(shape)
    if len(packed) != (count + 7) // 8:
        raise ValueError(f"expected {(count + 7) // 8} bytes for a mask of shape {list(shape)}, got {len(packed)}")
    return torch.from_numpy(np.unpackbits(packed, count=count)).bool().reshape(tuple(shape))


def masks_to_json(masks: Mapping[str, Tensor]) -> dict[str, Any]:
    """Masks as plain JSON data: packed bits, compressed, as base64; below a bit per weight up to a density of 0.2."""
    return {name: {"shape": list(mask.shape), "bits": _to_text(pack_bits(mask))} for name, mask in masks.items()}


def masks_from_json(content: Mapping[str, Any]) -> Masks:
    """The masks that `masks_to_json` was given.

    Raises:
        CheckpointError: If they are damaged.
    """
    try:
        return {
            name: unpack_bits(_from_text(item["bits"], _entries(item["shape"])), item["shape"])
            for name, item in content.items()
        }
    except _DAMAGE as error:
        raise CheckpointError(f"expected packed masks, got damaged ones ({error}): resume an older one") from error


def masks_to_json_beside(masks: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Masks as plain JSON data that the weights complete, for a checkpoint that holds both.

    A weight that is not zero is kept, and need not be told; of those that are zero, a bit says which are kept: the
    ones that have just grown. A checksum of the whole mask tells whether the weights are those.

    Args:
        masks: Parameter name -> BoolTensor of its shape.
        weights: Parameter name -> weight, zero where it is masked.

    Returns:
        At most 1/32 of the size of float32 weights, whatever the density; next to nothing while no weight has grown.
    """
    return {
        name: {
            "shape": list(mask.shape),
            "kept_zeros": _to_text(pack_bits(mask[weights[name].detach() == 0])),
            "checksum": _checksum(mask),
        }
        for name, mask in masks.items()
    }


def masks_from_json_beside(content: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Masks:
    """The masks that `masks_to_json_beside` was given, on the CPU.

    Args:
        content: What it made.
        weights: The same weights as then.

    Raises:
        CheckpointError: If the content is damaged, or the weights are others.
        TicketError: If the masks are for another model.
    """
    masks = {}
    try:
        for name, item in content.items():
            if name not in weights or list(weights[name].shape) != item["shape"]:
                # Refused below, with all others; no memory is taken for a shape that nothing backs.
                masks[name] = torch.ones((), dtype=torch.bool).expand(_shape(item["shape"]))
                continue
            weight = weights[name].detach().cpu()
            zero = weight == 0
            mask = ~zero
            zeros = int(zero.sum())
            mask[zero] = unpack_bits(_from_text(item["kept_zeros"], zeros), [zeros])
            if _checksum(mask) != item["checksum"]:
                raise ValueError(f"{name} has another checksum")
            masks[name] = mask
    except _DAMAGE as error:
        raise CheckpointError(
            f"expected masks that belong to the weights of the checkpoint, got others ({error}): resume an older one"
        ) from error
    check_masks(masks, weights)
    return masks


def fingerprint_of_masks(masks: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and entries, in hexadecimal."""
    digest = hashlib.sha256()
    for name, mask in masks.items():
        digest.update(f"{name}:{list(mask.shape)}:".encode())
        digest.update(pack_bits(mask).tobytes())
    return digest.hexdigest()


def _checksum(mask: Tensor) -> int:
    return zlib.crc32(pack_bits(mask).tobytes())


def _to_text(packed: np.ndarray) -> str:
    # Repeated strings are rare in masks; byte frequencies are what there is to gain.
    compressor = zlib.compressobj(level=1, strategy=zlib.Z_HUFFMAN_ONLY)
    return base64.b64encode(compressor.compress(packed.tobytes()) + compressor.flush()).decode("ascii")


def _from_text(text: str, entries: int) -> np.ndarray:
    # A few bytes can stand for gigabytes. `_to_text` writes a bit or more per byte: what would be more than eight
    # times as long, or longer than the mask, is not its work and is not unpacked.
    packed, size = base64.b64decode(text, validate=True), (entries + 7) // 8
    if size > 8 * len(packed):
        raise ValueError(f"expected a mask of {entries} entries, got {len(packed)} bytes, which cannot hold them")
    decompressor = zlib.decompressobj()
    content = decompressor.decompress(packed, size + 1)
    if not decompressor.eof or len(content) != size:
        raise ValueError(f"expected {size} bytes for {entries} entries, got more, or a part of them")
    return np.frombuffer(content, dtype=np.uint8)


def _shape(shape: Any) -> list[int]:
    if not isinstance(shape, list | tuple) or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"expected the sizes of a mask, got {shape!r:.100}")
    return list(shape)


def _entries(shape: Any) -> int:
    return math.prod(_shape(shape))


def save_masks(masks: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Writes masks as bits, as a whole or not at all."""
    shapes = json.dumps({name: list(mask.shape) for name, mask in masks.items()})
    packed = {name: torch.from_numpy(pack_bits(mask)) for name, mask in masks.items()}
    with replacing(path) as temporary:
        save_file(packed, temporary, {"shapes": shapes})


def load_masks(path: str | os.PathLike[str]) -> Masks:
    """Masks that `save_masks` wrote.

    Raises:
        CheckpointError: If the file is no such file, or damaged.
    """
    if not Path(path).is_file():
        raise ConfigurationError(f"expected a file of masks, got {path}, which is not there: write it with save_masks")
    try:
        with safe_open(path, framework="pt") as file:
            shapes = json.loads((file.metadata() or {})["shapes"])
            return {name: unpack_bits(file.get_tensor(name).numpy(), shape) for name, shape in shapes.items()}
    except (SafetensorError, OSError, *_DAMAGE) as error:
        raise CheckpointError(f"expected a file written by save_masks, got {path} ({error}): save it anew") from error
