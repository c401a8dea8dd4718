"""The Dockerfile read and, without Docker, its first stage carried out below a folder of this machine."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Stage:
    """One FROM and what follows it."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        """The arguments of an instruction, in order."""
        return [rest for word, rest in self.steps if word == instruction]

    def argv(self, instruction: str) -> list[str]:
        """ENTRYPOINT or CMD; a shell form, which would need a shell, is an error."""
        [text] = self.all(instruction)
        found = json.loads(text)
        assert isinstance(found, list), f"{instruction} {text}: give a JSON list, so that no shell is needed"
        return found


def stages() -> list[Stage]:
    """The Dockerfile's stages."""
    out: list[Stage] = []
    for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            out.append(Stage(base, name))
        else:
            out[-1].steps.append((word, rest.strip()))
    return out


def context() -> list[Path]:
    """The files that .dockerignore lets through to the builder, relative to the repository."""
    patterns = [
        line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]  # fmt: skip
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()

    def ignored(path: str) -> bool:
        verdict = False
        for pattern in patterns:
            glob = pattern.removeprefix("!")
            inside = any(
                fnmatch.fnmatch(p, glob) or (glob.startswith("**/") and Path(p).name == glob[3:])
                for p in (path, *map(str, Path(path).parents))
            )
            if inside:
                verdict = not pattern.startswith("!")
        return verdict

    return [Path(p) for p in tracked if not ignored(p) and (ROOT / p).is_file()]


def carry_out(stage: Stage, folder: Path, skip: str = "", env: Mapping[str, str] | None = None) -> None:
    """Run the stage's WORKDIR, COPY and RUN below `folder` (`/opt` and `/src` are folders of it); a RUN that
    contains `skip` is left out. `env`: more variables for RUN."""
    here = folder
    allowed = context()

    def moved(text: str) -> str:
        return re.sub(r"(?<![\w/])/(opt|src)\b", lambda m: f"{folder}/{m[1]}", text)

    (folder / "opt").mkdir(parents=True)
    for word, rest in stage.steps:
        if word == "WORKDIR":
            here = Path(moved(rest))
            here.mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                found = [p for p in allowed if p == Path(source) or Path(source) in p.parents]
                assert found, f"COPY {source}: not in the build's context (.dockerignore)"
                for path in found:
                    inside = path.relative_to(source) if path != Path(source) else Path(path.name)
                    into = here / target / inside
                    into.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / path, into)
        elif word == "RUN" and not (skip and skip in rest):
            own = {
                k: v
                for k, v in os.environ.items()
                if not k.startswith(("PYTHON", "VIRTUAL_ENV", "SPENDGATE"))
            }
            own["PATH"] = f"{Path(sys.executable).parent}:{own['PATH']}"  # where `python` is
            own |= env or {}
            done = subprocess.run(
                moved(rest), shell=True, cwd=here, env=own, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"RUN {rest}\n{done.stdout}{done.stderr}"
