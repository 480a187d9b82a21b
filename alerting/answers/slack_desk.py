"""From what Slack sends to what is done about it, without ever falling: the transports hand payloads to `take`.

It is acknowledged first, for Slack waits three seconds; then the work runs by itself. What cannot be done now is said,
and nothing is half done: a word is either with the broker or not taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

import structlog

from alerting.answers.errors import Unavailable
from alerting.answers.slack_said import Heard, KillWord, OfSlack, Wrong, heard
from alerting.answers.slack_work import SlackWork
from alerting.channels.errors import ChannelError

_AT_ONCE: Final = 64  # pieces of work; beyond that Slack is told to come again
log = structlog.get_logger()


class Received(NamedTuple):
    """What to answer at once, and what to do then."""

    ack: dict[str, Any] | None
    work: Coroutine[Any, Any, None] | None


class SlackDesk:
    """One Slack app."""

    def __init__(self, work: SlackWork, *, people: Callable[[], OfSlack], now_ms: Callable[[], int]) -> None:
        self._work = work
        self._people = people
        self._now_ms = now_ms
        self._working: set[asyncio.Task[None]] = set()

    def take(self, doc: object) -> tuple[bool, dict[str, Any] | None]:
        """One payload: whether it is taken, and what to acknowledge it with. The work goes on by itself."""
        if len(self._working) >= _AT_ONCE:
            return False, None
        try:
            received = self.receive(doc)
        except Exception as error:
            # Isolation: a payload that Keyfuse stumbles over must not end the listening.
            self._work.counted("failed")
            log.error("a payload from Slack failed", error=type(error).__name__)  # noqa: TRY400 - it may quote anything
            return True, None
        if received.work is not None:
            task = asyncio.create_task(received.work, name="slack-answer")
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        return True, received.ack

    async def close(self) -> None:
        """Let what has begun come to its end, for a while."""
        if self._working:
            _, late = await asyncio.wait(self._working, timeout=3)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def receive(self, doc: object) -> Received:
        """What is meant, and what follows. Does nothing yet."""
        what = heard(doc, people=self._people(), now_ms=self._now_ms())
        if isinstance(what, KillWord) and not self._work.is_meant(what):
            what = Wrong({"typed": f"Type exactly: {what.origin.keys} kill"})
        if isinstance(what, Wrong):
            return Received({"response_action": "errors", "errors": what.errors}, None)
        return Received(None, self._safely(what) if what is not None else None)

    async def _safely(self, what: Heard) -> None:
        """Whatever happens, who spoke hears of it, as far as Slack can be reached."""
        place = None if isinstance(what, Wrong) else what.place
        try:
            await self._work.do(what)
        except Unavailable as error:
            self._work.counted("unavailable")
            await self._work.say(place, f"Not taken: {error}. Try again in a moment.")
        except ChannelError as error:
            self._work.counted("failed")
            log.warning("an answer could not be given in Slack", why=str(error))
            await self._work.say(place, "Slack did not take what Keyfuse wanted to show. Try again.")
        except Exception as error:
            # Isolation: one odd payload must not end the listening. Its text may quote anything, so the type is enough.
            self._work.counted("failed")
            log.error("an answer from Slack failed", error=type(error).__name__)  # noqa: TRY400 - see above
            await self._work.say(place, "Keyfuse stumbled over this. Look at /keyfuse status before you try again.")
