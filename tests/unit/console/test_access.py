"""Who looks at the console, and who only says so."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request

from spendgate.console.access import COOKIE, SESSION_S, Access, Visitor
from spendgate.console.settings import ConsoleSettings
from spendgate.errors import ConfigurationError

TOKEN = "a-token-of-sixteen-and-more"
NOW = 1_795_700_000.0


def settings(**environ: str) -> ConsoleSettings:
    return ConsoleSettings.from_environment({f"SPENDGATE_CONSOLE_{k}": v for k, v in environ.items()})


def request(peer: str = "10.1.2.3", **headers: str) -> Request:
    raw = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return Request({"type": "http", "headers": raw, "client": (peer, 1), "method": "GET", "path": "/"})


def who(access: Access, given: Request) -> str:
    return access.visitor(given).name


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"TOKEN": "short"}, "SPENDGATE_CONSOLE_TOKEN"),
        ({"JWKS": "/k.json"}, "JWT_ISSUER"),
        ({"ANONYMOUS": "none"}, "locks everybody out"),
        ({"ANONYMOUS": "maybe", "TOKEN": TOKEN}, "read or none"),
        ({"TRUSTED_PROXIES": "10.0.0.0/99"}, "TRUSTED_PROXIES"),
    ],
)
def test_a_wrong_setting_is_named(environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        settings(**environ)


def test_without_any_setting_anybody_reads_and_nobody_is_signed_in() -> None:
    access = Access(settings(), lambda: NOW)
    visitor = access.visitor(request(authorization="Bearer x", cookie=f"{COOKIE}=x", x_user="root"))
    assert visitor == Visitor()
    assert access.may_read(visitor)


def test_with_a_way_to_sign_in_strangers_do_not_read_unless_that_is_allowed() -> None:
    assert not Access(settings(TOKEN=TOKEN), lambda: NOW).may_read(Visitor())
    assert Access(settings(TOKEN=TOKEN, ANONYMOUS="read"), lambda: NOW).may_read(Visitor())


def test_a_user_header_counts_only_from_a_trusted_proxy() -> None:
    access = Access(settings(USER_HEADER="X-User", TRUSTED_PROXIES="10.1.0.0/16"), lambda: NOW)
    assert who(access, request("10.1.9.9", x_user="kim@acme.test")) == "kim@acme.test"
    assert who(access, request("10.2.0.1", x_user="kim@acme.test")) == ""
    assert who(access, request("not an address", x_user="kim@acme.test")) == ""
    assert who(Access(settings(), lambda: NOW), request("127.0.0.1", x_user="kim")) == ""


def test_the_bearer_token_is_compared_whole() -> None:
    access = Access(settings(TOKEN=TOKEN), lambda: NOW)
    assert who(access, request(authorization=f"Bearer {TOKEN}")) == "token"
    for wrong in (f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", "Bearer ", TOKEN, "Bearer é"):
        assert who(access, request(authorization=wrong)) == ""


def test_a_session_ends_and_can_not_be_made_or_changed_by_its_owner() -> None:
    now = [NOW]
    access = Access(settings(TOKEN=TOKEN), lambda: now[0])
    cookie = access.session("kim")
    assert who(access, request(cookie=f"{COOKIE}={cookie}")) == "kim"
    name, expiry, mac = json.loads(base64.urlsafe_b64decode(cookie))
    for forged in (
        [name, expiry + 9, mac],
        ["root", expiry, mac],
        [name, str(expiry), mac],
        [name, expiry],
        "x",
        7,
    ):
        raw = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode()
        assert who(access, request(cookie=f"{COOKIE}={raw}")) == ""
    other = Access(settings(TOKEN=TOKEN + "2"), lambda: now[0])
    assert who(other, request(cookie=f"{COOKIE}={cookie}")) == ""
    now[0] += SESSION_S + 1
    assert who(access, request(cookie=f"{COOKIE}={cookie}")) == ""


def test_a_session_of_one_replica_is_known_by_another_with_the_same_settings() -> None:
    first, second = (Access(settings(TOKEN=TOKEN), lambda: NOW) for _ in range(2))
    assert who(second, request(cookie=f"{COOKIE}={first.session('kim')}")) == "kim"


def test_a_form_is_taken_only_with_this_visitors_own_token_and_from_our_own_page() -> None:
    access = Access(settings(TOKEN=TOKEN), lambda: NOW)
    kim = access.visitor(request(cookie=f"{COOKIE}={access.session('kim')}"))
    lee = access.visitor(request(cookie=f"{COOKIE}={access.session('lee')}"))
    assert access.form_is_ours(request(), kim, {"form_token": kim.csrf})
    assert access.form_is_ours(request(sec_fetch_site="same-origin"), kim, {"form_token": kim.csrf})
    assert not access.form_is_ours(request(sec_fetch_site="cross-site"), kim, {"form_token": kim.csrf})
    assert not access.form_is_ours(request(), kim, {"form_token": lee.csrf})
    assert not access.form_is_ours(request(), kim, {})
    assert not access.form_is_ours(request(), Visitor(), {"form_token": ""})


# -- JWT ----------------------------------------------------------------------------------------------------

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def by_jwt(tmp_path: Path) -> Access:
    jwk: dict[str, Any] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [jwk | {"kid": "k1", "use": "sig", "alg": "RS256"}]}))
    return Access(
        settings(JWKS=str(path), JWT_ISSUER="https://id.test", JWT_AUDIENCE="spendgate"), lambda: NOW
    )


def token(key: Any = KEY, alg: str = "RS256", **changes: Any) -> str:
    claims = {
        "iss": "https://id.test",
        "aud": "spendgate",
        "exp": 4_000_000_000,
        "email": "kim@acme.test",
    } | changes
    return jwt.encode(
        {k: v for k, v in claims.items() if v is not None}, key, algorithm=alg, headers={"kid": "k1"}
    )


def test_a_good_jwt_names_the_visitor(by_jwt: Access) -> None:
    assert who(by_jwt, request(authorization=f"Bearer {token()}")) == "kim@acme.test"
    assert who(by_jwt, request(authorization=f"Bearer {token(email=None, sub='u7')}")) == "u7"


BAD = {
    "another key": token(STRANGER),
    "another issuer": token(iss="https://evil.test"),
    "another audience": token(aud="grafana"),
    "expired": token(exp=1_000_000_000),
    "without an end": token(exp=None),
    "signed with a public text": token("k" * 32, "HS256"),
    "not signed": token("", "none"),
    "no JWT": "a.b.c",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_a_jwt_that_is_not_for_us_names_nobody(by_jwt: Access, text: str) -> None:
    assert who(by_jwt, request(authorization=f"Bearer {text}")) == ""


def test_a_jwks_that_can_not_be_read_is_named_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.json"):
        Access(settings(JWKS=str(tmp_path / "nothing.json"), JWT_ISSUER="i", JWT_AUDIENCE="a"), lambda: NOW)
