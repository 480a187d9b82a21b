"""Every channel module, found by looking, and what its suite needs to know of each kind."""

from __future__ import annotations

import base64
import importlib
import json
import pkgutil
from collections.abc import Callable
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
from tests.alerting.servers import Arrived


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


@dataclass(frozen=True)
class Kind:
    """How to build one, how its service answers when all is well, and what must never be seen."""

    config: Callable[[str], dict[str, Any]]  # from the server's URL
    well: Callable[[Arrived, int], str]
    secret: str
    also_secret: tuple[str, ...] = ()


_WEBHOOK_KEY = base64.b64encode(b"thirty-two bytes of pure silence").decode()
NETWORKED = {
    "slack": Kind(lambda url: {"target": "C0123", "base_url": f"{url}/api/"}, _slack_well, "xoxb-111-SECRETbotTOKEN"),
    "pagerduty": Kind(lambda url: {"base_url": url}, _pagerduty_well, "R0SECRETroutingKEY0000000000000K"),
    "webhook": Kind(
        lambda url: {"target": f"{url}/hooks/SECRETpath?token=SECRETquery"}, lambda *_: "thanks",
        f"whsec_{_WEBHOOK_KEY}", ("SECRETpath", "SECRETquery", _WEBHOOK_KEY),
    ),
}  # fmt: skip
WITHOUT_NETWORK = {"memory": "nothing leaves the process"}


def now() -> datetime:
    return datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def build(kind: str, url: str, clock: Callable[[], datetime] = now, **changes: Any) -> Channel:
    if kind in WITHOUT_NETWORK:
        return memory.MemoryChannel("ops")
    settings = {"kind": kind, "timeout_s": 5, **NETWORKED[kind].config(url), **changes}
    return build_channel("ops", ChannelConfig(**settings), SecretStr(NETWORKED[kind].secret), now=clock)


def secrets_of(kind: str) -> tuple[str, ...]:
    return (NETWORKED[kind].secret, *NETWORKED[kind].also_secret)
