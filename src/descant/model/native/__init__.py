"""The C++ operations, built on this machine when they are first needed.

One source file and its headers, compiled in a few seconds into the cache folder, under a name that
follows from the source, the compiler, the processor and torch. Without a compiler everything still
runs, in plain PyTorch and slower.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import torch

from descant.model.storage import default_cache_dir

_FOLDER = Path(__file__).parent
_FLAGS = (
    *("-O3", "-march=native", "-std=c++20", "-shared", "-fPIC"),
    # Not -ffast-math: a library linked with it makes the whole process round subnormal numbers to
    # zero, and sums may not be reordered: rounding by adding a constant relies on it.
    *("-fno-math-errno", "-fno-trapping-math", "-mprefer-vector-width=512"),
)
_ABI = "-DTORCH_TARGET_VERSION=0x020b000000000000"
"""torch 2.11, the oldest version that is supported."""

_log = logging.getLogger(__name__)


@cache
def load_native() -> bool:
    """Make ``torch.ops.descant`` available; return whether it is.

    ``DESCANT_NATIVE=0`` leaves it out.
    """
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if os.environ.get("DESCANT_NATIVE") == "0" or not sys.platform.startswith("linux"):
        return False
    if compiler is None:
        _log.info("No C++ compiler: plain PyTorch operations are used, which are slower.")
        return False
    try:
        torch.ops.load_library(str(_built(compiler, default_cache_dir() / "native")))
    except (OSError, subprocess.CalledProcessError) as error:
        _log.warning("The C++ operations cannot be used, plain ones are slower: %s", error)
        return False
    return True


def is_native(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether tensors of this kind go through the C++ operations."""
    return device.type == "cpu" and dtype == torch.bfloat16 and load_native()


def has_amx(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether tensors of this kind go through the C++ operations on AMX tiles."""
    if not is_native(device, dtype) or not hasattr(torch.ops.descant, "tile_linear"):
        return False
    # A process must ask for the tiles before it uses them.
    return torch.cpu._is_amx_tile_supported() and torch.cpu._init_amx()


def _built(compiler: str, folder: Path) -> Path:
    library = folder / f"kernels-{_fingerprint(compiler)}.so"
    if library.exists():
        return library
    folder.mkdir(parents=True, exist_ok=True)
    torch_folder = Path(torch.__file__).parent
    include = torch_folder / "include"
    with tempfile.TemporaryDirectory(dir=folder) as partial:
        # Renamed into place as a whole, so that two processes may build it at once.
        made = Path(partial) / library.name
        command = [
            compiler,
            *_FLAGS,
            _ABI,
            f"-I{include}",
            str(_FOLDER / "kernels.cpp"),
            "-o",
            str(made),
        ]
        command += [f"-L{torch_folder / 'lib'}", "-ltorch_cpu", "-lc10"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        os.replace(made, library)
    return library


def _fingerprint(compiler: str) -> str:
    version = subprocess.run([compiler, "--version"], check=True, capture_output=True).stdout
    parts = [
        *(path.read_bytes() for path in sorted(_FOLDER.glob("*.[ch]*"))),
        " ".join((*_FLAGS, _ABI)).encode(),
        version,
        torch.__version__.encode(),
        platform.machine().encode(),
        str(sorted(torch.cpu.get_capabilities().items())).encode(),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
