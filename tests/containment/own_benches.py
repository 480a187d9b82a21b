"""Benches of the gateways, and of what people bring themselves."""

from __future__ import annotations

import base64
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from pydantic import SecretStr

from containment.providers.base import Provider, StepSpec
from containment.providers.command import CommandProvider
from containment.providers.envoy import EnvoyProvider
from containment.providers.kong import KongProvider
from containment.providers.webhook import WebhookProvider
from schemas.records import Step
from tests.containment.bench import SECRET, TIMEOUT_S, Bench, over_http
from tests.containment.servers import automation, kong, kubernetes, program

KONG_KEY = "4661f656-0000-4000-8000-16b9bbbb2d30"


@contextlib.asynccontextmanager
async def kong_bench() -> AsyncIterator[Bench]:
    def make(secret: SecretStr, url: str, timeout_s: float) -> Provider:
        return KongProvider("kong", secret, base_url=url, timeout_s=timeout_s)

    app = kong.create(SECRET, {"shop": kong.Consumer({KONG_KEY: "its-value"})})
    async with over_http(app, make, f"shop/{KONG_KEY}", f"nobody/{KONG_KEY}") as bench:
        yield bench


@contextlib.asynccontextmanager
async def envoy_bench() -> AsyncIterator[Bench]:
    def make(secret: SecretStr, url: str, timeout_s: float) -> Provider:
        return EnvoyProvider("envoy", secret, base_url=url, timeout_s=timeout_s)

    def is_change(method: str, path: str) -> bool:
        """The copy beside it is a preparation; what counts is the Secret that the gateway reads."""
        return method == "PATCH" and path.endswith("/llm-keys")

    app = kubernetes.create(SECRET, kubernetes.Cluster({"llm-keys": {"checkout": "its-value", "search": "healthy"}}))
    refs = ("gateway/llm-keys/checkout", "gateway/llm-keys/nobody")
    async with over_http(app, make, *refs, is_change=is_change) as bench:
        yield bench


DECLARED: dict[Step, StepSpec] = {
    "disable": StepSpec(True, "key", 1, "Nothing else."),
    "revoke": StepSpec(False, "key", 1, "Nothing else."),
}


def signing(secret: str) -> str:
    """The same secret as Standard Webhooks write one."""
    return "whsec_" + base64.b64encode(secret.encode()).decode()


@contextlib.asynccontextmanager
async def webhook_bench() -> AsyncIterator[Bench]:
    def make(secret: SecretStr, url: str, timeout_s: float) -> Provider:
        signed = SecretStr(signing(secret.get_secret_value()))
        return WebhookProvider("webhook", signed, DECLARED, base_url=url, timeout_s=timeout_s)

    def is_change(method: str, path: str) -> bool:
        return path.endswith(("/apply", "/undo"))

    app = automation.create(signing(SECRET), automation.Automation({"k-1": set()}))
    async with over_http(app, make, "k-1", "k-9", "/hook", is_change=is_change, layer=automation.ByAction) as bench:
        bench.quoted = signing(SECRET)
        yield bench


@contextlib.asynccontextmanager
async def command_bench() -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        there = program.write(Path(folder), secret=SECRET)

        def another(*, secret: str = SECRET, timeout_s: float = TIMEOUT_S) -> Provider:
            argv = (str(there.path), "--quiet")
            return CommandProvider("command", SecretStr(secret), DECLARED, argv=argv, timeout_s=timeout_s)

        yield Bench(another(), "k-1", "k-9", there.fault, there.changes, another, impatient_s=0.5)


OWN = {"kong": kong_bench, "envoy": envoy_bench, "webhook": webhook_bench, "command": command_bench}
