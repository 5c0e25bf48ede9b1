"""What all tests share."""

from __future__ import annotations

import os

from tests.feature_record import (  # noqa: F401
    pytest_collection_modifyitems,
    pytest_runtest_logreport,
    pytest_sessionfinish,
)

# Tests never reach for the network, and a logging integration that happens to be installed stays out of them.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
