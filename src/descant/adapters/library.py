"""The adapter library: every adapter by name, those used last in memory.

The tier between folders on disk and the engine, whose requests carry the `LoraAdapter` itself: what
the library drops, replaces or unregisters stays valid for the requests that hold it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

from descant.adapters.adapter_entry import AdapterEntry
from descant.adapters.adapter_name import AdapterName, check_new_name
from descant.adapters.allowed_roots import AllowedRoots
from descant.adapters.blend import Blend, Part
from descant.adapters.catalogue import Catalogue, Version, not_found, whole_hash
from descant.adapters.folder_content import AdapterLoader, FolderContent, read_folder
from descant.adapters.host_tier import HostTier
from descant.adapters.single_flight import SingleFlight
from descant.model import LoadedModel, LoraAdapter, load_adapter
from descant.registry import find_adapters
from descant.schema.errors import AdapterExists, InvalidConfig


@dataclass(frozen=True)
class LibraryConfig:
    """Where adapters are, and how much memory they may take.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    folders: tuple[Path, ...] = ()
    """Folders of adapter folders; of two with one name, that in the first counts."""
    allowed: tuple[Path, ...] = ()
    """Where else a registered adapter may lie."""
    host_bytes: int = 4 << 30

    def __post_init__(self) -> None:
        if self.host_bytes < 0:
            raise InvalidConfig("host_bytes must not be negative.", field="host_bytes")


@dataclass(frozen=True)
class LibraryStats:
    """What the library has done so far, and what it holds now."""

    loads: int
    """Adapters read from disk."""
    load_s: float
    """What that took altogether."""
    evictions: int
    """Adapters dropped from memory to make room."""
    host_bytes: int
    """Memory that the adapters kept take."""


class AdapterLibrary:
    """Adapters by name; every method may be called from many threads at once.

    Reading from disk holds up only those who ask for that adapter.
    """

    def __init__(
        self,
        load: AdapterLoader,
        config: LibraryConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Find the adapters in the configured folders, without reading weights."""
        self.config = config or LibraryConfig()
        self._load = load
        self._clock = clock
        self._roots = AllowedRoots([*self.config.folders, *self.config.allowed])
        self._flights: SingleFlight[FolderContent] = SingleFlight()
        # Guards all below; never held while something is read or computed.
        self._lock = threading.Lock()
        self._catalogue = Catalogue()
        self._host = HostTier(self.config.host_bytes)
        self._readers: WeakValueDictionary[str, LoraAdapter] = WeakValueDictionary()
        self._pins: set[AdapterName] = set()
        self._loads = 0
        self._load_s = 0.0
        self.scan()

    @classmethod
    def for_model(
        cls,
        base: LoadedModel,
        config: LibraryConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> AdapterLibrary:
        """Return a library whose adapters are loaded for this base model, in its dtype."""
        load = partial(
            load_adapter,
            config=base.config,
            dtype=base.model.dtype,
            base_hash=base.base_hash,
            model=base.model,
        )
        return cls(load, config, clock)

    def now_s(self) -> float:
        """Return the time on the clock that `AdapterEntry.last_used_s` is read from."""
        return self._clock()

    def scan(self) -> None:
        """Add adapters that have appeared in the folders; names there are already stay as they are."""
        found = [entry for folder in self.config.folders for entry in find_adapters(folder)]
        with self._lock:
            for entry in found:
                if entry.name not in self._catalogue and "@sha256:" not in entry.name:
                    self._catalogue.make_current(entry.name, Version.of(entry))

    def resolve(self, name: str) -> AdapterName:
        """Return the name and version that ``name`` or ``name@sha256:digits`` means now.

        The version is None while it is not known: before the first load of an adapter without a
        manifest. Eight digits are enough where no other version begins with them.

        Raises:
            AdapterNotFound: there is none, or there are several; says what may have been meant.
        """
        asked = AdapterName.parse(name)
        version = self._find(asked)
        if asked.version is not None and version.content_hash is None:
            return AdapterName(asked.name, self.load(name).content_hash)
        return AdapterName(asked.name, version.content_hash)

    def load(self, name: str) -> LoraAdapter:
        """Return an adapter, from memory or from its folder.

        One that is asked for by many at once is read once. A folder that now holds other weights
        than before is, at the next reading, the current version of its name.

        Raises:
            AdapterNotFound: there is no such name or version, or its folder is gone.
            InvalidAdapter: names the file and the setting or tensor that is wrong.
        """
        return self.content(name).adapter

    def content(self, name: str) -> FolderContent:
        """Return an adapter, and what its manifest said when its weights were read; see `load`."""
        asked = AdapterName.parse(name)
        version = self._find(asked)
        content = self._flights.run(version, partial(self._provide, asked.name, version))
        if not version.is_called(asked.version or "", content.adapter.content_hash):
            raise not_found(asked, [asked.name])
        return replace(content, adapter=_named(content.adapter, asked.name))

    def register(self, name: str, folder: str | Path) -> AdapterName:
        """Add an adapter by name, once it has been loaded; one with the same content stays.

        Raises:
            AdapterExists: the name means other content, or its calibration has changed.
            AdapterNotFound: there is no such folder.
            InvalidAdapter: the folder may not be named, or cannot be loaded, or the name is odd.
        """
        check_new_name(name)
        version, content = self._read_new(folder)
        with self._lock:
            current = self._catalogue.find(AdapterName(name))
            if current is None:
                self._catalogue.make_current(name, version)
            elif current.folder == version.folder and not current.is_read:
                current.note(content)
            elif not current.answers_like(version):
                raise AdapterExists(
                    f"There is another adapter {name!r}, {current.content_hash}, "
                    "or the same with another calibration.",
                    field="lora_name",
                    remedy="Replace or unregister it, or choose another name.",
                )
            self._keep(content.adapter)
        return AdapterName(name, version.content_hash)

    def replace(self, name: str, folder: str | Path) -> AdapterName:
        """Let a name mean another version, once that has been loaded.

        The versions before stay reachable as ``name@sha256:…`` until they are unregistered, as long
        as their folders, or the memory, hold them.

        Raises:
            AdapterNotFound: there is no such name or folder.
            InvalidAdapter: the folder may not be named, or cannot be loaded.
        """
        self._find(AdapterName(name))
        version, content = self._read_new(folder)
        with self._lock:
            if name not in self._catalogue:
                raise not_found(AdapterName(name), ())
            self._catalogue.make_current(name, version)
            self._keep(content.adapter)
        return AdapterName(name, version.content_hash)

    def follow(self, name: str, folder: Path, release: str, *, reads: bool = True) -> None:
        """Let a name mean a release of a registry, once it has been read if `reads`.

        Raises:
            AdapterNotFound: its folder is gone.
            InvalidAdapter: it cannot be loaded; the name means what it meant.
        """
        version = self.offer(name, folder, release)
        if reads:
            self._flights.run(version, partial(self._provide, name, version))
        with self._lock:
            self._catalogue.make_current(name, version)
            self._pin()

    def offer(self, name: str, folder: Path, release: str, weights: str | None = None) -> Version:
        """Let a release be reached as ``name@sha256:…``, by that of its files or of its weights."""
        with self._lock:
            known = self._catalogue.release(name, release)
            if known is not None:
                return known
            version = Version(folder, whole_hash(weights), release=release)
            self._catalogue.offer(name, version)
            return version

    def unregister(self, name: str) -> None:
        """Forget a name with all its versions, or the one version that ``name@sha256:…`` means.

        Without its current version, a name means the one before, which is read when it is next
        asked for if memory no longer holds it, pinned or not. Files are left alone.

        Raises:
            AdapterNotFound: there is no such name or version.
        """
        asked = AdapterName.parse(name)
        meant = self.resolve(name)
        with self._lock:
            for version in self._catalogue.remove(asked if asked.version is None else meant):
                content_hash = version.content_hash
                if content_hash is not None and not self._catalogue.refers_to(content_hash):
                    self._host.drop(content_hash)
            self._pins = {pin for pin in self._pins if self._catalogue.find(pin) is not None}
            self._pin()

    def pin(self, name: str) -> None:
        """Load an adapter and keep it in memory, over the limit if need be.

        A pinned name is pinned whatever version it means, from the loading of that version on;
        ``name@sha256:…`` pins that version.

        Raises:
            AdapterNotFound: there is no such name or version, or its folder is gone.
            InvalidAdapter: names the file and the setting or tensor that is wrong.
        """
        asked = AdapterName.parse(name)
        adapter = self.load(name)
        with self._lock:
            pin = AdapterName(asked.name, asked.version and adapter.content_hash)
            if self._catalogue.find(pin) is None:
                raise not_found(pin, ())
            self._pins.add(pin)
            self._keep(adapter)

    def unpin(self, name: str) -> None:
        """Let an adapter be dropped again, named as it was pinned; nothing happens if it was not.

        Raises:
            AdapterNotFound: there is no such name or version.
        """
        asked = AdapterName.parse(name)
        meant = self.resolve(name)
        with self._lock:
            self._pins.discard(asked if asked.version is None else meant)
            self._pin()

    def blend(self, weights: Mapping[str, float]) -> LoraAdapter:
        """Return the weighted sum of adapters as one adapter, whose rank is the sum of theirs.

        Raises:
            AdapterNotFound: one of them is not there.
            InvalidAdapter: one of them cannot be loaded, they act from different tokens on, or a
                weight is not a finite number.
        """
        name = " + ".join(f"{weight:g} {part}" for part, weight in weights.items())
        blend = Blend([Part(self.load(part), weight) for part, weight in weights.items()])
        content = self._flights.run(blend.content_hash, partial(self._blended, blend, name))
        return _named(content.adapter, name)

    def entry(self, name: str) -> AdapterEntry:
        """Return what is known of one adapter.

        Raises:
            AdapterNotFound: there is no such name or version.
        """
        asked = AdapterName.parse(name)
        version = self._find(asked)
        with self._lock:
            return self._entry(asked.name, version)

    def list(self) -> tuple[AdapterEntry, ...]:
        """Return every version of every name, by name, the current version of each last."""
        with self._lock:
            return tuple(self._entry(name, version) for name, version in self._catalogue)

    def stats(self) -> LibraryStats:
        """Return the counters."""
        with self._lock:
            return LibraryStats(
                self._loads, self._load_s, self._host.evictions, self._host.num_bytes
            )

    def _find(self, asked: AdapterName) -> Version:
        with self._lock:
            version = self._catalogue.find(asked)
            names = self._catalogue.names() if version is None else []
        if version is None:
            raise not_found(asked, names)
        return version

    def _provide(self, name: str, version: Version) -> FolderContent:
        with self._lock:
            version.last_used_s = self._clock()
            held = self._host.get(version.read_hash) if version.read_hash else None
            if held is not None:
                return FolderContent(held, version.labels, version.calibration)
        content = self._read(version.folder)
        with self._lock:
            version.note(content)
            if not self._catalogue.holds(name, version):
                return content
            self._catalogue.drop_doubles(name)
            return replace(content, adapter=self._keep(content.adapter))

    def _read_new(self, folder: str | Path) -> tuple[Version, FolderContent]:
        place = self._roots.resolve(folder)
        content = self._read(place)
        version = Version(place)
        version.note(content)
        return version, content

    def _read(self, folder: Path) -> FolderContent:
        started = self._clock()
        content = read_folder(self._load, folder)
        with self._lock:
            self._loads += 1
            self._load_s += self._clock() - started
            return replace(content, adapter=self._with_shared_reader(content.adapter))

    def _with_shared_reader(self, adapter: LoraAdapter) -> LoraAdapter:
        """Let all adapters behind one reader hold it once, for as long as one of them lives."""
        if adapter.reader is None:
            return adapter
        shared = self._readers.setdefault(adapter.reader.content_hash, adapter.reader)
        return replace(adapter, reader=shared)

    def _blended(self, blend: Blend, name: str) -> FolderContent:
        with self._lock:
            held = self._host.get(blend.content_hash)
        adapter = blend.adapter(name) if held is None else held
        with self._lock:
            return FolderContent(self._host.put(adapter), None, None)

    def _keep(self, adapter: LoraAdapter) -> LoraAdapter:
        self._pin()
        return self._host.put(adapter)

    def _pin(self) -> None:
        """Tell the memory which contents the pinned names mean now."""
        meant = [(pin, self._catalogue.find(pin)) for pin in self._pins]
        self._host.set_pinned(
            {
                version.read_hash
                for pin, version in meant
                if version is not None and version.read_hash is not None
            }
        )

    def _entry(self, name: str, version: Version) -> AdapterEntry:
        host_bytes = self._host.bytes_of(version.read_hash) if version.read_hash else 0
        is_current = self._catalogue.is_current(name, version)
        pins = {AdapterName(name, version.content_hash)}
        if is_current:
            pins.add(AdapterName(name))
        return AdapterEntry(
            name=name,
            version=version.content_hash,
            is_current=is_current,
            state="host" if host_bytes else "registered",
            host_bytes=host_bytes,
            last_used_s=version.last_used_s,
            release=version.release,
            is_pinned=not pins.isdisjoint(self._pins),
            folder=version.folder,
            labels=version.labels,
            calibration=version.calibration,
        )


def _named(adapter: LoraAdapter, name: str) -> LoraAdapter:
    return adapter if adapter.name == name else replace(adapter, name=name)
