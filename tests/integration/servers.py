"""The outside world on loopback: a message board that stands for Slack, PagerDuty and a webhook, and gates to shut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from typing import Any, Self

from tests.alerting.kinds import NETWORKED
from tests.alerting.servers import Server, serving


@dataclass
class Board:
    """What each service was sent, in the words of its own protocol."""

    slack: Server
    pagerduty: Server
    webhook: Server

    def slack_posts(self, incident_id: str) -> list[Any]:
        """Messages of one incident, without the replies in its thread."""
        return [body for body in self._slack("chat.postMessage", incident_id) if "thread_ts" not in body]

    def slack_replies(self, incident_id: str) -> list[Any]:
        return [body for body in self._slack("chat.postMessage", incident_id) if "thread_ts" in body]

    def slack_edits(self, incident_id: str) -> list[Any]:
        return self._slack("chat.update", incident_id)

    def slack_shows(self, incident_id: str) -> int:
        """The version that the message shows now; 0 while there is none."""
        seqs = [body["metadata"]["event_payload"]["seq"] for body in self._slack("", incident_id)]
        return max(seqs, default=0)

    def pages(self, incident_id: str) -> list[str]:
        """PagerDuty's actions for one incident, in order."""
        events = [arrived.json for arrived in self.pagerduty.arrived]
        return [event["event_action"] for event in events if event["dedup_key"] == incident_id]

    def hooks(self, incident_id: str) -> list[Any]:
        """The incident's versions as the webhook got them."""
        versions = [arrived.json["data"] for arrived in self.webhook.arrived]
        return [version for version in versions if version["incident_id"] == incident_id]

    def _slack(self, method: str, incident_id: str) -> list[Any]:
        calls = [a.json for a in self.slack.arrived if "/chat." in a.path and method in a.path]  # not the pictures
        return [body for body in calls if body["metadata"]["event_payload"]["incident_id"] == incident_id]


@asynccontextmanager
async def board() -> AsyncIterator[Board]:
    """All three services, up."""
    async with (
        serving(NETWORKED["slack"].well) as slack,
        serving(NETWORKED["pagerduty"].well) as pagerduty,
        serving(NETWORKED["webhook"].well) as webhook,
    ):
        yield Board(slack, pagerduty, webhook)


class Gate:
    """A TCP door in front of a server: open it lets everything through, shut it refuses and drops who is inside."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._inside: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shut()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._enter, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        if self._server is None:
            return
        for listening in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        for _ in range(3):  # whoever was let in this very moment gets inside: a closed server would lose its socket
            await asyncio.sleep(0)
        self._server.close()
        self._server = None
        for task in self._inside:
            task.cancel()
        await asyncio.gather(*self._inside, return_exceptions=True)

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._inside.add(task)
        task.add_done_callback(self._inside.discard)
        with closing(writer), suppress(OSError, asyncio.CancelledError):  # also when thrown out before it was inside
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
            with closing(back):
                async with asyncio.TaskGroup() as both:
                    both.create_task(_carry(reader, back))
                    both.create_task(_carry(there, writer))


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes one way, until the end of them."""
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # the other side went away: so do we
    finally:
        writer.close()
