"""A team without a cent attacks a gateway that has ext_authz alone: calls of every API in every dress. The provider's
own books say what got through."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from support.attack.attacker import Attacker
from support.attack.attacks import attack
from support.attack.greedy_provider import GreedyProvider
from support.authz_gateway import AuthzGateway, serving
from support.policy import budget, policy
from support.ports import free_port

SECONDS = float(os.environ.get("SPENDGATE_SOAK_MINUTES", "0")) * 60 or 15
SEED = int(os.environ.get("SPENDGATE_ATTACK_SEED", random.randrange(10**9)))


@pytest.mark.timeout(SECONDS + 240)
async def test_a_team_without_money_reaches_no_model_through_ext_authz_whatever_it_sends(
    tmp_path: Path,
) -> None:
    print(f"seed {SEED}")
    listen = f"127.0.0.1:{free_port()}"
    with (
        GreedyProvider() as provider,
        AuthzGateway(tmp_path, policy(budget("zero", 0)), {"failure_mode": "closed"}) as gateway,
    ):
        with serving(tmp_path / "e", listen, gateway.bootstrap(listen, provider.url)) as url:
            attacker = Attacker(url, "zero", SEED * 1_000_000)
            end = time.monotonic() + SECONDS
            await attacker.run(lambda: time.monotonic() > end)
        print(attacker.sent, attacker.answers.most_common(12), provider.arrived)
        assert attacker.sent > 5 * SECONDS, attacker.answers
        told = [f"{call}\n   {attack(int(call.label))}" for call in provider.billed[:20]]
        assert not provider.billed, f"seed {SEED}: {len(provider.billed)} of {attacker.sent}\n" + "\n".join(
            told
        )
