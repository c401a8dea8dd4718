"""A new price takes effect while traffic runs: from a file that is replaced, and from a mounted ConfigMap, whose
files are links into a folder that is swapped at once. No request is dropped, and each pays one of the two prices.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from support.gateway import Gateway
from support.load import Load
from support.processes import until
from support.provider import Provider

PRICE = "models: {{gpt-4o: {{input: {i}, output: {o}}}}}\n"
CHEAP, DEAR = PRICE.format(i="1.00", o="5.00"), PRICE.format(i="3.00", o="9.00")


class ConfigMap:
    """A folder as kubelet makes it: `prices.yaml` → `..data/prices.yaml`, `..data` → the folder in force."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._turn = folder, 0
        folder.mkdir()

    def put(self, text: str) -> None:
        """Swap the content in one step."""
        self._turn += 1
        fresh = self.folder / f"..{self._turn}"
        fresh.mkdir()
        (fresh / "prices.yaml").write_text(text)
        link = self.folder / "..data_tmp"
        link.symlink_to(fresh.name)
        link.replace(self.folder / "..data")
        if not (self.folder / "prices.yaml").is_symlink():
            (self.folder / "prices.yaml").symlink_to("..data/prices.yaml")


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> ConfigMap:
    made = ConfigMap(tmp_path_factory.mktemp("mount") / "prices")
    made.put(CHEAP)
    return made


@pytest.fixture(scope="module")
def gateway(
    provider: Provider, mounted: ConfigMap, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with Gateway(folder, provider.url, env={"SPENDGATE_PRICES": str(mounted.folder)}) as running:
        yield running


def price(i: str, o: str, tokens: dict[str, int]) -> Decimal:
    return (tokens["input"] * Decimal(i) + tokens["output"] * Decimal(o)) / 1_000_000


def versions(gateway: Gateway) -> dict[str, float]:
    """Workers by the price table that they use."""
    found = gateway.metrics()["spendgate_price_table_workers"]
    return {dict(labels)["version"]: n for labels, n in found.items() if n}


def test_a_swapped_configmap_prices_what_comes_after_and_drops_nothing(
    gateway: Gateway, mounted: ConfigMap
) -> None:
    (before,) = versions(gateway)
    with Load(gateway, "loaded", at_once=6) as load:
        until(lambda: len(load.complete), lambda n: n >= 30, "traffic")
        mounted.put(DEAR)
        swapped = time.monotonic()
        after = until(
            lambda: versions(gateway), lambda v: before not in v and len(v) == 1, "both workers to change"
        )
        took = time.monotonic() - swapped
        seen = len(load.complete)
        until(lambda: len(load.complete), lambda n: n >= seen + 30, "traffic at the new price")
    print(f"in force in all workers after {took:.2f} s")
    assert load.broken == 0
    assert {r.status for r in load.results} == {200}
    lines = gateway.lines("loaded", len(load.results))
    assert len(lines) == len(load.results)
    (new,) = after
    paid = {before: Decimal(0), new: Decimal(0)}
    for line in lines:
        own = {before: ("1.00", "5.00"), new: ("3.00", "9.00")}[line["price_version"]]
        assert Decimal(line["cost_usd"]) == price(*own, line["tokens"])
        paid[line["price_version"]] += Decimal(line["cost_usd"])
    assert all(paid.values())
    assert gateway.spent("loaded", len(lines)) == sum(paid.values())


def test_a_bad_price_file_leaves_the_last_good_prices_in_force(gateway: Gateway, mounted: ConfigMap) -> None:
    before = versions(gateway)
    refused = gateway.metric("spendgate_policy_reload_errors_total")
    mounted.put("models: {gpt-4o: {input: lots, output: 1}}\n")
    until(
        lambda: gateway.metric("spendgate_policy_reload_errors_total"), lambda n: n > refused, "the refusal"
    )
    told = until(lambda: gateway.logged("reload_refused"), bool, "a worker's word about it")
    assert "models.gpt-4o.input" in told[0]
    assert versions(gateway) == before
    mounted.put(CHEAP)
    until(lambda: versions(gateway), lambda v: v != before and len(v) == 1, "the mended prices")


def test_the_catalogues_day_is_a_metric(gateway: Gateway) -> None:
    from spendgate.pricing.catalogue import builtin

    assert (
        gateway.metric("spendgate_price_catalogue_checked_timestamp_seconds") == builtin().checked_ms / 1000
    )


def test_an_unpriced_model_is_logged_once_and_counted_each_time(gateway: Gateway) -> None:
    for _ in range(3):
        gateway.openai.chat.completions.create(
            model="gpt-never-heard-of",
            messages=[{"role": "user", "content": "hi"}],
            max_tokens=5,
            extra_headers={"x-llm-team": "unpriced"},
        )
    name = "spendgate_unpriced_requests_total"
    assert until(lambda: gateway.metric(name, model="gpt-never-heard-of"), lambda n: n >= 3, "the count") == 3
    logged = [x for x in gateway.logged("unpriced") if "gpt-never-heard-of" in x]
    assert 1 <= len(logged) <= 2  # once a worker
    lines = gateway.lines("unpriced", 3)
    assert all(x["priced_by"]["stand_in"] for x in lines)
    assert all(Decimal(x["cost_usd"]) > 0 for x in lines)
