"""`python -m hf_robust_tickets VERB ...`: the command where a launcher wants a module."""

from __future__ import annotations

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
