"""Who asks, through a real Envoy: certificates, tokens, keys and headers; and those who pretend."""

from __future__ import annotations

import json
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.gateway import Gateway
from support.keyed_provider import KeyedProvider, Seen
from support.pki import Authority, Issuer
from support.policy import budget, policy
from support.ports import free_port
from support.processes import SPENDGATE, until

from spendgate.supervisor.addresses import run_dir
from spendgate.supervisor.front import envoy_binary

POLICY = policy(
    *(budget(t, 10) for t in ("ml", "payments", "edge-team", "keyed", "tokens", "victim")),
    budget("unattributed", 0),
)
PROVIDER_KEY = "sk-of-the-provider"


@dataclass
class World:
    """A gateway that knows callers by certificate, token, key and, from one proxy, by header."""

    folder: Path
    gateway: Gateway
    provider: KeyedProvider
    ca: Authority
    issuer: Issuer
    published: Issuer
    """An issuer whose keys are fetched."""
    url: str
    clients: dict[str, httpx.Client] = field(default_factory=dict)

    def client(self, uri: str = "") -> httpx.Client:
        """A client with a certificate for this principal ("": without one)."""
        if uri not in self.clients:
            context = ssl.create_default_context(cafile=str(self.ca.file))
            if uri:
                context.load_cert_chain(*self.ca.issue(f"client-{len(self.clients)}", uri=uri))
            self.clients[uri] = httpx.Client(base_url=self.url, verify=context, trust_env=False, timeout=60)
        return self.clients[uri]

    def ask(self, uri: str = "", **headers: str) -> httpx.Response:
        """One chat request."""
        return self.client(uri).post(
            "/v1/chat/completions",
            json={"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5},
            headers={k.replace("_", "-"): v for k, v in headers.items()},
        )

    def booked(self, uri: str = "", **headers: str) -> tuple[str, str]:
        """Whom one request is booked on: (team, app). Fails where it is refused."""
        line = self.line(uri, **headers)
        return line["team"], line["app"]

    def line(self, uri: str = "", **headers: str) -> dict[str, Any]:
        """The usage line of one request. Fails where it is refused."""
        name = uuid.uuid4().hex
        answer = self.ask(uri, x_request_id=name, **headers)
        assert answer.status_code == 200, answer.text

        def mine() -> list[dict[str, Any]]:
            return [x for x in self.gateway.usage() if x["request_id"] == name]

        return until(mine, bool, "its usage line")[0]

    def close(self) -> None:
        """Close the clients."""
        for client in self.clients.values():
            client.close()

    def keys(self, *argv: str) -> dict[str, Any]:
        """Run `spendgate keys`."""
        done = subprocess.run(
            [SPENDGATE, "keys", *argv, "--file", str(self.folder / "keys.yaml")],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        out: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
        return out

    def last(self) -> Seen:
        """What the provider saw last."""
        return self.provider.seen[-1]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("identity")
    ca, issuer = Authority(folder), Issuer("https://issuer.example")
    certificate, key = ca.issue("server", ip="127.0.0.1")
    (folder / "jwks.json").write_text(issuer.jwks())
    (folder / "keys.yaml").write_text("keys: []\n")
    (folder / "provider.key").write_text(PROVIDER_KEY + "\n")
    published = Issuer("https://published.example")
    with KeyedProvider(f"Bearer {PROVIDER_KEY}") as provider:
        provider.files["/jwks.json"] = json.loads(published.jwks())
        config = {
            "tls": {
                "certificate": certificate, "key": key, "client_ca": str(ca.file),
                "client_certificate": "optional",
            },
            "passthrough": "identified",
            "identity": [
                {
                    "kind": "spiffe", "trust_domains": ["cluster.local"],
                    "pattern": "^spiffe://[^/]+/ns/(?P<team>payments)/sa/(?P<app>[^/]+)$",
                    "rules": [{"namespace": "ml-*", "team": "ml", "app": "{service_account}@{namespace}"}],
                },
                {"kind": "jwt", "issuer": issuer.name, "audiences": ["llm"], "header": "x-id-token",
                 "jwks_file": str(folder / "jwks.json"), "team": "org.team"},
                {"kind": "jwt", "issuer": published.name, "header": "x-other-token",
                 "jwks_url": f"{provider.url}/jwks.json"},
                {"kind": "api-key", "file": str(folder / "keys.yaml")},
                {"kind": "headers", "trusted_principals": ["spiffe://cluster.local/ns/edge/sa/proxy"]},
            ],
            "upstreams": [
                {"name": "openai", "url": provider.url, "credential": {"file": str(folder / "provider.key")}}
            ],
        }  # fmt: skip
        with Gateway(folder / "g", "", POLICY, config=config, workers=1) as gateway:
            made = World(folder, gateway, provider, ca, issuer, published, gateway.url)
            yield made
            made.close()


@pytest.fixture(scope="module")
def by_authz(world: World) -> Iterator[World]:
    """The same world, entered through an Envoy that asks by ext_authz."""
    listen = f"127.0.0.1:{free_port()}"
    worker = run_dir(world.gateway.data_dir.resolve()) / "worker.sock"
    rendered = subprocess.run(
        [SPENDGATE, "render", "bootstrap", "--entry", "ext_authz", "--listen", listen, "--grpc", f"unix:{worker}",
         "--config", str(world.gateway.folder / "config.yaml")],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (world.folder / "authz.yaml").write_text(rendered)
    with (world.folder / "authz.log").open("wb") as log:
        envoy = subprocess.Popen(
            [envoy_binary(), "-c", str(world.folder / "authz.yaml"), "--use-dynamic-base-id", "--concurrency", "1"],
            stdout=log, stderr=log,
        )  # fmt: skip
    made = replace(world, url=f"https://{listen}", clients={})

    def serves() -> bool:
        try:
            return made.ask(spiffe("ml-eu", "chat")).status_code == 200
        except httpx.TransportError:
            return False

    try:
        until(serves, bool, "Envoy", 60)
        yield made
    finally:
        made.close()
        envoy.terminate()
        envoy.wait(60)


def spiffe(namespace: str, account: str, domain: str = "cluster.local") -> str:
    return f"spiffe://{domain}/ns/{namespace}/sa/{account}"


# -- each source --------------------------------------------------------------------------------------------


def test_a_certificate_names_team_and_app_by_rule_and_by_pattern(world: World) -> None:
    assert world.booked(spiffe("ml-eu", "chat")) == ("ml", "chat@ml-eu")
    assert world.booked(spiffe("payments", "checkout")) == ("payments", "checkout")


def test_a_token_names_team_and_app_by_its_claims(world: World) -> None:
    token = world.issuer.token(org={"team": "tokens"}, azp="cli", sub="ann", aud="llm")
    line = world.line(x_id_token=token)
    assert (line["team"], line["app"], line["user"]) == ("tokens", "cli", "ann")
    assert "x-id-token" not in world.last().headers


def test_keys_that_an_issuer_publishes_are_fetched_and_its_tokens_believed(world: World) -> None:
    token = world.published.token(team="tokens", azp="web")
    until(lambda: world.ask(x_other_token=token).status_code, lambda s: s == 200, "the issuer's keys")
    assert world.booked(x_other_token=token) == ("tokens", "web")
    stranger = Issuer(world.published.name).token(team="victim")
    assert world.ask(x_other_token=stranger).status_code == 401


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key", "x-goog-api-key"])
def test_a_key_names_its_team_in_whatever_header_an_sdk_puts_it(world: World, header: str) -> None:
    key = world.keys("issue", "--team", "keyed", "--app", header, "-o", "json")["key"]
    until(lambda: world.ask(**{header: key}).status_code, lambda s: s == 200, "the new key")
    assert world.booked(**{header: key}) == ("keyed", header)
    assert world.booked(**{header: f"Bearer {key}"}) == ("keyed", header)


def test_headers_name_a_team_where_the_trusted_proxy_sent_them(world: World) -> None:
    asked = {"x_llm_team": "edge-team", "x_llm_app": "browser"}
    assert world.booked(spiffe("edge", "proxy"), **asked) == ("edge-team", "browser")
    assert not {n for n in world.last().headers if n.startswith("x-llm-")}


# -- keys live and die --------------------------------------------------------------------------------------


def test_the_provider_gets_its_own_key_and_never_the_clients(world: World) -> None:
    key = world.keys("issue", "--team", "keyed", "-o", "json")["key"]
    until(lambda: world.ask(authorization=f"Bearer {key}").status_code, lambda s: s == 200, "the new key")
    world.ask(
        authorization=f"Bearer {key}", x_api_key="another", x_goog_api_key="one more", api_key="and one"
    )
    sent = world.last().headers
    assert sent["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert not {"x-api-key", "x-goog-api-key", "api-key"} & set(sent)
    assert key not in str(sent)
    listed = world.client().get("/v1/models", headers={"authorization": f"Bearer {key}"})
    assert listed.status_code == 200, "paths that no dialect claims too"
    assert world.last().headers["authorization"] == f"Bearer {PROVIDER_KEY}"


def test_a_revoked_key_is_nobodys_within_moments_and_a_rotated_one_works_on(world: World) -> None:
    first = world.keys("issue", "--team", "keyed", "-o", "json")
    until(lambda: world.ask(authorization=first["key"]).status_code, lambda s: s == 200, "the new key")
    second = world.keys("rotate", first["id"], "--grace", "1h", "-o", "json")
    until(lambda: world.ask(authorization=second["key"]).status_code, lambda s: s == 200, "the rotated key")
    assert world.ask(authorization=first["key"]).status_code == 200, "within its grace"
    world.keys("revoke", first["id"])
    until(lambda: world.ask(authorization=first["key"]).status_code, lambda s: s == 429, "the end of the key")
    assert world.ask(authorization=second["key"]).status_code == 200


def test_no_key_is_in_any_file_of_the_gateway(world: World) -> None:
    key = world.keys("issue", "--team", "keyed", "-o", "json")["key"]
    until(lambda: world.ask(authorization=key).status_code, lambda s: s == 200, "the new key")
    for path in [world.folder / "keys.yaml", *world.gateway.data_dir.rglob("*")]:
        if path.is_file():
            content = path.read_bytes()
            assert key.encode() not in content, path
            assert PROVIDER_KEY.encode() not in content, path


# -- the same by ext_authz ----------------------------------------------------------------------------------


def test_ext_authz_knows_the_same_callers(by_authz: World) -> None:
    assert by_authz.booked(spiffe("payments", "checkout")) == ("payments", "checkout")
    token = by_authz.issuer.token(org={"team": "tokens"}, azp="cli", sub="ann", aud="llm")
    assert by_authz.booked(x_id_token=token) == ("tokens", "cli")
    asked = {"x_llm_team": "edge-team", "x_llm_app": "browser"}
    assert by_authz.booked(spiffe("edge", "proxy"), **asked) == ("edge-team", "browser")
    key = by_authz.keys("issue", "--team", "keyed", "--app", "a", "-o", "json")["key"]
    until(lambda: by_authz.ask(authorization=key).status_code, lambda s: s == 200, "the new key")
    assert by_authz.booked(authorization=key) == ("keyed", "a")
    assert by_authz.last().headers["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert by_authz.client().get("/v1/models").status_code == 401


def test_ext_authz_believes_no_forgery_either(by_authz: World) -> None:
    test_no_forgery_reaches_the_provider_or_another_teams_budget(by_authz)
    test_a_header_sent_twice_names_nobody(by_authz)
    test_a_real_identity_is_not_changed_by_forged_headers(by_authz)


# -- attacks ------------------------------------------------------------------------------------------------


def forged(world: World) -> dict[str, tuple[str, dict[str, str]]]:
    """What an attacker sends to be taken for team victim: (certificate's principal, headers)."""
    other = Issuer(world.issuer.name)
    claims: dict[str, Any] = {"org": {"team": "victim"}, "aud": "llm"}
    return {
        "headers from anybody": ("", {"x_llm_team": "victim", "x_llm_app": "app"}),
        "headers from another workload": (spiffe("edge", "other"), {"x_llm_team": "victim"}),
        "the proxy's name in another trust domain": (
            spiffe("edge", "proxy", "evil.example"),
            {"x_llm_team": "victim"},
        ),
        "a namespace in another trust domain": (spiffe("payments", "checkout", "evil.example"), {}),
        "a principal that hides another": (f"{spiffe('x', 'y')}/ns/payments/sa/checkout", {}),
        "a certificate's forwarded copy": (
            "",
            {"x_forwarded_client_cert": f"URI={spiffe('payments', 'checkout')}"},
        ),
        "an unknown key": ("", {"authorization": "Bearer sgk_aaaaaaaaaaaaa_" + "A" * 43}),
        "the provider's key": ("", {"authorization": f"Bearer {PROVIDER_KEY}"}),
        "a token in the wrong header": ("", {"authorization": f"Bearer {world.issuer.token(**claims)}"}),
        "claims as a header": ("", {"envoy.filters.http.jwt_authn": json.dumps({"jwt-0": claims})}),
        "a token of somebody else": ("", {"x_id_token": other.token(**claims)}),
        "a token without a signature": ("", {"x_id_token": world.issuer.token(algorithm="none", **claims)}),
        "a token that ended": ("", {"x_id_token": world.issuer.token(expires_in_s=-600, **claims)}),
        "a token for another audience": (
            "",
            {"x_id_token": world.issuer.token(org={"team": "victim"}, aud="mail")},
        ),
    }


def test_no_forgery_reaches_the_provider_or_another_teams_budget(world: World) -> None:
    before = len(world.provider.seen)
    for name, (uri, headers) in forged(world).items():
        answer = world.ask(uri, **headers)
        is_token = "x_id_token" in headers
        assert answer.status_code in ((401, 403) if is_token else (429,)), f"{name}: {answer.text}"
        if not is_token:
            assert answer.json()["error"]["details"]["team"] == "unattributed", name
    assert len(world.provider.seen) == before
    assert world.gateway.row("victim")["requests"] == 0
    refused = until(
        lambda: world.gateway.metric("llm_requests_rejected_budget_total", team="unattributed"),
        lambda n: n >= 10,
        "the refusals",
    )
    assert refused, "unattributed has a budget of its own"


def test_a_real_identity_is_not_changed_by_forged_headers(world: World) -> None:
    headers = {
        "x_llm_team": "victim", "x_llm_app": "essential", "x_llm_user": "root", "x_spendgate_cluster": "evil",
        "x_budget_utilization": "0", "x_model_downgraded": "true", "x_spendgate_model": "free",
    }  # fmt: skip
    line = world.line(spiffe("ml-eu", "chat"), **headers)
    assert (line["team"], line["app"], line["user"]) == ("ml", "chat@ml-eu", "")
    sent = {
        n for n in world.last().headers if n.startswith(("x-llm-", "x-spendgate-", "x-budget-", "x-model-"))
    }
    assert not sent


def test_a_header_sent_twice_names_nobody(world: World) -> None:
    answer = world.client(spiffe("edge", "proxy")).post(
        "/v1/chat/completions",
        json={"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5},
        headers=[("x-llm-team", "victim"), ("x-llm-team", "edge-team")],
    )
    assert answer.status_code == 429
    assert answer.json()["error"]["details"]["team"] == "unattributed"


def test_a_certificate_of_another_authority_gets_no_connection(world: World) -> None:
    stranger = Authority(world.folder / "stranger", "stranger")
    context = ssl.create_default_context(cafile=str(world.ca.file))
    context.load_cert_chain(*stranger.issue("client", uri=spiffe("payments", "checkout")))
    with (
        httpx.Client(base_url=world.gateway.url, verify=context, trust_env=False) as client,
        pytest.raises(httpx.TransportError),
    ):
        client.get("/v1/models")


def test_paths_that_nobody_meters_are_for_known_callers_only(world: World) -> None:
    before = len(world.provider.seen)
    for path in ("/v1/models", "/v1/batches"):
        answer = world.client().get(path, headers={"x-llm-team": "victim"})
        assert answer.status_code == 401, path
        assert answer.json()["error"]["code"] == "unidentified"
    assert len(world.provider.seen) == before
    assert world.client(spiffe("ml-eu", "chat")).get("/v1/models").status_code == 200
