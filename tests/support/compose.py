"""The services of docker-compose.yml as processes of this machine: their own commands, environments and files,
with ports and folders of a test in place of containers' names and paths."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from spendgate.ledger.redis.embedded import find_redis_server
from spendgate.supervisor.front import envoy_binary
from support.ports import free_port
from support.processes import SPENDGATE, program, until

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"


def compose() -> Json:
    """The file as data, merge keys resolved."""
    found: Json = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


BUILT = "llm-gateway/spendgate"
"""The image of our Dockerfile: its entry point is the command spendgate."""


@dataclass
class Services:
    """Processes of the services; a context manager. `ports`: (service, port in the container) → port here."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    """In place of the variables that a person's shell would give to `docker compose`."""

    def __post_init__(self) -> None:
        self.config = compose()["services"]
        self.ports: dict[tuple[str, int], int] = {}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.program = SPENDGATE
        """The command `spendgate` that is run."""
        self._stack = ExitStack()

    def __enter__(self) -> Services:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for process in reversed(self.running.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        statuses = {}
        for name, process in self.running.items():
            try:
                statuses[name] = process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                statuses[name] = process.wait()
        self._stack.close()
        self.statuses = statuses

    def port(self, service: str, inside: int) -> int:
        """Where a container's port is on this machine."""
        return self.ports.setdefault((service, inside), free_port())

    def text(self, service: str, text: str) -> str:
        """A text of a service's command, environment or files, for this machine."""
        for other in self.config:
            for inside in self._listens(other):
                text = text.replace(f"{other}:{inside}", f"127.0.0.1:{self.port(other, inside)}")
        for inside in self._listens(service):
            for host in ("0.0.0.0", "127.0.0.1"):
                text = text.replace(f"{host}:{inside}", f"127.0.0.1:{self.port(service, inside)}")
        return text

    def _listens(self, service: str) -> set[int]:
        """The ports that a service's own command, environment and healthcheck name, and its defaults."""
        known = {
            "redis": {6379},
            "envoy": {10000, 9903},
            "mock": {9900},
            "prometheus": {9095},
            "grafana": {3000},
        }
        return known.get(service) or {"gateway": {9002, 9090}, "controller": {8080, 9091}}[service]

    def _local(self, service: str) -> dict[str, Path]:
        """Path in the container → path here; files are copied with their addresses changed."""
        out = {}
        for volume in self.config[service].get("volumes", ()):
            source, inside = volume.split(":")[:2]
            target = self.folder / service / inside.strip("/").replace("/", "_")
            if not source.startswith("."):
                target.mkdir(parents=True, exist_ok=True)
            elif (ROOT / source).is_dir():
                target.mkdir(parents=True, exist_ok=True)
                for file in (ROOT / source).iterdir():
                    (target / file.name).write_text(self.text(service, file.read_text()))
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target = target.parent / Path(inside).name
                target.write_text(self._file(service, (ROOT / source).read_text()))
            out[inside] = target
        return out

    def _file(self, service: str, text: str) -> str:
        if service == "redis":
            port = self.port("redis", 6379)
            text = text.replace("port 6379", f"port {port}").replace("bind * -::*", "bind 127.0.0.1")
            return text.replace("dir /data", f"dir {self.folder / 'redis' / 'data'}")
        if service == "envoy":
            return json.dumps(self._addresses(yaml.safe_load(text)))
        return self.text(service, text)

    def _addresses(self, node: Any) -> Any:
        """Envoy's configuration with this machine's addresses; names become literal addresses."""
        if isinstance(node, list):
            return [self._addresses(v) for v in node]
        if not isinstance(node, dict):
            return node
        if node.keys() == {"address", "port_value"}:
            name = "envoy" if node["address"] == "0.0.0.0" else node["address"]
            return {"address": "127.0.0.1", "port_value": self.port(name, node["port_value"])}
        return {k: self._addresses(v) for k, v in node.items()}

    def start(self, service: str) -> subprocess.Popen[bytes]:
        """Run a service's command as its image would."""
        config = self.config[service]
        paths = self._local(service)
        argv = [*config.get("entrypoint", ["spendgate"] if config["image"].startswith(BUILT) else [])]
        if service == "prometheus":
            argv = ["prometheus"]
        argv += config.get("command", [])

        mounted = re.compile("|".join(map(re.escape, sorted(paths, key=len, reverse=True))) or "$^")

        def here(text: str) -> str:
            return self.text(service, mounted.sub(lambda m: str(paths[m[0]]), text))

        words = [here(a) for a in argv]
        words[0] = program("prometheus") if words[0] == "prometheus" else self._program(argv[0])
        if service == "envoy":
            words += ["--use-dynamic-base-id", "--concurrency", "1"]
        own = {k: here(self._variable(str(v))) for k, v in config.get("environment", {}).items()}
        clean = {
            k: v for k, v in os.environ.items()
            if not k.startswith(("SPENDGATE_", "PROMETHEUS_", "REDIS", "SLACK", "KUBE"))
        }  # fmt: skip
        own.setdefault(
            "SPENDGATE_DATA_DIR", str(paths.get("/var/lib/spendgate", self.folder / service / "data"))
        )
        (self.folder / service).mkdir(parents=True, exist_ok=True)
        log = self._stack.enter_context((self.folder / service / "log.txt").open("wb"))
        self.running[service] = subprocess.Popen(
            words,
            env=clean | own,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=self.folder / service,
        )
        return self.running[service]

    def _program(self, name: str) -> str:
        return {"spendgate": lambda: self.program, "envoy": envoy_binary, "redis-server": find_redis_server}[
            name
        ]()

    def _variable(self, value: str) -> str:
        if value.startswith("${"):
            name, _, default = value.removeprefix("${").removesuffix("}").partition(":-")
            return self.environment.get(name, default)
        return value

    def log(self, service: str) -> str:
        """What a service wrote."""
        return (self.folder / service / "log.txt").read_text(errors="replace")

    def healthy(self, service: str) -> None:
        """Wait until the service's own health check passes, run as the container would."""
        test = self.config[service]["healthcheck"]["test"]
        assert test[0] == "CMD", "a shell is not needed"
        words = [self.text(service, w) for w in test[1:]]
        if words[0] == "python":
            words[0] = sys.executable
        if words[0] == "redis-cli":
            words = [program("redis-cli"), "-p", str(self.port("redis", 6379)), *words[1:]]

        def passes() -> bool:
            process = self.running[service]
            assert process.poll() is None, f"{service} ended: {self.log(service)}"
            return subprocess.run(words, capture_output=True, check=False, timeout=30).returncode == 0

        until(passes, bool, f"the health check of {service}", 90)
