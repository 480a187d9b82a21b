"""`keyfuse budgets`: what the desk told last, as a table and as JSON."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from controls.budgets import period_of
from schemas.spend import BudgetLevel, BudgetStatus, DegradeSum
from service.budgets_command import budgets
from service.errors import UserError
from service.install import wall_ms
from streams.kafka import create_topics, producer
from streams.outbox import Outbox
from streams.topics import Topic, Topics
from tests.brokers import Broker

WRITTEN = [
    {"name": "search in production", "teams": ["search"], "usd": 3000, "owner": "ann"},
    {"name": "tokens of today", "period": "day", "tokens": 1_000_000},
    {"name": "unheard of", "period": "week", "usd": 5},
]


def status(name: str, level: BudgetLevel, spent_usd: float, *, now_ms: int, tokens: int = 0) -> BudgetStatus:
    month = name.startswith("search")
    span = period_of("month" if month else "day", now_ms)
    return BudgetStatus(
        budget=name, scope="", at_ms=now_ms, period=span.name, period_from_ms=span.from_ms,
        period_until_ms=span.until_ms, level=level, spent_nano_usd=round(spent_usd * 1e9), spent_tokens=tokens,
        limit_nano_usd=3000 * 10**9 if month else None, limit_tokens=None if month else 1_000_000,
        projected_nano_usd=3500 * 10**9 if month else None, reason=f"{name}: a sentence",
    )  # fmt: skip


def said(config: Path, name: str = "", *, as_json: bool = False, quotas: bool = False) -> str:
    text = io.StringIO()
    budgets(config, name, quotas=quotas, as_json=as_json, out=Console(file=text, width=160))
    return text.getvalue()


@pytest.fixture
def config(tansu_broker: Broker, prefix: str, tmp_path: Path) -> Path:
    wiring = {"data_dir": str(tmp_path), "kafka": {"bootstrap": tansu_broker.bootstrap, "topic_prefix": prefix}}
    (tmp_path / "keyfuse.yaml").write_text(yaml.safe_dump(wiring))
    (tmp_path / "budgets.yaml").write_text(yaml.safe_dump({"budgets": WRITTEN}))
    return tmp_path


def degraded(budget: str, at_ms: int) -> DegradeSum:
    return DegradeSum(
        gate="g1/1", hour=at_ms // 3_600_000, budget=budget, team="search", app="web", env="prod", model="dear",
        instead="cheap", calls=7, settled=6, spent_nano_usd=10**9, saved_nano_usd=15 * 10**8,
    )  # fmt: skip


async def tell(broker: Broker, prefix: str, *records: BudgetStatus | DegradeSum) -> None:
    topics = Topics(prefix)
    await create_topics(broker.bootstrap, topics.specs())
    sender = producer(broker.bootstrap)
    await sender.start()
    for each in records:
        topic, key = (Topic.SAVINGS, each.name) if isinstance(each, DegradeSum) else (Topic.BUDGETS, each.budget)
        await Outbox(sender, topics).send(topic, [(key, each)])
    await sender.stop()


def test_the_table_has_a_bar_for_each_budget(tansu_broker: Broker, prefix: str, config: Path) -> None:
    now_ms = wall_ms()
    asyncio.run(tell(
        tansu_broker, prefix, status("search in production", "projected", 2400, now_ms=now_ms),
        status("tokens of today", "ok", 0, now_ms=now_ms, tokens=250_000),
        status("unheard of", "stopped", 9, now_ms=now_ms - 15 * 86_400_000),  # of a period that is over
        status("quota of k1", "ok", 0, now_ms=now_ms),
    ))  # fmt: skip
    lines = said(config).splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == ["search in production", "tokens of today", "unheard of"]
    assert "$2,400.00" in lines[1]
    assert "█████████████░░░  80%" in lines[1]
    assert "will not last" in lines[1]
    assert "████░░░░░░░░░░░░  25%" in lines[2]
    assert "nothing heard yet" in lines[3]
    assert lines[4:] == ["search in production: a sentence"]
    moved = degraded("search in production", now_ms)
    asyncio.run(tell(tansu_broker, prefix, moved, degraded("tokens of today", now_ms - 40 * 86_400_000)))
    assert said(config).splitlines()[5:] == [
        "  cheaper models: 7 calls moved, $1.50 saved by the price table (6 calls with known tokens)",
        "    dear → cheap, web: 7 calls",
    ]
    rows = [json.loads(line) for line in said(config, as_json=True).splitlines()]
    assert [(row["budget"], row["level"], row.get("used")) for row in rows] == [
        ("search in production", "projected", 0.8), ("tokens of today", "ok", 0.25), ("unheard of", None, None),
    ]  # fmt: skip
    assert "quota of k1" in said(config, quotas=True)
    with pytest.raises(UserError, match=r'did you mean "search in production"\?'):
        said(config, "search in producton")
