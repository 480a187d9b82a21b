"""What people say of follow-ups, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from controls.desks import IdentityState
from controls.follow_ups import FollowUpDesk
from controls.people import People
from schemas.config import PeopleConfig
from schemas.config.people import PersonConfig
from schemas.follow_up import FollowUp, FollowUpWord

NOW_MS = 1_795_428_000_000
PEOPLE = People(PeopleConfig(people={"ann": PersonConfig(role="responder"), "vic": PersonConfig(role="viewer")}))
ADD: dict[str, Any] = {"incident_id": "inc_1", "key_id": "k", "words": "list the models", "owner": "ann"}


def word(action: str, *, by: str = "ann", at_ms: int = NOW_MS, **said: object) -> FollowUpWord:
    named = FollowUpWord.id_of("inc_1", "list the models")
    return FollowUpWord.model_validate(
        {"follow_up_id": named, "action": action, "at_ms": at_ms, "by": by} | said
    )  # fmt: skip


def play(*words: FollowUpWord, people: People = PEOPLE) -> tuple[FollowUp | None, list[str]]:
    """The follow-up after these words, and what the audit says of each."""
    state, rows = IdentityState(people=people), list[str]()
    for each in words:
        told = FollowUpDesk().take(each, state, NOW_MS + 1)
        state.take(told)
        rows += [row.result for row in told.audit]
    return next(iter(state.follow_ups.values()), None), rows


def test_one_is_added_assigned_and_done() -> None:
    found, rows = play(
        word("add", **ADD), word("assign", owner="bob", due_ms=NOW_MS + 5), word("done", words="merged as #42")
    )
    assert found is not None
    assert (found.state, found.owner, found.due_ms, found.evidence, found.seq) == (
        "done", "bob", NOW_MS + 5, "merged as #42", 3
    )  # fmt: skip
    assert rows == ["taken"] * 3


def test_the_same_words_again_are_the_same_follow_up() -> None:
    found, rows = play(word("add", **ADD), word("add", at_ms=NOW_MS + 9, **ADD))
    assert found is not None
    assert (found.seq, rows) == (1, ["taken"])


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (word("add", words="x"), "it names no incident_id and no owner"),
        (word("done", words="w"), "no follow-up"),
        (word("add", by="vic", **ADD), "vic is viewer"),
        (word("add", by="zoe", **ADD), "zoe is not in people.yaml"),
    ],
)
def test_what_does_not_count_is_in_the_audit_with_the_reason(said: FollowUpWord, why: str) -> None:
    told = FollowUpDesk().take(said, IdentityState(people=PEOPLE), NOW_MS)
    assert not told.follow_ups
    assert [row.result for row in told.audit] == ["refused"]
    assert why in told.audit[0].detail["words"]


@pytest.mark.parametrize("action", ["done", "drop"])
def test_an_end_needs_words_and_is_the_end(action: str) -> None:
    found, rows = play(word("add", **ADD), word(action), word(action, words="w"), word("assign", owner="bob"))
    assert found is not None
    assert (found.seq, found.owner) == (2, "ann")
    assert rows == ["taken", "refused", "taken", "refused"]


def test_overdue_is_what_is_open_after_its_date() -> None:
    late, _ = play(word("add", due_ms=NOW_MS, **ADD))
    done, _ = play(word("add", due_ms=NOW_MS, **ADD), word("done", words="w"))
    assert late is not None
    assert done is not None
    assert (late.overdue(NOW_MS), late.overdue(NOW_MS + 1), done.overdue(NOW_MS + 1)) == (False, True, False)


def test_a_secret_in_the_words_does_not_stay() -> None:
    found, _ = play(word("add", **ADD | {"words": "rotate sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4z"}))
    assert found is not None
    assert "sk-proj-Ab3d" not in found.words
