"""Where the desk looks up what it is asked about: the view while it fills, the store behind it, and who is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from alerting.answers.errors import Unavailable
from schemas.records import Incident
from service.answers import older
from storage.errors import Unreachable
from storage.store import Store
from streams.incident_view import IncidentView
from tests.alerting.world import incident

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
