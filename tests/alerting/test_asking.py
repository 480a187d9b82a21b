"""Where a question is shown."""

from __future__ import annotations

from typing import Any

import pytest

from alerting.asking import Asked, Place, Shown, digest_of, places
from schemas.config import RoutesConfig
from tests.alerting.questions import question

MEMBERS = {"ada": "U0ADA", "bo": "U0BO"}
ROUTES = RoutesConfig.model_validate(
    {
        "channels": {name: {"kind": "slack"} for name in ("deaf", "general", "search")} | {"pager": {"kind": "x"}},
        "routes": [{"teams": ["search"], "channels": ["pager", "search"]}, {"channels": ["general"]}],
    }
)
ASKING = {"deaf": False, "general": True, "search": True}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"to": ("ada",)}, [("general", "U0ADA")]),
        ({"to": ("ada", "bo")}, [("general", "U0ADA"), ("general", "U0BO")]),
        ({"to": ("ada", "cy")}, [("general", "U0ADA"), ("search", "")]),  # cy has no id: the team sees it too
        ({"to": ("cy",)}, [("search", "")]),
        ({"to": ()}, [("search", "")]),
        ({"to": (), "team": "ads"}, [("general", "")]),
    ],
)
def test_people_are_written_to_directly_and_who_cannot_be_is_asked_where_the_team_is(
    changes: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    found = places(question(**changes), ROUTES, asking=ASKING, member=lambda name: MEMBERS.get(name, ""))
    assert found == tuple(Place(*each) for each in expected)


def test_without_a_route_the_first_channel_that_can_ask_and_hears_is_taken() -> None:
    nowhere = ROUTES.model_copy(update={"routes": ()})
    assert places(question(to=()), nowhere, asking=ASKING, member=str) == (Place("general"),)
    assert places(question(to=()), nowhere, asking={"deaf": False}, member=str) == (Place("deaf"),)
    assert places(question(), nowhere, asking={}, member=str) == ()


def test_what_each_message_shows_is_kept_by_place() -> None:
    direct, team = Place("a|b", "U0ADA"), Place("general")
    shown = Shown(digest=digest_of(question()), reminded=0, ids={"ts": "1"})
    asked = Asked(question_id="q").now_shown(direct, shown).now_shown(team, shown)
    assert Asked.from_bytes(asked.to_bytes()).places() == (direct, team)
    assert (asked.at(direct), asked.at(Place("other"))) == (shown, None)


def test_other_words_are_another_version() -> None:
    assert digest_of(question()) == digest_of(question())
    assert digest_of(question(outcome="kept")) != digest_of(question())
