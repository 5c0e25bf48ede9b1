"""What all tests share."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from tests.testing import fake_device
from tests.testing.device import NAME, choose
from tests.testing.feature_record import pytest_collection_modifyitems, pytest_runtest_logreport, pytest_sessionfinish
from tests.testing.not_on_fake import reason_not_to_run
from tests.testing.real_data import DATA

# The hooks that pytest finds here.
__all__ = ["pytest_collection_modifyitems", "pytest_runtest_logreport", "pytest_sessionfinish"]
choose()

# Tests never reach for the network, and a logging integration that happens to be installed stays out of them.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# NLTK reads this once, when it is imported; tests that need its data are skipped where it is nowhere.
if (DATA / "nltk_data").is_dir():
    os.environ.setdefault("NLTK_DATA", str(DATA / "nltk_data"))


def pytest_itemcollected(item):
    reason = None
    if NAME == "fake":
        without = f"the device that is none needs torch 2.13 or newer, got {torch.__version__}"
        reason = reason_not_to_run(item.nodeid) if fake_device.available() else without
    if reason is not None:
        item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_counts():
    """Shells start what runs in the background with Ctrl-C ignored; tests and their processes are to know it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def code_of_checkpoints(tmp_path_factory):
    """`trust_remote_code=True` copies a checkpoint's code into a folder of this process alone.

    The usual one is shared by every process of the machine, and two folders for one process would disagree: Python
    keeps the package `transformers_modules` of the first.
    """
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("code_of_checkpoints")
        patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(folder))
        yield


@pytest.fixture(scope="session")
def hub():
    """A Hub on 127.0.0.1."""
    from tests.testing.hub.routes import Routes
    from tests.testing.hub.server import Hub

    server = Hub(Routes)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def writer(hub, tmp_path_factory):
    """A process with this package that talks to that Hub."""
    from tests.testing.hub.process import HubProcess

    process = HubProcess(hub.url, tmp_path_factory.mktemp("hub") / "writer", with_package=True)
    yield process
    process.close()


@pytest.fixture(scope="session")
def reader(hub, tmp_path_factory):
    """A process without this package that talks to that Hub."""
    from tests.testing.hub.process import HubProcess

    process = HubProcess(hub.url, tmp_path_factory.mktemp("hub") / "reader", with_package=False)
    yield process
    process.close()
