"""How much memory was held at most, on whatever the system lets one measure."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import torch

_PROC = Path("/proc/self")


def reset_peak_memory() -> None:
    """Starts a new measurement of `peak_memory_bytes`, where the system can and may (CUDA, Linux)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif (_PROC / "clear_refs").exists():
        # Some sandboxes forbid it; the peak is then that of the whole process, as where there is no such file.
        with contextlib.suppress(PermissionError):
            (_PROC / "clear_refs").write_text("5")


def peak_memory_bytes() -> int:
    """Peak since `reset_peak_memory` (since the start of the process where the system cannot reset it)."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if (_PROC / "status").exists():
        for line in (_PROC / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
