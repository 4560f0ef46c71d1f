"""Adapters on disk: what they were made of, where they are, which is live and who decided so."""

from descant.registry.alias import AliasChange, Expected
from descant.registry.atomic import replacing, sync_folder
from descant.registry.audit import AuditEntry
from descant.registry.evaluation import Evaluation
from descant.registry.lineage import Ancestor, Lineage
from descant.registry.location import Location
from descant.registry.manifest import (
    FORMAT_VERSION,
    MANIFEST_FILE,
    Manifest,
    calibration_of,
    read_manifest,
    write_manifest,
)
from descant.registry.registry import Moment, Registry
from descant.registry.store import CONFIG_FILE, AdapterEntry, find_adapters, resolve_adapter
from descant.registry.verification import Finding, Verification
from descant.registry.version_name import CHALLENGER, CHAMPION, VersionName
from descant.registry.version_record import VersionRecord

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "CONFIG_FILE",
    "FORMAT_VERSION",
    "MANIFEST_FILE",
    "AdapterEntry",
    "AliasChange",
    "Ancestor",
    "AuditEntry",
    "Evaluation",
    "Expected",
    "Finding",
    "Lineage",
    "Location",
    "Manifest",
    "Moment",
    "Registry",
    "Verification",
    "VersionName",
    "VersionRecord",
    "calibration_of",
    "find_adapters",
    "read_manifest",
    "replacing",
    "resolve_adapter",
    "sync_folder",
    "write_manifest",
]
