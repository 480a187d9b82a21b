"""Exceptions were given or have ended: who judges by policies learns it, for the keys that they are about."""

from __future__ import annotations

from collections.abc import Callable

from controls.expected import expected_of
from controls.policies import covers
from schemas.exception import PolicyException
from schemas.records import KeyFacts
from service.install import Install
from streams.newest_records import NewestRecords, follow_newest
from streams.score import ScoreStage
from streams.topics import Topic


class ExceptionNews:
    """Keeps an install current, and its score stage where it has one."""

    def __init__(self, install: Install, score: ScoreStage | None, bootstrap: str) -> None:
        self._install, self._score, self._bootstrap = install, score, bootstrap
        self._newest = NewestRecords(PolicyException)

    async def follow(self, stopping: Callable[[], bool]) -> None:
        """What is there now, then what comes, until `stopping`."""
        topics = self._install.topics
        name, count = topics.name(Topic.EXCEPTIONS), topics.count(Topic.EXCEPTIONS)
        await follow_newest(self._bootstrap, name, count, self._newest, changed=self.take, stopping=stopping)

    def take(self) -> None:
        """All that has been read so far."""
        self.hold(tuple(self._newest.all().values()))

    def hold(self, exceptions: tuple[PolicyException, ...]) -> None:
        """These and no others. Keys that none of the changed ones is about are not looked at again."""
        changed = set(self._install.exceptions) ^ set(exceptions)
        if not changed:
            return

        def concerned(key_id: str, facts: KeyFacts) -> bool:
            return any(covers(one, key_id, facts) for one in changed)

        self._install.except_for(exceptions)
        if self._score is not None:
            self._score.expect(expected_of(exceptions))
            self._score.settle_where(concerned)
