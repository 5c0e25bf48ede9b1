"""Where things are in the checkout."""

from __future__ import annotations

from pathlib import Path

# What a process must have on its path, and where it is started.
ROOT = Path(__file__).resolve().parents[2]
