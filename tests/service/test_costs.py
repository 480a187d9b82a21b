"""`keyfuse costs` as finance and the person on call use it: the same figures in words, JSON, files and the picture."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import orjson
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import SecretStr
from rich.console import Console

from service import costs_command
from service.costs_answer import Asked, CostsAnswer, Outlook, costs_answer, month_of
from service.costs_command import Said, asked_for, lines
from service.costs_picture import draw
from service.errors import UserError
from service.http_app import create_app
from service.install import wall_ms
from service.query_commands import StoreAnswers
from storage.client import open_store
from storage.migrate import migrate
from storage.store import Store
from storage.testing import fresh_dsn
from streams.health import Health
from streams.metrics import Metrics
from tests.storage.frames import HOUR_MS, T0, Use, archive_uses

DAY_MS = 24 * HOUR_MS
USES = [
    Use("a", 0, team="search", app="web/search", user_id="u1", cost_nano_usd=1_234_567_891),
    Use("b", 1, team="search", app="web/chat", user_id="u2", cost_nano_usd=1),
    Use("c", 2, team="growth", app="=cmd()", cost_nano_usd=10_000_000_000),
    Use("d", 3, team="growth", ts_ms=T0 - 9 * DAY_MS, cost_nano_usd=20_000_000_000),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration whose store holds the four events."""
    directory, dsn = tmp_path_factory.mktemp("costs"), fresh_dsn()
    store = open_store(dsn)
    migrate(store, retention_days=36_500)
    archive_uses(store, USES)
    store.close()
    (directory / "keyfuse.yaml").write_text(f"data_dir: {directory}\nstore: {{dsn: '{dsn}'}}\n")
    return directory


def said_of(folder: Path, said: Said) -> str:
    told = io.StringIO()
    costs_command.costs(folder, said, out=Console(file=told, width=300, highlight=False, soft_wrap=True))
    return told.getvalue()


NOVEMBER = Said(month="2026-11")


def test_in_words(folder: Path) -> None:
    told = said_of(folder, NOVEMBER._replace(by="team,feature")).splitlines()
    assert told[0].startswith("2026-11-01 to ")
    assert "$31.23 in 4 requests" in told[0]
    by_group = {
        " ".join(line.split()[-2:]): line
        for line in told
        if line.startswith("  ") and "$" not in line and "+" not in line and " gone " not in line
    }
    assert "growth -" in by_group
    assert by_group["search search"].split()[:3] == ["1.23", "4", "%"]
    assert "1.2346" in by_group["search search"], "per request"
    assert "61.7284" in by_group["search search"] or "61.73" in by_group["search search"], "per 1,000 of 20 tokens"


def test_as_json_to_the_nano_dollar(folder: Path) -> None:
    told = orjson.loads(said_of(folder, NOVEMBER._replace(as_json=True, by="app")))
    assert told["total"]["usd"] == "31.234567892"
    assert sum(row["cost_nano_usd"] for row in told["rows"]) == told["total"]["cost_nano_usd"] == 31_234_567_892
    [web] = [row for row in told["rows"] if row["app"] == "web"]
    assert (web["users"], web["usd_per_user"], web["cache_share"]) == (2, pytest.approx(0.617283946), 0.1)


def test_the_showback_adds_up_and_starts_no_formula(folder: Path, tmp_path: Path) -> None:
    files = NOVEMBER._replace(csv=tmp_path / "costs.csv", parquet=tmp_path / "costs.parquet")
    assert "costs.parquet" in said_of(folder, files)
    with (tmp_path / "costs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = pq.read_table(tmp_path / "costs.parquet")
    assert sum(Decimal(row["usd"]) for row in rows) == sum(table["usd"].to_pylist()) == Decimal("31.234567892")
    assert {row["app"] for row in rows} == {"web", "'=cmd()", "unknown"}
    assert set(table["feature"].to_pylist()) == {"search", "chat", ""}


def test_the_picture_of_the_same_figures_is_the_same(folder: Path, tmp_path: Path, store_answer: CostsAnswer) -> None:
    pictures = [tmp_path / "one.png", tmp_path / "two.png"]
    for path in pictures:
        draw(store_answer, path)
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    said_of(folder, NOVEMBER._replace(picture=pictures[0]))
    with Image.open(pictures[0]) as drawn:
        assert drawn.size[0] > 800


def test_the_worker_gives_the_same_answer(folder: Path) -> None:
    """Over HTTP with lists and bounds as the command sends them."""
    dsn = (folder / "keyfuse.yaml").read_text().split("'")[1]
    store = open_store(dsn)
    app = create_app(
        routers=(), health=Health(), metrics=Metrics(), monotonic_s=lambda: 0.0, token=SecretStr("t"),
        answers=StoreAnswers(lambda: store),
    )  # fmt: skip
    asked = {"from_ms": T0 - DAY_MS, "until_ms": T0 + DAY_MS, "by": ["team", "app"], "team": "search"}

    async def get(**parameters: Any) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://k") as client:
            return await client.get("/v1/costs", params=parameters, headers={"authorization": "Bearer t"})

    async def both() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        return await get(**asked), await get(from_ms=5, until_ms=4), await get(by="moon")

    import asyncio  # noqa: PLC0415

    answer, backwards, unknown = asyncio.run(both())
    found = CostsAnswer.model_validate(answer.json())
    assert found == costs_answer(store, Asked(**asked), now_ms=found.now_ms)
    assert [row.group for row in found.rows] == [("search", "web")]
    assert (backwards.status_code, unknown.status_code) == (422, 422)
    store.close()


def test_a_month_under_way_is_foretold() -> None:
    store = open_store(fresh_dsn())
    migrate(store, retention_days=36_500)
    now_ms = month_of(T0)[0] + 20 * DAY_MS + 12 * HOUR_MS
    archive_uses(
        store,
        [Use(f"e{n}", n, ts_ms=now_ms - n * HOUR_MS - 1, cost_nano_usd=1_000_000_000) for n in range(40 * 24)],
    )
    told = costs_answer(store, Asked(), now_ms=now_ms)
    store.close()
    assert told.outlook is not None
    assert told.outlook.expected == pytest.approx(30 * 24 * 10**9, rel=0.01)
    assert told.rollup_nano_usd == told.total.cost_nano_usd
    assert sum(nano for _, nano in told.days) == told.total.cost_nano_usd
    assert any(line.startswith("by 2026-12-01: about $7") for line in lines(told))


def test_what_is_doubtful_is_said(store_answer: CostsAnswer) -> None:
    total = store_answer.total._replace(unpriced=3)
    few = Outlook(expected=2 * 10**9, low=10**9, high=3 * 10**9, days=9)
    told = "\n".join(lines(store_answer.model_copy(update={"total": total, "rollup_nano_usd": 1, "outlook": few})))
    assert "3 requests of models without a price: counted, at 0 USD" in told
    assert "only 9 days of history" in told
    assert "USD against the screens, which go by the first word" in told


@pytest.fixture
def store_answer() -> CostsAnswer:
    store: Store = open_store(fresh_dsn())
    migrate(store, retention_days=36_500)
    archive_uses(store, [replace(use, event_id=f"x{use.event_id}") for use in USES])
    answer = costs_answer(store, Asked(from_ms=0, until_ms=T0 + DAY_MS), now_ms=T0)
    store.close()
    return answer


def test_nothing_used_is_said(folder: Path) -> None:
    assert "nothing was used" in said_of(folder, Said(month="2020-02"))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (Said(by="moon"), "--by moon: expected some of team, app"),
        (Said(by="team,team"), "each once"),
        (Said(by=","), "--by ,: expected some of"),
        (Said(month="2026-13"), "--month 2026-13: expected a month like 2026-11"),
        (Said(month="last"), "--month last"),
        (Said(month="2026-11", since="7d"), "one of the two"),
        (Said(since="1d", until="2d"), "is not after"),
    ],
)
def test_a_question_that_makes_no_sense_is_named(said: Said, words: str) -> None:
    with pytest.raises(UserError, match=words.replace("|", ".")):
        asked_for(said, now_ms=wall_ms())


def test_a_file_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        said_of(tmp_path / "none", Said(csv=tmp_path / "no" / "such.csv"))
    with pytest.raises(UserError, match="a folder"):
        said_of(tmp_path / "none", Said(picture=tmp_path))


def test_bounds_left_open_mean_until_now_and_that_month() -> None:
    assert asked_for(Said(since="2026-11-20"), now_ms=T0).until_ms == T0
    assert asked_for(Said(until="2026-10-20"), now_ms=T0).from_ms == month_of(T0 - 31 * DAY_MS)[0]
    assert asked_for(Said(), now_ms=T0).from_ms is None
