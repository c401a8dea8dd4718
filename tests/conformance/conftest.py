"""One mock provider for all; one gateway a module, by the module's POLICY (and CONFIG, PRICES)."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest
from support.gateway import Gateway
from support.provider import Provider
from support.raw_upstream import RawUpstream


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with Provider(tmp_path_factory.mktemp("provider")) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    request: pytest.FixtureRequest, provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    module: ModuleType = request.module
    with Gateway(
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
    """A gateway before the raw upstream."""
    module: ModuleType = request.module
    folder = tmp_path_factory.mktemp("raw")
    with Gateway(folder, upstream.url, getattr(module, "RAW_POLICY", "")) as running:
        yield running
