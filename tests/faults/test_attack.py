"""A team without a cent attacks the gateway: calls of every API in every dress, over HTTP/1.1 and HTTP/2, with aborts,
while workers and the gateway itself are killed and started anew. The provider's own books say what got through.

Short here; `make soak` attacks for ten minutes (SPENDGATE_SOAK_MINUTES).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path

import httpx
import pytest
import yaml
from support.attack.attacker import Attacker
from support.attack.attacks import attack
from support.attack.greedy_provider import GreedyProvider
from support.gateway import Gateway
from support.ports import free_port
from support.processes import WORKER

SECONDS = float(os.environ.get("SPENDGATE_SOAK_MINUTES", "0")) * 60 or 40
SEED = int(os.environ.get("SPENDGATE_ATTACK_SEED", random.randrange(10**9)))
POLICY = """
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata: {name: zero}
spec: {team: zero, monthlyBudgetUSD: 0}
"""


class Attacked:
    """A gateway under attack, with its provider; it can be started anew on its ports."""

    def __init__(self, folder: Path, provider: GreedyProvider, failure_mode: str) -> None:
        self._folder, self._provider = folder, provider
        self._config = {"failure_mode": failure_mode}
        self._ports = (free_port(), free_port())
        self._starts = 0
        self.let_through = 0
        """What Envoy counted as let through, of the Envoys that are gone."""
        self.gateway = self._start()

    def _start(self) -> Gateway:
        self._starts += 1
        return Gateway(
            self._folder, self._provider.url, POLICY, config=self._config, clean=False, ports=self._ports
        )

    def restart(self) -> None:
        """Stop it as an operator would, and start it again."""
        self.let_through += self.counted()
        self.stop()
        self.gateway = self._start()

    def stop(self) -> None:
        """The end, which must be an orderly one."""
        self.gateway.__exit__(None, None, None)

    def counted(self) -> int:
        """What this Envoy says that it let through without an answer of ours."""
        transport = httpx.HTTPTransport(uds=self._envoy_admin())
        with httpx.Client(transport=transport, base_url="http://envoy", timeout=30) as client:
            lines = client.get("/stats", params={"filter": "failure_mode_allowed"}).text.splitlines()
        return sum(int(line.rpartition(":")[2]) for line in lines)

    def _envoy_admin(self) -> str:
        config = yaml.safe_load((self.gateway.data_dir / "envoy.yaml").read_text())
        return str(config["admin"]["address"]["pipe"]["path"])


async def _kill_workers(attacked: Attacked, rng: random.Random, until: float) -> None:
    """Kill, end or freeze a worker every few seconds."""
    while time.monotonic() < until - 6:
        await asyncio.sleep(rng.uniform(2, 5))
        for worker in rng.sample(workers := attacked.gateway.command.children(WORKER), min(1, len(workers))):
            how = rng.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP))
            worker.send_signal(how)
            if how is signal.SIGSTOP:
                await asyncio.sleep(rng.uniform(0.5, 4))
                if worker.is_running():
                    worker.send_signal(signal.SIGCONT)


def _told(provider: GreedyProvider) -> str:
    calls = provider.billed[:20]
    return "\n".join(
        f"{call}\n   {attack(int(call.label)).extra if call.label.isdigit() else ''}" for call in calls
    )


@pytest.mark.timeout(SECONDS + 240)
async def test_a_team_without_money_reaches_no_model_whatever_it_sends_while_all_is_killed_and_started_anew(
    tmp_path: Path,
) -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    with GreedyProvider() as provider:
        attacked = Attacked(tmp_path, provider, "closed")
        attacker = Attacker(attacked.gateway.url, "zero", SEED * 1_000_000)
        end = time.monotonic() + SECONDS
        attacking = asyncio.create_task(attacker.run(lambda: time.monotonic() > end))
        await _kill_workers(attacked, rng, time.monotonic() + SECONDS / 2)
        await asyncio.to_thread(attacked.restart)  # under attack
        await _kill_workers(attacked, rng, end)
        await attacking
        await asyncio.to_thread(attacked.stop)
        print(attacker.sent, attacker.answers.most_common(12), provider.arrived)
        assert attacker.sent > 5 * SECONDS, attacker.answers
        assert not provider.billed, (
            f"seed {SEED}: {len(provider.billed)} of {attacker.sent}\n{_told(provider)}"
        )


@pytest.mark.timeout(SECONDS + 240)
async def test_where_envoy_may_let_calls_pass_no_more_get_through_than_it_counts(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    with GreedyProvider() as provider:
        attacked = Attacked(tmp_path, provider, "open")
        attacker = Attacker(attacked.gateway.url, "zero", SEED * 1_000_000)
        for seconds in (SECONDS / 2, SECONDS / 2):
            end = time.monotonic() + seconds
            attacking = asyncio.create_task(attacker.run(lambda end=end: time.monotonic() > end))  # type: ignore[misc]
            await _kill_workers(attacked, rng, end)
            await attacking
            await asyncio.to_thread(attacked.restart)  # nothing under way, so that Envoy's counter has all
        through = attacked.let_through
        await asyncio.to_thread(attacked.stop)
        print(attacker.sent, attacker.answers.most_common(12), provider.arrived, through)
        assert len(provider.billed) <= through, (
            f"seed {SEED}: {len(provider.billed)} billed, {through} let through\n{_told(provider)}"
        )
