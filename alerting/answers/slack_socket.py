"""Socket Mode: a connection that we open, over which Slack sends what people click. It is kept up for ever, at a pace.

The library's own client is not used for it: it asks again and again for an address that is good for one connection, and
says nothing when it is not connected.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import structlog
from pydantic import SecretStr

from alerting.channels.errors import ChannelError, Reason, Retryable
from alerting.channels.slack_client import MessageGone, SlackApi
from alerting.deliver import Sleep

Take = Callable[[object], tuple[bool, dict[str, Any] | None]]
"""One payload: whether it is taken, and what to acknowledge it with."""
Tell = Callable[[bool, str], None]
"""Told when the connection comes and goes: whether it stands, and in words why not."""
_HELLO_S: Final = 10.0
_HEARTBEAT_S: Final = 10.0
_PAUSES_S: Final = (1.0, 2.0, 5.0, 15.0, 60.0)
_PAUSE_MAX_S: Final = 300.0
_STEADY_S: Final = 60.0  # a connection that ends sooner is a failure, whatever ended it
_LAST_S: Final = 15.0  # a connection that Slack is about to end may still bring something
_FOR_US: Final = ("interactive", "slash_commands")
_LEAVING: Final = frozenset({"warning", "refresh_requested"})
_WHY: Final = {
    "too_many_websockets": "Slack says there are too many connections: more than ten workers use this app",
    "link_disabled": "Socket Mode is switched off in the Slack app",
}
log = structlog.get_logger()


class SlackSocket:
    """One Slack app's connection."""

    def __init__(
        self,
        api: SlackApi,
        app_token: SecretStr,
        take: Take,
        *,
        sleep: Sleep,
        now_s: Callable[[], float],
        tell: Tell,
    ) -> None:
        self._api = api
        self._app_token = app_token
        self._take = take
        self._sleep = sleep
        self._now_s = now_s
        self._tell = tell
        self._ending: set[asyncio.Task[str]] = set()

    def __repr__(self) -> str:
        return f"SlackSocket({self._api.name!r})"

    async def run(self) -> None:
        """Until it is cancelled."""
        failures = 0
        try:
            while True:
                began_s = self._now_s()
                why, least_s = await self._tried()
                if self._now_s() - began_s >= _STEADY_S:
                    failures = 0
                    if not why:
                        continue  # Slack renews its connections every few hours
                pause_s = max(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)], least_s)
                failures += 1
                if why:
                    self._tell(False, why)
                    log.warning("not connected to Slack", channel=self._api.name, why=why, again_in_s=pause_s)
                await self._sleep(pause_s)
        finally:
            for task in self._ending:
                task.cancel()
            await asyncio.gather(*self._ending, return_exceptions=True)

    async def _tried(self) -> tuple[str, float]:
        """Why the connection ended or was none, empty when Slack only renews it; and how long to wait at least."""
        try:
            why = await self._one_connection()
        except ChannelError as error:
            return str(error), min(getattr(error, "retry_after_s", None) or 0.0, _PAUSE_MAX_S)
        return why, _PAUSES_S[-1] if why in _WHY.values() else 0.0

    async def _one_connection(self) -> str:
        """From its beginning to its end; why it ended, empty when the next one should come at once."""
        leaving = asyncio.Event()
        reading = asyncio.create_task(self._read(await self._open(), leaving), name="slack-socket")
        waiting = asyncio.create_task(leaving.wait())
        try:
            await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                return reading.result()
            # The next connection is opened before this one ends, so that no click falls between the two.
            self._ending.add(reading)
            reading.add_done_callback(self._ending.discard)
            return ""
        finally:
            waiting.cancel()
            if not reading.done() and reading not in self._ending:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _open(self) -> aiohttp.ClientWebSocketResponse:
        """A connection over which Slack has said hello."""
        call = self._api.client.apps_connections_open(app_token=self._app_token.get_secret_value())
        try:
            url = (await self._api.call(call)).get("url")
        except MessageGone:
            url = None
        if not isinstance(url, str) or not url.startswith(("wss://", "ws://")):
            raise Retryable(self._api.name, Reason.BAD_ANSWER, "Slack named no address for Socket Mode")
        self._api.own(f"http{url.removeprefix('ws')}")
        try:
            socket = await self._api.session.ws_connect(
                url, heartbeat=_HEARTBEAT_S, proxy=self._api.client.proxy, timeout=aiohttp.ClientWSTimeout(ws_close=2)
            )
            try:
                hello = await socket.receive(_HELLO_S)
            except TimeoutError:
                await socket.close()
                raise
        except (aiohttp.ClientError, OSError, TimeoutError) as error:  # the address holds a ticket: it is not shown
            verdict = Retryable(self._api.name, Reason.CONNECTION, f"Socket Mode: {type(error).__name__}")
        else:
            if _said(hello).get("type") == "hello":
                self._tell(True, "")
                return socket
            await socket.close()
            verdict = Retryable(self._api.name, Reason.BAD_ANSWER, "Socket Mode: Slack did not say hello")
        raise verdict

    async def _read(self, socket: aiohttp.ClientWebSocketResponse, leaving: asyncio.Event) -> str:
        """What comes, until the end; why it ended."""
        why = "the connection was lost"
        try:
            async with asyncio.timeout(None) as limit:
                async for message in socket:
                    said = _said(message)
                    if said.get("type") != "disconnect":
                        await self._answer(socket, said)
                        continue
                    reason = str(said.get("reason"))[:40]
                    if reason not in _LEAVING:
                        return _WHY.get(reason, f"Slack ended the connection: {reason}")
                    leaving.set()
                    limit.reschedule(asyncio.get_running_loop().time() + _LAST_S)
        except TimeoutError:
            why = ""
        except (aiohttp.ClientError, OSError) as error:
            why = f"the connection was lost: {type(error).__name__}"
        finally:
            await socket.close()
        return why

    async def _answer(self, socket: aiohttp.ClientWebSocketResponse, said: dict[str, Any]) -> None:
        """Acknowledge first; the work goes on by itself. What is not acknowledged, Slack shows to the person."""
        envelope_id, kind = said.get("envelope_id"), said.get("type")
        if not isinstance(envelope_id, str):
            return
        taken, payload = self._take(said.get("payload")) if kind in _FOR_US else (True, None)
        if taken:
            wanted = payload is not None and said.get("accepts_response_payload") is True
            await socket.send_json({"envelope_id": envelope_id} | ({"payload": payload} if wanted else {}))


def _said(message: aiohttp.WSMessage) -> dict[str, Any]:
    """The message as a JSON object; empty for anything else."""
    if message.type is not aiohttp.WSMsgType.TEXT:
        return {}
    try:
        said = json.loads(message.data)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
