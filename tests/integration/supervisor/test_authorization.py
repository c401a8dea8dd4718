"""Who may ask a gateway in Istio, and what: the overlays' AuthorizationPolicy as a real Envoy obeys it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.istio import authorization
from support.manifests import documents
from support.pki import Authority
from support.policy import budget, policy
from support.ports import free_port
from support.processes import Command
from support.sidecars import calls, envoy, inbound, spiffe, tls, with_certificate

CALLERS = {"application": spiffe("ml", "chat"), "egress": spiffe("istio-system", "egress")}
Call = Callable[[grpc.Channel], object]


def exchange(channel: grpc.Channel) -> object:
    """A request that is none of ours: it is told to pass."""
    message = pb.ProcessingRequest()
    message.request_headers.headers.headers.add(key=":path", raw_value=b"/")
    message.request_headers.end_of_stream = True
    stub = external_processor_pb2_grpc.ExternalProcessorStub(channel)
    return next(stub.Process(iter([message]), timeout=30, wait_for_ready=True))


def access_log(channel: grpc.Channel) -> object:
    """An access log, which settles."""
    stub = als_pb2_grpc.AccessLogServiceStub(channel)
    return stub.StreamAccessLogs(iter([als_pb2.StreamAccessLogsMessage()]), timeout=30, wait_for_ready=True)


def check(channel: grpc.Channel) -> object:
    """A check of ext_authz."""
    stub = external_auth_pb2_grpc.AuthorizationStub(channel)
    return stub.Check(external_auth_pb2.CheckRequest(), timeout=30, wait_for_ready=True)


def health(channel: grpc.Channel) -> object:
    return health_pb2_grpc.HealthStub(channel).Check(
        health_pb2.HealthCheckRequest(), timeout=30, wait_for_ready=True
    )


@pytest.fixture(scope="module", params=["overlays/istio", "overlays/istio-ha", "overlays/istio-egress"])
def house(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """Addresses of the callers' own sidecars, of the gateway's and of the gateway; and the overlay's name."""
    folder = tmp_path_factory.mktemp("authorization")
    [found] = [
        d for d in documents(request.param)
        if d["kind"] == "AuthorizationPolicy" and d["metadata"]["name"] == "spendgate"
    ]  # fmt: skip
    ca = Authority(folder)
    (folder / "policy.yaml").write_text(policy(budget("ml", 10)))
    inside, worker, admin = free_port(), f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    plain = {name: f"127.0.0.1:{free_port()}" for name in CALLERS}
    with ExitStack() as stack:
        serve = Command(
            folder / "serve",
            ["serve", "--grpc", worker, "--admin", admin, "--data-dir", str(folder / "data"),
             "--policy", str(folder / "policy.yaml")],
        )  # fmt: skip
        stack.callback(serve.stop)
        serve.ready()
        server = ca.issue("server", uri=spiffe("llm-gateway", "spendgate"))
        accepting = tls("DownstreamTlsContext", server, ca.file, require_client_certificate=True)
        obeying = authorization(found, {"9002": inside, "9090": 9090})
        address = f"127.0.0.1:{inside}"
        stack.enter_context(envoy(folder / "inbound", inbound(address, worker, accepting, (obeying,))))
        for name, principal in CALLERS.items():
            own = tls("UpstreamTlsContext", ca.issue(name, uri=principal), ca.file)
            outbound, _ = calls(plain[name], address)
            stack.enter_context(envoy(folder / name, with_certificate(outbound, own)))
        yield {**plain, "inbound": address, "worker": worker, "overlay": request.param}


def told(address: str, call: Call) -> grpc.StatusCode:
    """How a call ends."""
    with grpc.insecure_channel(address) as channel:
        try:
            call(channel)
        except grpc.RpcError as problem:
            return problem.code()
    return grpc.StatusCode.OK


def test_exchanges_are_opened_by_the_egress_gateway_and_by_sidecars_only_where_a_filter_is_at_them(
    house: dict[str, Any],
) -> None:
    strict = house["overlay"] == "overlays/istio-egress"
    for call in (exchange, health):
        assert told(house["egress"], call) is grpc.StatusCode.OK
        expected = grpc.StatusCode.PERMISSION_DENIED if strict else grpc.StatusCode.OK
        assert told(house["application"], call) is expected


@pytest.mark.parametrize("caller", list(CALLERS))
@pytest.mark.parametrize("call", [access_log, check])
def test_nothing_but_exchanges_and_health_passes_whoever_asks(
    house: dict[str, Any], caller: str, call: Call
) -> None:
    assert told(house["worker"], call) is grpc.StatusCode.OK, "the gateway itself would answer"
    assert told(house[caller], call) is grpc.StatusCode.PERMISSION_DENIED


def test_without_a_certificate_nobody_is_heard(house: dict[str, Any]) -> None:
    def impatient(channel: grpc.Channel) -> object:
        return health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)

    assert told(house["inbound"], impatient) is grpc.StatusCode.UNAVAILABLE
