"""A strict Slack on loopback: the Web API's methods that Keyfuse calls, Socket Mode, and people who click.

It refuses what Slack refuses: a wrong token, a block over a limit, a ticket or a trigger used twice.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from tests.alerting.slack_limits import check_message, check_view, elements

BOT = "xoxb-111-SECRETbotTOKEN"
APP = "xapp-1-A0123-SECRETappTOKEN"
SIGNING = "SECRETsigning0123456789abcdef"
CHANNEL = "C0123"


@dataclass
class FakeSlack:
    """One workspace with one channel and one app."""

    now_s: int = 1_795_428_000  # when people click
    url: str = ""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    whispers: list[dict[str, Any]] = field(default_factory=list)  # what one person alone was told
    fail: dict[str, list[tuple[int, str]]] = field(default_factory=dict)  # method → the next answers: status, error
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    acks: dict[str, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    hello: bool = True
    retry_after_s: int = 1
    dead_urls: bool = False  # response_urls are refused, as after half an hour
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _tickets: set[str] = field(default_factory=set)
    _triggers: set[str] = field(default_factory=set)

    # --- what a test looks at

    def made(self, method: str) -> list[dict[str, Any]]:
        return [body for name, body in self.calls if name == method]

    def message(self) -> dict[str, Any]:
        """The incident's message as it stands now."""
        shown = [body for name, body in self.calls if name.startswith("chat.") and "blocks" in body]
        return [body for body in shown if "thread_ts" not in body and "user" not in body][-1]

    def buttons(self) -> set[str]:
        return {name.removeprefix("keyfuse_") for name in elements(self.message()["blocks"])}

    def thread(self) -> list[str]:
        return [body["text"] for body in self.made("chat.postMessage") if "thread_ts" in body]

    def view(self) -> dict[str, Any]:
        """The form on top."""
        view: dict[str, Any] = [body["view"] for name, body in self.calls if name.startswith("views.")][-1]
        return view

    async def when(self, condition: Callable[[], object], *, patience_s: float = 10) -> None:
        """Returns when it holds; it is asked again with each thing that comes in."""
        async with asyncio.timeout(patience_s):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def poke(self) -> None:
        """Something else happened that `when` may wait for."""
        self._news.set()

    # --- what people do

    def click(self, user: str, button: str, option: int = 0) -> dict[str, Any]:
        """The payload of a click on the message as it stands."""
        message = self.message()
        element = elements(message["blocks"])[f"keyfuse_{button}"]
        picked = (
            {"selected_option": element["options"][option]} if "options" in element else {"value": element["value"]}
        )
        action = {
            "type": element["type"], "action_id": element["action_id"], "block_id": "b", "action_ts": self._ts(),
            **picked,
        }  # fmt: skip
        return {
            "type": "block_actions", "user": {"id": user, "username": "them", "team_id": "T1"}, "api_app_id": "A0123",
            "team": {"id": "T1"}, "trigger_id": self.trigger(), "response_url": self.response_url(),
            "container": {"type": "message", "message_ts": "1.000001", "channel_id": CHANNEL},
            "channel": {"id": CHANNEL, "name": "security"}, "message": {"ts": "1.000001"}, "actions": [action],
        }  # fmt: skip

    def submit(self, user: str, **values: Any) -> dict[str, Any]:
        """The payload of the form on top, filled in."""
        view = self.view()
        fields = {block["block_id"]: block["element"]["type"] for block in view["blocks"] if block["type"] == "input"}
        state = {name: {"value": _typed(fields[name], value)} for name, value in values.items()}
        return {
            "type": "view_submission", "user": {"id": user}, "team": {"id": "T1"}, "api_app_id": "A0123",
            "trigger_id": self.trigger(),
            "view": {**view, "id": f"V{next(self._ids)}", "hash": "1.abc", "state": {"values": state}},
        }  # fmt: skip

    def slash(self, user: str, text: str) -> dict[str, Any]:
        """The fields of a slash command."""
        return {
            "command": "/keyfuse", "text": text, "user_id": user, "user_name": "them", "channel_id": CHANNEL,
            "team_id": "T1", "api_app_id": "A0123", "response_url": self.response_url(), "trigger_id": self.trigger(),
        }  # fmt: skip

    def trigger(self) -> str:
        trigger = f"trigger.{next(self._ids)}"
        self._triggers.add(trigger)
        return trigger

    def response_url(self) -> str:
        return f"{self.url}/actions/T1/{next(self._ids)}/SECRETurl"

    def _ts(self) -> str:
        return f"{self.now_s}.{next(self._ids):06}"

    # --- Socket Mode

    async def send(self, payload: dict[str, Any], *, on: int = -1) -> dict[str, Any]:
        """Send what somebody did over a connection; what it is acknowledged with."""
        async with asyncio.timeout(3):  # as long as Slack waits
            return await (await self.begin(payload, on=on))

    async def begin(self, payload: dict[str, Any], *, on: int = -1) -> asyncio.Future[dict[str, Any]]:
        """Send it; the acknowledgement may come."""
        envelope_id = f"envelope-{next(self._ids)}"
        kind = "slash_commands" if "command" in payload else "interactive"
        answers = payload.get("type") == "view_submission" or "command" in payload
        ack = self.acks[envelope_id] = asyncio.get_running_loop().create_future()
        await self.sockets[on].send_json(
            {"type": kind, "envelope_id": envelope_id, "payload": payload, "accepts_response_payload": answers}
        )
        return ack

    async def disconnect(self, reason: str, *, on: int = -1) -> None:
        await self.sockets[on].send_json({"type": "disconnect", "reason": reason, "debug_info": {"host": "here"}})

    async def listen(self, request: web.Request) -> web.WebSocketResponse:
        ticket = request.query.get("ticket", "")
        if ticket not in self._tickets:
            raise web.HTTPForbidden
        self._tickets.remove(ticket)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        self._news.set()
        if self.hello:
            await socket.send_json({"type": "hello", "num_connections": 1, "connection_info": {"app_id": "A0123"}})
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                ack = json.loads(message.data)
                assert set(ack) <= {"envelope_id", "payload"}
                self.acks[ack["envelope_id"]].set_result(ack.get("payload") or {})
        return socket

    # --- the Web API

    async def api(self, request: web.Request) -> web.Response:
        method, body = request.match_info["method"], await _body(request)
        failures = self.fail.get(method, [])
        if failures:
            status, error = failures.pop(0)
            headers = {"Retry-After": str(self.retry_after_s)} if status == 429 else {}
            return web.json_response({"ok": False, "error": error}, status=status, headers=headers)
        error = self._refusal(method, request.headers.get("Authorization", ""), body)
        if error:
            return web.json_response({"ok": False, "error": error})
        self.calls.append((method, body))
        self._news.set()
        return web.json_response({"ok": True, **self._well(method, body, request.host)})

    async def respond(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.dead_urls:
            return web.Response(status=404, text="expired_url")
        check_message(body["text"], body["blocks"])
        assert (body["response_type"], body["replace_original"]) == ("ephemeral", False)
        self.whispers.append(body)
        self._news.set()
        return web.Response(text="ok")

    def _refusal(self, method: str, authorization: str, body: dict[str, Any]) -> str:
        token = APP if method == "apps.connections.open" else BOT
        if authorization != f"Bearer {token}":
            return "invalid_auth"
        if method.startswith("chat."):
            check_message(body["text"], body["blocks"])
        if method.startswith("views."):
            check_view(body["view"])
        if method == "views.open":
            if body["trigger_id"] not in self._triggers:
                return "expired_trigger_id"
            self._triggers.remove(body["trigger_id"])
        return ""

    def _well(self, method: str, body: dict[str, Any], host: str) -> dict[str, Any]:
        number = next(self._ids)
        if method == "apps.connections.open":
            ticket = f"SECRETticket{number}"
            self._tickets.add(ticket)
            return {"url": f"ws://{host}/link/?ticket={ticket}&app_id=A0123"}
        if method in ("views.open", "views.update"):
            return {"view": {**body["view"], "id": body.get("view_id", f"V{number}"), "hash": f"{number}.x"}}
        if method == "chat.postEphemeral":
            self.whispers.append(body)
            return {"message_ts": f"1795428000.{number:06}"}
        if method == "files.getUploadURLExternal":
            return {"upload_url": f"{self.url}/upload", "file_id": f"F{number}"}
        target = str(body.get("channel", CHANNEL))  # a direct message is a conversation of its own
        return {"channel": f"D{target}" if target.startswith("U") else target, "ts": f"1795428000.{number:06}"}


def _typed(kind: str, value: Any) -> dict[str, Any]:
    if kind == "radio_buttons":
        return {"type": kind, "selected_option": {"value": value} if value else None}
    if kind == "datetimepicker":
        return {"type": kind, "selected_date_time": value}
    return {"type": kind, "value": value}


async def _body(request: web.Request) -> dict[str, Any]:
    if request.content_type == "application/json":
        found: dict[str, Any] = await request.json()
        return found
    form = {name: str(value) for name, value in (await request.post()).items()}
    return form | {name: json.loads(form[name]) for name in ("view", "blocks") if name in form}


@asynccontextmanager
async def slack() -> AsyncIterator[FakeSlack]:
    """It is up while this is open."""
    fake = FakeSlack()
    app = web.Application()
    app.router.add_post("/api/{method}", fake.api)
    app.router.add_get("/link/", fake.listen)
    app.router.add_post("/actions/{path:.*}", fake.respond)
    app.router.add_post("/upload", _upload)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        for socket in fake.sockets:
            await socket.close(code=WSCloseCode.GOING_AWAY)
        await runner.cleanup()


async def _upload(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(text="OK")
