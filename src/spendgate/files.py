"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: bytes | str, mode: int = 0o666) -> None:
    """Put `data` in the place of a file: readers see the old content or the new, also after a crash of the machine.

    It is on the disk when this returns. `mode` is that of the new file, less the umask. Of several writers the last
    one wins. Raises OSError, and then leaves the old file as it was.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    content = data.encode() if isinstance(data, str) else data
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # the new name, too
    finally:
        os.close(folder)
