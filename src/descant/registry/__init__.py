"""Adapters on disk: what they were made of, where they are, and files that are never half written."""

from descant.registry.atomic import replacing, sync_folder
from descant.registry.manifest import (
    FORMAT_VERSION,
    MANIFEST_FILE,
    Manifest,
    calibration_of,
    read_manifest,
    write_manifest,
)
from descant.registry.store import CONFIG_FILE, AdapterEntry, find_adapters, resolve_adapter

__all__ = [
    "CONFIG_FILE",
    "FORMAT_VERSION",
    "MANIFEST_FILE",
    "AdapterEntry",
    "Manifest",
    "calibration_of",
    "find_adapters",
    "read_manifest",
    "replacing",
    "resolve_adapter",
    "sync_folder",
    "write_manifest",
]
