"""What the planes keep besides the settings, read once for a report: exceptions, rotations, follow-ups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from controls.governance import Rotation
from schemas.exception import PolicyException
from schemas.follow_up import FollowUp
from schemas.records import AuditRow
from service.errors import UserError
from service.install import Install
from service.newest_of import newest_of
from service.query_commands import answer_of
from streams.topics import Topic


class Kept(NamedTuple):
    """As far as it could be asked."""

    exceptions: tuple[PolicyException, ...] = ()
    rotations: tuple[Rotation, ...] = ()
    follow_ups: tuple[FollowUp, ...] = ()
    said: str = ""  # what could not be asked, and what that means


def kept(install: Install) -> Kept:
    """What does not answer is left out and named: a report says what it knows, and what it does not."""
    missing = []
    try:
        exceptions = tuple(newest_of(install, Topic.EXCEPTIONS, PolicyException).values())
        follow_ups = tuple(newest_of(install, Topic.FOLLOW_UPS, FollowUp).values())
    except UserError:
        exceptions, follow_ups = (), ()
        missing.append("the broker does not answer, so exceptions and follow-ups are not in here")
    try:
        rotations = answer_of(install, "planes", {})["rotations"]
    except UserError:
        rotations = []
        missing.append("neither a worker nor the store answers, so the evidence of rotations is not in here")
    shown = tuple(rotation for row in rotations for rotation in _rotation(AuditRow.model_validate(row)))
    return Kept(exceptions, (*shown, *_unproved(install)), follow_ups, "; ".join(missing))


def _rotation(row: AuditRow) -> Iterator[Rotation]:
    """From the row that was written when the old secret was seen to be refused."""
    told: dict[str, Any] = row.detail
    yield Rotation(
        told["new_key_id"], told["old_key_id"], told["rotated_at_ms"], told["by"], told["refused_at_ms"], told["proof"]
    )


def _unproved(install: Install) -> Iterator[Rotation]:
    """Replaced keys whose overlap is over, and that nobody has seen refused yet."""
    for entry in install.registry.entries().values():
        if entry.replaced_by and entry.state in {"retiring", "disabled"}:
            new = install.registry.entry(entry.replaced_by)
            at_ms = new.rotated_ms if new and new.rotated_ms else entry.at_ms
            yield Rotation(entry.replaced_by, entry.key_id, at_ms, entry.by, None, "")
