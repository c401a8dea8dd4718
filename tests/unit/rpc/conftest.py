"""Every test of the protocol runs on each engine."""

from __future__ import annotations

from functools import partial

import pytest
from support.grpc_peer import Make, Pair


@pytest.fixture(params=["ngh2", "h2"])
def pair(request: pytest.FixtureRequest) -> Make:
    """Makes a server and its peer."""
    return partial(Pair, request.param)
