"""Child processes that do not outlive us, also when we are killed (Linux; elsewhere they may)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

# Runs between fork and exec in a fresh interpreter: Python code after a fork of a threaded process (gRPC) may
# deadlock, this cannot. 1 is PR_SET_PDEATHSIG, 15 SIGTERM; a parent that died before the call is seen by its
# changed id. Other systems lack prctl and go without.
_DIE_WITH_PARENT = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


def dying_with_parent(argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` (a path first) and gets SIGTERM when the thread that started it ends."""
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *argv]
