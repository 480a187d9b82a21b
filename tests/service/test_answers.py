"""Where the desk looks up what it is asked about: the view while it fills, the store behind it, and who is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from alerting.answers.errors import Unavailable
from schemas.config import RoutesConfig, WiringConfig
from schemas.config.routes import ChannelConfig, PagerDutyConfig
from schemas.records import Incident, Step
from service.answers import for_good, older, ways_back
from service.config_tree import Folder
from service.edges import Edges
from service.install import Install
from service.pagerduty_webhook import webhook_secrets
from service.secrets import SecretMissing
from storage.errors import Unreachable
from storage.store import Store
from streams.incident_view import IncidentView
from streams.metrics import Metrics
from tests.alerting.world import FACTS, incident

KNOWN, OLD = incident(incident_id="inc_known"), incident(incident_id="inc_old")


class Shelf:
    """A store with one incident; or away."""

    def __init__(self, *, away: bool = False) -> None:
        self._away = away

    def incident(self, incident_id: str) -> Incident | None:
        if self._away:
            raise Unreachable("nobody answers at secret-host:8123")
        return OLD if incident_id == OLD.incident_id else None

    def __call__(self) -> Store:
        return cast(Store, self)


def view(*, filled: bool) -> IncidentView:
    one = IncidentView()
    one.take(KNOWN.to_bytes())
    if filled:
        one.filled.set()
    return one


@pytest.mark.parametrize(
    ("name", "filled", "store", "found"),
    [
        ("inc_known", True, None, KNOWN),
        ("inc_old", True, Shelf(), OLD),
        ("inc_old", True, None, None),
        ("inc_other", True, Shelf(), None),
        ("inc_old", False, Shelf(), OLD),
    ],
)
async def test_the_view_is_asked_first_and_then_the_store(
    name: str, filled: bool, store: Callable[[], Store] | None, found: Incident | None
) -> None:
    assert await older(name, view(filled=filled), store, filling_s=0.01) == found


@pytest.mark.parametrize(
    ("filled", "store", "words"),
    [(False, None, "still being read"), (True, Shelf(away=True), "the store does not answer")],
)
async def test_who_cannot_say_that_there_is_none_says_so(
    filled: bool, store: Callable[[], Store] | None, words: str
) -> None:
    with pytest.raises(Unavailable, match=words) as caught:
        await older("inc_other", view(filled=filled), store, filling_s=0.01)
    assert "secret-host" not in str(caught.value)


async def test_a_click_right_after_the_start_waits_for_the_view() -> None:
    filling = IncidentView()
    asked: asyncio.Task[Any] = asyncio.create_task(older("inc_known", filling, None, filling_s=20))
    await asyncio.sleep(0)
    filling.take(KNOWN.to_bytes())
    filling.filled.set()
    assert await asked == KNOWN


@pytest.mark.parametrize(
    ("roles", "hook", "loops", "routers"),
    [
        ({"http"}, "PD_HOOK", ["incidents"], 1),
        ({"http", "notify"}, "PD_HOOK", ["incidents"], 1),
        ({"http"}, "", [], 0),
        ({"notify"}, "PD_HOOK", [], 0),
        ({"score"}, "PD_HOOK", [], 0),
    ],
)
async def test_a_worker_listens_only_where_routes_yaml_asks_for_it(
    roles: set[str], hook: str, loops: list[str], routers: int, tmp_path: Path
) -> None:
    pager = ChannelConfig(kind="pagerduty", pagerduty=PagerDutyConfig(webhook_secret_env=hook))
    folder = Folder(routes=RoutesConfig(channels={"oncall": pager, "plain": ChannelConfig(kind="pagerduty")}))
    install = Install(folder, tmp_path, environ={"PD_HOOK": "s3cret"})
    edges = SimpleNamespace(install=install, metrics=Metrics(), now_ms=lambda: 0)
    ways = ways_back(cast(Edges, edges), None, roles, lambda: True)
    assert (list(ways.loops), len(ways.routers)) == (loops, routers)


@pytest.mark.parametrize(
    ("provider", "step", "final"),
    [("ours", "disable", True), ("ours", "block", False), ("ours", "revoke", True), ("elsewhere", "disable", False)],
)
def test_what_cannot_be_undone_is_asked_of_the_keys_provider(
    provider: str, step: Step, final: bool, tmp_path: Path
) -> None:
    steps = {"disable": {"reversible": False, "breaks": "all"}, "block": {"reversible": True, "breaks": "all"}}
    wiring = WiringConfig.model_validate(
        {"providers": {"ours": {"kind": "webhook", "base_url": "https://ours.example", "steps": steps}}}
    )
    known = incident(facts=FACTS.model_copy(update={"provider": provider}))
    assert for_good(Install(Folder(wiring=wiring), tmp_path, environ={}), known, step) == final


def test_a_webhook_secret_that_is_named_and_not_there_is_said_so(tmp_path: Path) -> None:
    pager = ChannelConfig(kind="pagerduty", pagerduty=PagerDutyConfig(webhook_secret_env="PD_HOOK"))
    install = Install(Folder(routes=RoutesConfig(channels={"oncall": pager})), tmp_path, environ={})
    with pytest.raises(SecretMissing, match="webhook of channel oncall: the environment variable PD_HOOK is not set"):
        webhook_secrets(install)
