"""Each incident names the page that says what to do, and the page is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from alerting.channels.slack_blocks import render
from alerting.message import message
from alerting.runbook import ANY, as_link, runbook
from schemas.config import RoutesConfig
from schemas.records import Family
from tests.alerting.kinds import build
from tests.alerting.servers import serving
from tests.alerting.world import incident

ROOT = Path(__file__).parents[2]
WIKI = "https://wiki.example.com/r/{family}?a=1&b=2"
PAGES = (*get_args(Family), ANY)
SECTIONS = ("## What it means", "## Look at first", "## When it is healthy", "## What to do")


@pytest.mark.parametrize("family", PAGES)
def test_every_family_has_a_page_where_the_default_points(family: str) -> None:
    page = ROOT / RoutesConfig().runbook_url.replace("{family}", family)
    text = page.read_text(encoding="utf-8")
    places = [text.find(section) for section in SECTIONS]
    assert min(places) > 0
    assert places == sorted(places)
    assert "keyfuse " in text, "a page without a command helps nobody at night"


def test_every_page_belongs_to_a_family() -> None:
    assert {page.stem for page in (ROOT / "docs/runbooks").glob("*.md")} == set(PAGES)


@pytest.mark.parametrize(
    ("changes", "page"),
    [
        ({"families": ("velocity", "economics"), "scores": {"velocity": 6.0, "economics": 9.0}}, "economics"),
        ({"families": ("velocity", "policy"), "scores": {"velocity": 9.0}}, "policy"),
        ({"families": ()}, "README"),
    ],
)
def test_the_page_is_that_of_the_weightiest_family(changes: dict[str, Any], page: str) -> None:
    assert runbook(incident(**changes)) == f"docs/runbooks/{page}.md"
    assert ("What to do", f"docs/runbooks/{page}.md") in message(incident(**changes)).facts


def test_only_an_address_is_a_link() -> None:
    _, blocks = render(incident(), WIKI)
    assert "<https://wiki.example.com/r/velocity?a=1&amp;b=2|velocity?a=1&b=2>" in str(blocks)
    _, blocks = render(incident())
    assert "docs/runbooks/velocity.md" in str(blocks)
    assert "|" not in str(blocks)
    assert as_link("javascript:alert(1)") is None


async def test_pagerduty_and_the_webhook_carry_it() -> None:
    async with serving(lambda *_: '{"status": "success", "dedup_key": "x"}') as server:
        for kind in ("pagerduty", "webhook"):
            channel = build(kind, server.url)
            await channel.deliver(incident(), None)
            await channel.close()
    event, post = (arrived.json for arrived in server.arrived)
    assert event["payload"]["custom_details"]["What to do"] == post["runbook"] == "docs/runbooks/velocity.md"
    assert event["links"] == [], "PagerDuty takes only addresses"


@pytest.mark.parametrize(
    "url", ["https://wiki.example.com/", "https://x/{family}|y", "https://x/{family}>", "a b/{family}"]
)
def test_a_page_address_that_cannot_work_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        RoutesConfig(runbook_url=url)
