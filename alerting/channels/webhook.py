"""A signed webhook (Standard Webhooks 1.0.0): each version of an incident is one POST.

The id of a message is the same for each try, so a receiver can drop what it has. A secret of several parts, separated
by spaces, signs with each of them: that is how a secret is changed without a gap.

Requests go through httpx's transport and not its client: the client logs whole URLs, and a path may be a secret; and it
would resolve the name again after it was checked.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import httpx
from pydantic import SecretStr
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from alerting.channels.address import checked_url, may_reach
from alerting.channels.base import DeliveryState, shows
from alerting.channels.errors import ChannelError, Reason, Refused, Retryable, retry_after_s
from schemas.config.routes import ChannelConfig
from schemas.records import Incident, rfc3339, stable_id

__all__ = ["KIND", "WebhookChannel", "build"]

KIND: Final = "webhook"
_REASONS: Final = {  # about the receiver and not the message: somebody may mend it, so the message is kept
    401: Reason.UNAUTHORIZED,
    403: Reason.UNAUTHORIZED,
    404: Reason.NOT_FOUND,
    408: Reason.TIMEOUT,
    425: Reason.RATE_LIMITED,
    429: Reason.RATE_LIMITED,
}


Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, in the system's order of preference."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class WebhookChannel:
    """One URL that is told."""

    kind = KIND

    def __init__(
        self,
        name: str,
        config: ChannelConfig,
        secret: SecretStr,
        *,
        now: Callable[[], datetime],
        resolve: Resolve = resolve,
    ) -> None:
        self.name = name
        self._config = config
        self._signers = _signers(name, secret)
        self._url = httpx.URL(checked_url(config.base_url or config.target, channel=name, internal=config.internal))
        self._now = now
        self._resolve = resolve
        self._transport = httpx.AsyncHTTPTransport()

    def __repr__(self) -> str:
        return f"WebhookChannel({self.name!r}, host={self._url.host!r})"

    async def deliver(self, incident: Incident, previous: DeliveryState | None) -> DeliveryState:
        """POST this version; any 2xx is a yes."""
        message_id = stable_id("msg", incident.incident_id, incident.seq)
        body = json.dumps(payload(incident), separators=(",", ":"))
        try:
            async with asyncio.timeout(self._config.timeout_s):
                response = await self._post(body, self._headers(message_id, body))
        except TimeoutError:
            verdict: ChannelError | None = self._late()
        except httpx.TimeoutException:
            verdict = self._late()
        except (httpx.TransportError, OSError) as error:
            words = f"{self._url.host} cannot be reached: {type(error).__name__}"
            verdict = Retryable(self.name, Reason.CONNECTION, words)
        else:
            verdict = self._verdict(response)
        if verdict is not None:
            raise verdict
        return shows(self, incident, {"webhook_id": message_id})

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    def _headers(self, message_id: str, body: str) -> dict[str, str]:
        now = self._now().astimezone(UTC)
        return {
            "content-type": "application/json",
            "user-agent": "keyfuse",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(message_id, now, body) for signer in self._signers),
        }

    async def _post(self, body: str, headers: dict[str, str]) -> httpx.Response:
        """Resolve once, check each address, and connect to that very address under the original name."""
        addresses = await self._addresses()
        timeout = httpx.Timeout(self._config.timeout_s).as_dict()
        for number, address in enumerate(addresses, start=1):
            request = httpx.Request(
                "POST",
                self._url.copy_with(host=address),
                headers={"host": self._url.netloc.decode(), **headers},
                content=body.encode(),
                extensions={"timeout": timeout, "sni_hostname": self._url.host},
            )
            try:
                response = await self._transport.handle_async_request(request)
            except httpx.ConnectError:
                if number == len(addresses):
                    raise
                continue
            await response.aclose()  # nobody reads the body: what counts is the status
            return response
        raise Refused(self.name, Reason.FORBIDDEN_ADDRESS, f"{self._url.host} resolves to no address allowed here")

    async def _addresses(self) -> list[str]:
        host, internal = self._url.host, self._config.internal
        port = self._url.port or (443 if self._url.scheme == "https" else 80)
        found = await self._resolve(host, port)
        return [each for each in found if may_reach(each, host=host, internal=internal)]

    def _verdict(self, response: httpx.Response) -> ChannelError | None:
        status, host = response.status_code, self._url.host
        if response.is_success:
            return None
        if status in _REASONS or status >= 500:
            reason = _REASONS.get(status, Reason.SERVER_ERROR)
            wait_s = retry_after_s(response.headers.get("retry-after"))
            return Retryable(self.name, reason, f"{host} answered {status}", retry_after_s=wait_s)
        if status == 410:
            words = f"{host} answered 410: it wants no more messages, remove the channel"
            return Refused(self.name, Reason.GONE, words)
        if status // 100 == 3:
            words = f"{host} answered {status}: redirects are not followed, use the final address"
            return Refused(self.name, Reason.REDIRECTED, words)
        return Refused(self.name, Reason.REJECTED, f"{host} answered {status}")

    def _late(self) -> ChannelError:
        words = f"{self._url.host} did not answer within {self._config.timeout_s:g} s"
        return Retryable(self.name, Reason.TIMEOUT, words)


def build(name: str, config: ChannelConfig, secret: SecretStr, *, now: Callable[[], datetime]) -> WebhookChannel:
    """The channel of one entry in `routes.yaml`. Refused when it is misconfigured."""
    return WebhookChannel(name, config, secret, now=now)


def payload(incident: Incident) -> dict[str, Any]:
    """The body: what happened, when (event time), and the whole incident."""
    return {
        "type": f"incident.{incident.state}",
        "timestamp": rfc3339(incident.updated_at_ms),
        "data": incident.model_dump(mode="json"),
    }


def _signers(name: str, secret: SecretStr) -> tuple[Webhook, ...]:
    try:
        signers = tuple(Webhook(part) for part in secret.get_secret_value().split())
    except (ValueError, EmptyWebhookSecretError):
        signers = ()
    if not signers:
        words = "a signing secret is needed: `whsec_` and 24 to 64 bytes in base64, from secret_env or secret_file"
        raise Refused(name, Reason.MISCONFIGURED, words)
    return signers
