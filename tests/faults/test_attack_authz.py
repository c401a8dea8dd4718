"""A team without a cent attacks a gateway that has ext_authz alone: calls of every API in every dress. The provider's
own books say what got through."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from support.attack.attacker import Attacker
from support.attack.attacks import attack
from support.attack.greedy_provider import GreedyProvider
from support.policy import budget, policy
from support.ports import free_port
from support.processes import SPENDGATE, Command
from support.sidecars import envoy

SECONDS = float(os.environ.get("SPENDGATE_SOAK_MINUTES", "0")) * 60 or 15
SEED = int(os.environ.get("SPENDGATE_ATTACK_SEED", random.randrange(10**9)))


@pytest.mark.timeout(SECONDS + 240)
async def test_a_team_without_money_reaches_no_model_through_ext_authz_whatever_it_sends(
    tmp_path: Path,
) -> None:
    print(f"seed {SEED}")
    (tmp_path / "policy.yaml").write_text(policy(budget("zero", 0)))
    (tmp_path / "config.yaml").write_text(json.dumps({"failure_mode": "closed"}))
    config = ["--config", str(tmp_path / "config.yaml")]
    listen, admin, grpc = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}", f"unix:{tmp_path}/w"
    with GreedyProvider() as provider:
        serve = Command(
            tmp_path / "serve",
            ["serve", "--grpc", grpc, "--workers", "2", "--admin", admin, "--data-dir", str(tmp_path / "data"),
             "--policy", str(tmp_path / "policy.yaml"), *config],
        )  # fmt: skip
        serve.ready()
        rendered = await asyncio.to_thread(
            subprocess.run,
            [SPENDGATE, "render", "bootstrap", "--entry", "ext_authz", "--listen", listen, "--upstream", provider.url,
             "--grpc", grpc, "--workers", "2", *config],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        try:
            with envoy(tmp_path / "e", yaml.safe_load(rendered.stdout)):
                attacker = Attacker(f"http://{listen}", "zero", SEED * 1_000_000)
                end = time.monotonic() + SECONDS
                await attacker.run(lambda: time.monotonic() > end)
        finally:
            assert serve.stop() == 0, serve.stderr
        print(attacker.sent, attacker.answers.most_common(12), provider.arrived)
        assert attacker.sent > 5 * SECONDS, attacker.answers
        told = [f"{call}\n   {attack(int(call.label))}" for call in provider.billed[:20]]
        assert not provider.billed, f"seed {SEED}: {len(provider.billed)} of {attacker.sent}\n" + "\n".join(
            told
        )
