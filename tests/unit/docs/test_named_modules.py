"""A module that a comment or docstring names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SRC = Path(__file__).parents[3] / "src" / "spendgate"
MODULES = {".".join(p.relative_to(SRC).with_suffix("").parts) for p in SRC.rglob("*.py")}
PACKAGES = {m.rpartition(".")[0] for m in MODULES} | {m.removesuffix(".__init__") for m in MODULES}
TOPS = {m.partition(".")[0] for m in MODULES}
NAMED = re.compile(r"`((?:[a-z_0-9]+\.)+[A-Za-z_0-9]+)`")


def stands(name: str, package: str) -> bool:
    """Is it a module, a package, or something in one? By its full name, or as it is called from `package`."""
    for full in (name, *(f"{package.rsplit('.', n)[0]}.{name}" for n in range(package.count(".") + 2))):
        module, _, thing = full.rpartition(".")
        if full in MODULES or full in PACKAGES:
            return True
        path = SRC / (module.replace(".", "/") + ".py")
        if path.exists() and re.search(rf"\b{re.escape(thing)}\b", path.read_text(encoding="utf-8")):
            return True
        outer, _, kind = module.rpartition(".")
        path = SRC / (outer.replace(".", "/") + ".py")
        if path.exists() and re.search(rf"\b{re.escape(kind)}\b", path.read_text(encoding="utf-8")):
            return True
    return False


@pytest.mark.parametrize("module", sorted(MODULES))
def test_every_module_that_is_named_exists(module: str) -> None:
    text = (SRC / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
    package = module.rpartition(".")[0] or module
    named = {
        n
        for n in NAMED.findall(text)
        if n.partition(".")[0] in TOPS and not n.endswith((".py", ".lua", ".md"))
    }
    assert {n for n in named if not stands(n, package)} == set()
