"""`make demo` as a user runs it: every step as promised, and the books equal."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo.py"


def test_the_demo_ends_with_equal_books_and_leaves_nothing(tmp_path: Path) -> None:
    # a folder of its own, with a name short enough for a Unix address
    with tempfile.TemporaryDirectory(prefix="sg-") as folder:
        ran = subprocess.run(
            [sys.executable, str(SCRIPT)],
            env={**os.environ, "TMPDIR": folder},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
        assert "Equal to the nano-dollar." in ran.stdout
        assert [p.name for p in Path(folder).iterdir()] == []
    assert list(tmp_path.iterdir()) == []
