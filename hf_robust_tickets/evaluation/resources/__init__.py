"""What recipes need besides Python packages: where it is looked for, and how to get it, with a network or without."""

from __future__ import annotations

from .base import Resource, ResourceStatus
from .catalogue import (
    GOOGLE_LM_FOLDER,
    HOMOGLYPHS_FILE,
    HOWNET_FILE,
    L2W_FOLDER,
    RESOURCES,
    VECTORS_FILES,
    VECTORS_FOLDER,
    VECTORS_SHAPE,
    ensure_resources,
    fetch_resource,
    get_resource,
    install_resource,
    is_offline,
)
from .download import files_sha256
from .encoder import INSTALL, USE_URL
from .hub import HubModel, handed_over_model, hub_snapshot

__all__ = [
    "GOOGLE_LM_FOLDER",
    "HOMOGLYPHS_FILE",
    "HOWNET_FILE",
    "INSTALL",
    "L2W_FOLDER",
    "RESOURCES",
    "USE_URL",
    "VECTORS_FILES",
    "VECTORS_FOLDER",
    "VECTORS_SHAPE",
    "HubModel",
    "Resource",
    "ResourceStatus",
    "ensure_resources",
    "fetch_resource",
    "files_sha256",
    "get_resource",
    "handed_over_model",
    "hub_snapshot",
    "install_resource",
    "is_offline",
]
