"""The policy in force as a ConfigMap, where a new gateway finds it while Redis is away."""

from __future__ import annotations

import base64
import gzip

import structlog

from spendgate.controller.kube.client import Kube, KubeError, KubeUnavailable, Object
from spendgate.policy.store import SNAPSHOT_FILE, encode
from spendgate.protos.policy_pb2 import PolicySnapshot

log = structlog.get_logger()

NAME = "spendgate-policy"
MOST_BYTES = 1_000_000
"""A ConfigMap takes a mebibyte: https://kubernetes.io/docs/concepts/configuration/configmap/."""


class PolicyMap:
    """Keeps the ConfigMap equal to what was published. `namespace` "": there is no cluster to keep it in."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube = kube
        self._path = f"/api/v1/namespaces/{namespace}/configmaps" if namespace else ""
        self._kept = 0

    async def keep(self, snapshot: PolicySnapshot | None) -> None:
        """Write it where it changed. A failure is logged, and tried again in the next round."""
        if snapshot is None or not self._path or snapshot.generation == self._kept:
            return
        data = gzip.compress(encode(snapshot), mtime=0)
        if len(data) > MOST_BYTES:
            self._kept = snapshot.generation
            log.error("policy_map_too_large", bytes=len(data), why="new gateways wait for Redis")
            return
        binary = {SNAPSHOT_FILE: base64.b64encode(data).decode()}
        try:
            await self._write(binary)
        except (KubeError, KubeUnavailable) as problem:
            log.warning("policy_map_not_written", error=str(problem))
        else:
            self._kept = snapshot.generation

    async def _write(self, binary: dict[str, str]) -> None:
        try:
            await self._kube.merge_patch(f"{self._path}/{NAME}", {"binaryData": binary})
        except KubeError as problem:
            if not problem.not_found:
                raise
            made: Object = {
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "binaryData": binary,
            }  # fmt: skip
            await self._kube.create(self._path, made)
