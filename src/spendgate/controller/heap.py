"""Memory that is given back: how glibc's allocator treats the few large pieces that a controller makes and drops."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""malloc.h of glibc."""
LARGE = 256 * 1024


def give_back_large_pieces() -> None:
    """A snapshot of ten thousand budgets is eight megabytes for a moment. Left alone, glibc learns from the first
    one to keep room for the next; so that it does not, the threshold is fixed. Elsewhere nothing is done."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
        mallopt(M_TRIM_THRESHOLD, LARGE)
        mallopt(M_ARENA_MAX, 2)
