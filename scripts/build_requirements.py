"""Write deploy/image/requirements.txt: every package of the image at the version that is installed here.

    .venv/bin/python scripts/build_requirements.py

Read off the installed packages, beginning with what pyproject.toml says that spendgate needs; extras for
development are left out. A test checks that nothing is missing and that the versions fit pyproject.toml.
"""

from __future__ import annotations

import re
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "deploy/image/requirements.txt"
EXTRAS = frozenset(("notify",))
"""What the image has beside the package's own needs: the controller tells by mail and the like."""
NOTE = "# Written by scripts/build_requirements.py; do not edit.\n"


DEBIAN = "3.11.2"
"""Debian 12's Python, in the image that `make release` builds."""


def pythons() -> tuple[dict[str, str], ...]:
    """The variables of markers (PEP 508) that tell Python's version: that of the Dockerfile, and Debian's."""
    found = re.search(
        r"^FROM python:((\d+\.\d+)\.\d+)-", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE
    )
    assert found, "the Dockerfile pins a Python"
    return tuple({"python_full_version": full, "python_version": found[2]} for full in (found[1], DEBIAN))


def needed() -> dict[str, tuple[str, str]]:
    """Name → (version, condition) of everything that spendgate needs to run, on any platform."""
    found: dict[str, tuple[str, str]] = {}
    images = pythons()
    pending = [("spendgate", EXTRAS, "")]
    seen = set()
    while pending:
        name, extras, condition = pending.pop()
        if (name, extras, condition) in seen:
            continue
        seen.add((name, extras, condition))
        here = distribution(name)
        if name != "spendgate":
            known = found.get(name, ("", condition))[1]
            found[name] = (here.version, condition if condition == known else "")
        for text in here.requires or ():
            requirement = Requirement(text)
            marker = requirement.marker
            wanted = marker is None or any(
                marker.evaluate({**image, "extra": e}) for image in images for e in extras or {""}
            )
            if wanted:
                # a condition on the platform goes along; one on an extra is decided here
                own = str(marker) if marker is not None and "extra" not in str(marker) else ""
                pending.append(
                    (canonicalize_name(requirement.name), frozenset(requirement.extras), own or condition)
                )
    return found


def text() -> str:
    """The file."""
    lines = [
        f"{name}=={version}" + (f" ; {condition}" if condition else "")
        for name, (version, condition) in sorted(needed().items())
    ]
    return NOTE + "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text(), encoding="utf-8")
    print(TARGET)
