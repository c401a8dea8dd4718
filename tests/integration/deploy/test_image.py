"""The Dockerfile without Docker: what it promises is read, and what it does is done below a folder of this machine.

By default the dependencies are those of this environment (`make image` installs them too, as the image does).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.compose import Services
from support.dockerfile import ROOT, carry_out, context, stages
from support.manifests import documents, pod_templates
from support.scripts import load_script

WHOLE = os.environ.get("SPENDGATE_TEST_IMAGE") == "whole"


def test_every_base_is_pinned_to_a_version() -> None:
    for stage in stages():
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+-[\w-]+(@sha256:[0-9a-f]{64})?", stage.base), stage.base


def test_it_runs_as_nobody_and_needs_no_shell() -> None:
    last = stages()[-1]
    [user] = last.all("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), (
        "a number, so that Kubernetes can see that it is not root"
    )
    assert last.argv("ENTRYPOINT") == ["spendgate"]
    assert last.argv("CMD")
    assert last.all("RUN") == []
    instructions = [word for word, _ in last.steps]
    assert instructions.index("USER") > max(i for i, w in enumerate(instructions) if w == "COPY")


def test_pods_run_as_the_images_user() -> None:
    [user] = stages()[-1].all("USER")
    for name in ("base", "overlays/istio", "overlays/envoy", "overlays/envoy-gateway"):
        for who, pod in pod_templates(documents(name)):
            if all("spendgate" in c["image"] for c in pod["containers"]):
                assert pod["securityContext"]["runAsUser"] == int(user.partition(":")[0]), who


def test_the_context_holds_the_source_and_nothing_secret_or_large() -> None:
    files = context()
    assert Path("src/spendgate/cli/main.py") in files
    assert {p.parts[0] for p in files} == {"src", "deploy", "pyproject.toml", "README.md", "LICENSE"}
    assert sum((ROOT / p).stat().st_size for p in files) < 20 * 2**20


def test_every_package_of_the_image_is_pinned_and_fits_pyproject() -> None:
    script = load_script("build_requirements")
    lines = [x for x in script.TARGET.read_text().splitlines() if x and not x.startswith("#")]
    pinned = {canonicalize_name(Requirement(x).name): Requirement(x) for x in lines}
    for name, (_, condition) in script.needed().items():
        assert name in pinned, f"{name} is missing; run .venv/bin/python scripts/build_requirements.py"
        assert (str(pinned[name].marker or "")) == condition
    for requirement in pinned.values():
        assert [s.operator for s in requirement.specifier] == ["=="]
    import tomllib

    for text in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        wanted = Requirement(text)
        [exact] = pinned[canonicalize_name(wanted.name)].specifier
        assert wanted.specifier.contains(exact.version, prereleases=True), text


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `bin` of the virtual environment that the build stage makes."""
    folder = tmp_path_factory.mktemp("image")
    if WHOLE:
        carry_out(stages()[0], folder)
    else:
        wheels = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(Path(sys.prefix) / "wheels")}
        carry_out(stages()[0], folder, skip="-r requirements.txt", env=wheels)
    made = folder / "opt/spendgate"
    [site] = made.glob("lib/python3*/site-packages")
    if not WHOLE:
        own = sysconfig.get_paths()["purelib"]
        (site / "dependencies.pth").write_text(own + "\n")
    assert not list(site.glob("__editable__*")), "the package itself, not a way to the checkout"
    assert (site / "spendgate" / "cli" / "main.py").is_file()
    return made / "bin"


def test_the_entry_point_starts_from_the_built_package(installed: Path) -> None:
    [entry] = stages()[-1].argv("ENTRYPOINT")
    done = subprocess.run(
        [installed / entry, *stages()[-1].argv("CMD")], capture_output=True, text=True, check=True
    )
    assert "serve" in done.stdout
    where = subprocess.run(
        [installed / "python", "-c", "import spendgate; print(spendgate.__file__)"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert str(installed.parent) in where
    assert (
        version("spendgate")
        in subprocess.run([installed / entry, "--version"], capture_output=True, text=True, check=True).stdout
    )


def test_the_package_holds_what_is_no_python(installed: Path) -> None:
    [site] = (installed.parent / "lib").glob("python3*/site-packages")
    source = {
        p.relative_to(ROOT / "src")
        for p in (ROOT / "src").rglob("*")
        if p.suffix in (".lua", ".yaml", ".json")
    }
    assert source
    assert not [p for p in source if not (site / p).is_file()]


def test_the_built_gateway_serves_and_drains(installed: Path, tmp_path: Path) -> None:
    with Services(tmp_path) as services:
        services.program = str(installed / "spendgate")
        for name in ("redis", "controller", "gateway"):
            services.start(name)
            services.healthy(name)
    assert services.statuses["gateway"] == services.statuses["controller"] == 0


def test_the_hook_of_an_envoys_pod_is_in_the_package(installed: Path) -> None:
    pod = dict(pod_templates(documents("overlays/envoy")))["Deployment llm-envoy"]
    command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert command[0] == "python"
    done = subprocess.run(
        [installed / "python", *command[1:3], "http://127.0.0.1:9", "1", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("draining: http://127.0.0.1:9: ")
