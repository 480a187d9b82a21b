"""Every channel module, found by looking, and what its suite needs to know of each kind."""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import pkgutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from pydantic import SecretStr

import alerting.channels
from alerting.channels import memory
from alerting.channels.base import Channel
from alerting.channels.build import build_channel
from schemas.config.routes import ChannelConfig
from tests.alerting.certificate import certificate, server_side
from tests.alerting.servers import Answer, Arrived, serving
from tests.alerting.smtp import Relay, relaying
from tests.alerting.syslog_server import collecting


def modules() -> dict[str, ModuleType]:
    """Kind → module, for each module of `alerting.channels` that is a channel."""
    names = [found.name for found in pkgutil.iter_modules(alerting.channels.__path__)]
    loaded = [importlib.import_module(f"alerting.channels.{name}") for name in names]
    return {module.KIND: module for module in loaded if hasattr(module, "KIND")}


def _slack_well(arrived: Arrived, number: int) -> str:
    if arrived.path.startswith("/api/files.getUploadURLExternal"):
        url = f"http://{arrived.headers['Host']}/upload/v1/ABC"
        return json.dumps({"ok": True, "upload_url": url, "file_id": f"F{number}"})
    if arrived.path.startswith("/api/files.completeUploadExternal"):
        return json.dumps({"ok": True, "files": [{"id": "F1", "title": "picture"}]})
    return json.dumps({"ok": True, "channel": "C0123", "ts": f"1795428000.{number:06}"})


def _pagerduty_well(arrived: Arrived, _: int) -> str:
    return json.dumps({"status": "success", "message": "Event processed", "dedup_key": arrived.json["dedup_key"]})


def _opsgenie_well(arrived: Arrived, number: int) -> str:
    assert arrived.headers["Authorization"].startswith("GenieKey ")
    return json.dumps({"result": "Request will be processed", "took": 0.3, "requestId": f"r-{number}"})


@dataclass(frozen=True)
class Kind:
    """How to build one that speaks HTTP, how its service answers when all is well, and what must never be seen."""

    config: Callable[[str], dict[str, Any]]  # from the server's URL
    well: Callable[[Arrived, int], str]
    secret: str
    also_secret: tuple[str, ...] = ()
    any_2xx: bool = False  # is a yes, whatever the body says


@dataclass(frozen=True)
class Spoken:
    """A kind with a protocol of its own: what to configure for a port, and a server that is well, or says nothing."""

    config: Callable[[int], dict[str, Any]]
    serve: Callable[[bool], AbstractAsyncContextManager[int]]
    secret: str = ""


_WEBHOOK_KEY = base64.b64encode(b"thirty-two bytes of pure silence").decode()
NETWORKED = {
    "slack": Kind(lambda url: {"target": "C0123", "base_url": f"{url}/api/"}, _slack_well, "xoxb-111-SECRETbotTOKEN"),
    "pagerduty": Kind(lambda url: {"base_url": url}, _pagerduty_well, "R0SECRETroutingKEY0000000000000K"),
    "webhook": Kind(
        lambda url: {"target": f"{url}/hooks/SECRETpath?token=SECRETquery"}, lambda *_: "thanks",
        f"whsec_{_WEBHOOK_KEY}", ("SECRETpath", "SECRETquery", _WEBHOOK_KEY), any_2xx=True,
    ),
    "teams": Kind(
        lambda url: {"base_url": url}, lambda *_: "1",
        "https://x.logic.azure.com/workflows/SECRETflow/triggers/manual/paths/invoke?sig=SECRETsig",
        ("SECRETflow", "SECRETsig"),
    ),
    "alertmanager": Kind(
        lambda url: {"target": f"{url}/SECRETpath"}, lambda *_: "", "SECRETbearer", ("SECRETpath",), any_2xx=True
    ),
    "opsgenie": Kind(lambda url: {"base_url": url}, _opsgenie_well, "SECRETgenie-1234"),
}  # fmt: skip
RELAY_LOGIN = ("keyfuse", "SECRETpassword")


@asynccontextmanager
async def _relay(hang: bool) -> AsyncIterator[int]:
    async with relaying(Relay(tls=server_side(), login=RELAY_LOGIN, hang=hang)) as relay:
        yield relay.port


@asynccontextmanager
async def _collector(hang: bool) -> AsyncIterator[int]:
    if not hang:
        async with collecting(tls=server_side()) as collector:
            yield collector.port
        return
    over = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    over.set()
    server.close()


def email_settings(port: int, **changes: Any) -> dict[str, Any]:
    return {
        "host": "localhost", "port": port, "ca_file": str(certificate()), "username": RELAY_LOGIN[0],
        "sender": "keyfuse@example.com", "to": ("oncall@example.com", "sec@example.com"), **changes,
    }  # fmt: skip


def syslog_settings(port: int, **changes: Any) -> dict[str, Any]:
    return {"host": "localhost", "port": port, "ca_file": str(certificate()), **changes}


SPOKEN = {
    "email": Spoken(lambda port: {"email": email_settings(port)}, _relay, RELAY_LOGIN[1]),
    "syslog": Spoken(lambda port: {"syslog": syslog_settings(port)}, _collector),
}
WITHOUT_NETWORK = {"memory": "nothing leaves the process"}


def now() -> datetime:
    return datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def build(kind: str, url: str, clock: Callable[[], datetime] = now, **changes: Any) -> Channel:
    if kind in WITHOUT_NETWORK:
        return memory.MemoryChannel("ops")
    own = SPOKEN[kind].config(int(url.rsplit(":", 1)[1])) if kind in SPOKEN else NETWORKED[kind].config(url)
    settings = {"kind": kind, "timeout_s": 5, **own, **changes}
    return build_channel("ops", ChannelConfig(**settings), SecretStr(_secret(kind)), now=clock)


@asynccontextmanager
async def placed(kind: str, *, hang: bool = False) -> AsyncIterator[str]:
    """The address of a server for the kind: it is well, or says nothing at all."""
    if kind in NETWORKED:
        async with serving(NETWORKED[kind].well) as server:
            server.answers = [Answer(hang=True)] if hang else []
            yield server.url
    elif kind in SPOKEN:
        async with SPOKEN[kind].serve(hang) as port:
            yield f"own://127.0.0.1:{port}"
    else:
        yield ""


def _secret(kind: str) -> str:
    return SPOKEN[kind].secret if kind in SPOKEN else NETWORKED[kind].secret


def secrets_of(kind: str) -> tuple[str, ...]:
    also = NETWORKED[kind].also_secret if kind in NETWORKED else ()
    return tuple(secret for secret in (_secret(kind), *also) if secret)
