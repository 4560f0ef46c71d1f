"""What a process asks of the system before torch is loaded: how threads wait, how memory is kept."""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


_KEPT_KERNELS = "256"


def prepare_process() -> None:
    """Let threads wait asleep and freed memory stay with the process; for GNU OpenMP and libc.

    By default a thread that waits for the others burns its core for milliseconds; on a machine that
    does anything else, each wait then costs a time slice. And large tensors go back to the system
    when they are freed, so that every step pays for fresh pages again.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if sys.platform.startswith("linux"):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_MAX, 0)
            mallopt(_M_TRIM_THRESHOLD, _NEVER)


def bound_kernel_caches() -> None:
    """Keep compiled kernels for a few hundred shapes only; has to come before torch is loaded.

    A server meets ever new numbers of tokens, and oneDNN and PyTorch each keep the kernels of the
    last 1,024 shapes, half a megabyte and more apiece: its memory would go on growing for hours.
    https://uxlfoundation.github.io/oneDNN/dev_guide_primitive_cache.html
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _KEPT_KERNELS)
    os.environ.setdefault("LRU_CACHE_CAPACITY", _KEPT_KERNELS)
