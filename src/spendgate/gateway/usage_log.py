"""The usage log: JSON lines, appended with one write a batch, so that several workers can share a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path


class UsageLog:
    """Appends to a file (made, with its folder, at the first line), to standard output (`-`), or nowhere
    (`off`). A file that was moved away by logrotate is opened anew."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._fd: int | None = None

    @property
    def is_on(self) -> bool:
        """Are lines kept at all?"""
        return self._target != "off"

    def write(self, lines: list[bytes]) -> None:
        """Append lines (without newlines). Raises OSError."""
        if not lines or not self.is_on:
            return
        data = b"\n".join(lines) + b"\n"
        if self._target == "-":
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        view = memoryview(data)
        fd = self._open()
        while view:
            view = view[os.write(fd, view) :]

    def _open(self) -> int:
        path = Path(self._target)
        if self._fd is not None:
            try:
                there, ours = path.stat(), os.fstat(self._fd)
                if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                    return self._fd
            except FileNotFoundError:
                pass
            os.close(self._fd)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        return self._fd

    def close(self) -> None:
        """Give the file back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
