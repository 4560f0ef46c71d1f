"""From an adapter's name to the adapter: thousands on disk, those used last in memory."""

from descant.adapters.adapter_entry import AdapterEntry
from descant.adapters.adapter_name import AdapterName
from descant.adapters.folder_content import AdapterLoader, FolderContent, read_folder
from descant.adapters.library import AdapterLibrary, LibraryConfig, LibraryStats
from descant.adapters.registry_follower import RegistryFollower

__all__ = [
    "AdapterEntry",
    "AdapterLibrary",
    "AdapterLoader",
    "AdapterName",
    "FolderContent",
    "LibraryConfig",
    "LibraryStats",
    "RegistryFollower",
    "read_folder",
]
