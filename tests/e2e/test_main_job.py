"""A page from the vendor becomes a priced stone that a storefront finds, and the numbers add up."""

import asyncio
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from adamas.stack import VENDOR_PASSWORD, VENDOR_PATH, VENDOR_USERNAME
from tests.e2e.conftest import Running


def _vendor_stones(running: Running) -> list[dict[str, Any]]:
    lines: list[str] = []
    for feed in httpx.get(running.simulator + "/_sim/stats").json()["feeds"]:
        url = f"{running.simulator}/_sim/stones"
        lines += httpx.get(url, params={"feed": feed, "limit": 100_000}, timeout=30).text.splitlines()
    return [json.loads(line) for line in lines]


def _eventually(holds: Any, what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


async def test_every_stone_is_sold_or_in_the_dead_letters(running: Running) -> None:
    vendor = _vendor_stones(running)
    good = {f"{stone['feed']}:{stone['id']}" for stone in vendor if stone["fault"] is None}
    planted = [stone["fault"] for stone in vendor if stone["fault"] is not None]
    assert planted, "the simulator planted no fault: this test would prove nothing"
    deadline = time.monotonic() + 60
    while True:
        # The API knows a stone before Postgres does, and only the API was waited for.
        rows = await running.fetch("SELECT id FROM diamonds WHERE retired_at IS NULL")
        if len(rows) >= len(good) or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    assert {row["id"] for row in rows} == good
    assert running.get("/v1/diamonds", limit=1)["total"] == len(good)


def _last_values(kafka: str) -> dict[str, str | None]:
    if shutil.which("kcat") is None:
        pytest.skip("needs kcat; on Debian: apt-get install kcat")
    consumed = subprocess.run(
        ["kcat", "-C", "-e", "-q", "-b", kafka, "-t", "diamonds.canonical", "-f", "%k\t%S\t%s\n"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    last: dict[str, str | None] = {}
    for line in consumed.stdout.splitlines():
        key, length, value = line.split("\t", 2)
        if not key.endswith(":"):
            last[key] = value if int(length) >= 0 else None
    return last


async def test_api_postgres_and_the_topic_agree(running: Running) -> None:
    last = _last_values(running.kafka)
    stones = [json.loads(value) for value in last.values() if value]
    in_topic = sum(stone["availability"] == "available" for stone in stones)
    rows = await running.fetch("SELECT count(*) AS number FROM available_diamonds")
    assert running.get("/v1/diamonds", limit=1)["total"] == rows[0]["number"] == in_topic > 0


async def test_five_hundred_prices_are_the_vendors_cost_with_the_named_margin(running: Running) -> None:
    margins = {
        row["id"]: (row["margin_bps"], row["rule"], row["rules_version"])
        for row in await running.fetch("SELECT id, margin_bps, rule, rules_version FROM diamonds")
    }
    base = {"base:natural": 4_000, "base:lab_grown": 7_900, "base:fancy": 4_000}
    checked = 0
    for stone in _vendor_stones(running):
        if stone["fault"] is not None:
            continue
        item = running.get(f"/v1/diamonds/{stone['feed']}:{stone['id']}")
        bps, rule, number = margins[item["id"]]
        assert (item["rule"], item["rules_version"]) == (rule, number)
        if number == 1:
            assert bps == base[rule]
        assert item["price_cents"] == (stone["cost_cents"] * (10_000 + bps) + 5_000) // 10_000
        assert item["cost_cents"] == stone["cost_cents"]
        checked += 1
        if checked == 500:
            return
    pytest.fail(f"only {checked} stones to compare")


def test_the_vendors_limit_was_kept(running: Running) -> None:
    stats = httpx.get(running.simulator + "/_sim/stats").json()
    assert stats["violations"] == 0
    assert 0 < stats["most_in_a_second"] <= 25


async def test_a_published_rule_set_reaches_every_stone(running: Running, tmp_path: Path) -> None:
    table = tmp_path / "rules.yaml"
    table.write_text(
        "base: {natural_bps: 4100, lab_grown_bps: 8000, fancy_bps: 4100}\n"
        "rules:\n"
        "  - {name: small rounds, priority: 10, when: {shape: ROUND, carat: {below: 1}}, margin_bps: 5000}\n"
    )
    # More than half of the stock changes its price, which a guardrail asks a reason for.
    because = ["--reason", "tried in a test", "--override", "all of them, on purpose"]
    published = running.adamas("rules", "publish", str(table), *because)
    assert published.returncode == 0, published.stderr
    number = (await running.fetch("SELECT max(number) AS number FROM rulesets"))[0]["number"]

    def every_stone_has_it() -> bool:
        return all(item["rules_version"] == number for item in running.walk())

    _eventually(every_stone_has_it, "re-pricing did not bring the old stones over")
    stored = "SELECT count(*) AS number FROM diamonds WHERE rules_version < " + str(number)
    deadline = time.monotonic() + 60
    while (await running.fetch(stored))[0]["number"]:
        assert time.monotonic() < deadline, "Postgres still has stones of the old rule set"
    wrong = await running.fetch(
        "SELECT id, rule, margin_bps FROM diamonds WHERE margin_bps <> CASE"
        " WHEN shape = 'ROUND' AND carat < 1 THEN 5000"
        " WHEN rule = 'base:lab_grown' THEN 8000 ELSE 4100 END"
        " OR price_cents <> floor((cost_cents * (10000 + margin_bps)::numeric + 5000) / 10000)"
    )
    assert wrong == []


def test_a_bad_rule_file_is_refused_with_row_and_field(running: Running, tmp_path: Path) -> None:
    table = tmp_path / "rules.yaml"
    table.write_text("rules: [{name: a, priority: 1, when: {sparkle: 1}, margin_bps: 1}]")
    refused = running.adamas("rules", "publish", str(table), "--reason", "tried in a test")
    assert refused.returncode != 0
    assert "row 1.when.sparkle" in refused.stderr


def test_availability_comes_from_the_vendor_and_has_corrected_the_stock(running: Running) -> None:
    stone = running.get("/v1/diamonds", limit=1, feed="nivoda-natural", sort="-price_cents")["items"][0]["id"]
    assert running.get(f"/v1/diamonds/{stone}/availability")["availability"] == "available"
    held = _hold_as_somebody_else(running, stone.partition(":")[2])
    assert not held["denied"]
    answer = running.get(f"/v1/diamonds/{stone}/availability")
    assert (answer["availability"], answer["in_stock"]) == ("on_hold", True)
    assert running.get(f"/v1/diamonds/{stone}")["availability"] == "on_hold"
    unknown = httpx.get(
        f"{running.api}/v1/diamonds/nivoda-natural:00000000-0000-4000-8000-000000000000/availability",
        headers={"X-API-Key": running.key},
        timeout=30,
    )
    assert unknown.status_code == 404


def _hold_as_somebody_else(running: Running, stone: str) -> dict[str, Any]:
    url = f"{running.simulator}{VENDOR_PATH}"
    login = (
        "query Login($u: String!, $p: String!)"
        " { authenticate { username_and_password(username: $u, password: $p) { token } } }"
    )
    account = {"u": VENDOR_USERNAME, "p": VENDOR_PASSWORD}
    session = httpx.post(url, json={"query": login, "variables": account}).json()["data"]["authenticate"]
    hold = f'mutation {{ create_hold(ProductId: "{stone}", ProductType: Diamond) {{ id denied }} }}'
    token = session["username_and_password"]["token"]
    reply = httpx.post(url, json={"query": hold}, headers={"Authorization": f"Bearer {token}"}).json()
    return dict(reply["data"]["create_hold"])
