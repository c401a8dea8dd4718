"""One mock provider for all; one gateway a module, by the module's POLICY (and CONFIG, PRICES).

A module with `HOUSES` runs once for each: `up`, and the ways in which a mesh attaches the gateway
(support.meshes). `make mesh` runs more modules in every house of a mesh.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.gateway import Gateway
from support.meshes import HOUSES, Mesh
from support.provider import Provider
from support.raw_upstream import RawUpstream

EVERY = ("up", *HOUSES)
FIXTURES = ("gateway", "raw_gateway")
OF_UP = {"retrying"}
"""Fixtures that reach into the house of `up`."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the fixtures of a gateway their houses."""
    asked = os.environ.get("SPENDGATE_TEST_HOUSES", "")
    houses = getattr(metafunc.module, "HOUSES", ("up",))
    if asked and not OF_UP & set(metafunc.fixturenames):
        houses = [h for h in asked.split(",") if h in EVERY]
    for name in FIXTURES:
        if name in metafunc.fixturenames:
            # without a choice the names of the tests stay as they were
            ids = list(houses) if len(houses) > 1 else [pytest.HIDDEN_PARAM]
            metafunc.parametrize(name, houses, indirect=True, scope="module", ids=ids)


def opened(house: str, folder: Path, upstream: str, policy: str, **options: Any) -> Gateway:
    """A gateway in its house; a context manager."""
    if house == "up":
        return Gateway(folder, upstream, policy, **options)
    return Mesh(folder, upstream, policy, house=house, **options)


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with Provider(tmp_path_factory.mktemp("provider")) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    request: pytest.FixtureRequest, provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    module: ModuleType = request.module
    with opened(
        request.param,
        tmp_path_factory.mktemp("gateway"),
        provider.url,
        getattr(module, "POLICY", ""),
        config=getattr(module, "CONFIG", None),
        prices=getattr(module, "PRICES", ""),
    ) as running:
        yield running


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def raw_gateway(
    request: pytest.FixtureRequest, upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway before the raw upstream; the module's `RAW_UPSTREAM` has more fields of it."""
    module: ModuleType = request.module
    folder = tmp_path_factory.mktemp("raw")
    url, options = upstream.url, {}
    if fields := getattr(module, "RAW_UPSTREAM", None):
        url, options = "", {"config": {"upstreams": [{"name": "upstream", "url": upstream.url, **fields}]}}
    with opened(request.param, folder, url, getattr(module, "RAW_POLICY", ""), **options) as running:
        yield running
