"""One POST to one receiver, for channels that have no library of their own.

Requests go through httpx's transport and not its client: the client logs whole URLs, and a path may be a secret; and it
would resolve the name again after it was checked.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

import httpx

from alerting.channels.address import checked_url, may_reach
from alerting.channels.errors import ChannelError, Reason, Refused, Retryable, retry_after_s
from schemas.config.routes import ChannelConfig

Resolve = Callable[[str, int], Awaitable[list[str]]]
_BODY_MAX: Final = 65_536  # bytes of an answer that are read; what a service says is far shorter
_REASONS: Final = {  # about the receiver and not the message: somebody may mend it, so the message is kept
    401: Reason.UNAUTHORIZED,
    403: Reason.UNAUTHORIZED,
    404: Reason.NOT_FOUND,
    408: Reason.TIMEOUT,
    425: Reason.RATE_LIMITED,
    429: Reason.RATE_LIMITED,
}


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, in the system's order of preference."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Answer(NamedTuple):
    """What the receiver said to an accepted message. Its text may quote a secret: never show it."""

    status: int
    body: bytes

    def json_object(self) -> dict[str, object] | None:
        """The body as a JSON object; None when it is none."""
        try:
            said = json.loads(self.body)
        except ValueError:
            return None
        return said if isinstance(said, dict) else None


class Receiver:
    """One URL, reached at addresses that were checked. It speaks in channel errors that show the host and no more."""

    def __init__(self, name: str, url: str, config: ChannelConfig, *, resolve: Resolve = resolve) -> None:
        self._name = name
        self._url = httpx.URL(checked_url(url, channel=name, internal=config.internal))
        self._internal, self._timeout_s = config.internal, config.timeout_s
        self._resolve = resolve
        self._transport = httpx.AsyncHTTPTransport()

    @property
    def host(self) -> str:
        """Fit to be shown."""
        return self._url.host

    async def post(self, body: bytes, headers: Mapping[str, str], *, path: str = "") -> Answer:
        """Send it once; any 2xx is an answer.

        Args:
            body: The bytes to send.
            headers: Of the request; `host` and the length come by themselves.
            path: Put behind the URL's own path, query included.

        Raises:
            Retryable: It may work later.
            Refused: It will not work until somebody changes something.
        """
        url = self._url if not path else self._url.copy_with(raw_path=self._url.raw_path.rstrip(b"/") + path.encode())
        try:
            async with asyncio.timeout(self._timeout_s):
                status, wait_s, said = await self._post(url, body, headers)
        except TimeoutError:
            verdict: ChannelError | None = self._late()
        except httpx.TimeoutException:
            verdict = self._late()
        except (httpx.TransportError, OSError) as error:
            words = f"{self.host} cannot be reached: {type(error).__name__}"
            verdict = Retryable(self._name, Reason.CONNECTION, words)
        else:
            verdict = self._verdict(status, wait_s)
        if verdict is not None:
            raise verdict
        return Answer(status, said)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def _post(self, url: httpx.URL, body: bytes, headers: Mapping[str, str]) -> tuple[int, float | None, bytes]:
        """Resolve once, check each address, and connect to that very address under the original name."""
        addresses = await self._addresses()
        for number, address in enumerate(addresses, start=1):
            request = httpx.Request(
                "POST",
                url.copy_with(host=address),
                headers={
                    "host": url.netloc.decode(),
                    "user-agent": "keyfuse",
                    "accept-encoding": "identity",
                    **headers,
                },
                content=body,
                extensions={"timeout": httpx.Timeout(self._timeout_s).as_dict(), "sni_hostname": url.host},
            )
            try:
                response = await self._transport.handle_async_request(request)
            except httpx.ConnectError:
                if number == len(addresses):
                    raise
                continue
            try:
                said = await _start_of(response)
            finally:
                await response.aclose()
            return response.status_code, retry_after_s(response.headers.get("retry-after")), said
        raise Refused(self._name, Reason.FORBIDDEN_ADDRESS, f"{self.host} resolves to no address allowed here")

    async def _addresses(self) -> list[str]:
        port = self._url.port or (443 if self._url.scheme == "https" else 80)
        found = await self._resolve(self.host, port)
        return [each for each in found if may_reach(each, host=self.host, internal=self._internal)]

    def _verdict(self, status: int, wait_s: float | None) -> ChannelError | None:
        if 200 <= status < 300:
            return None
        if status in _REASONS or status >= 500:
            reason = _REASONS.get(status, Reason.SERVER_ERROR)
            return Retryable(self._name, reason, f"{self.host} answered {status}", retry_after_s=wait_s)
        if status == 410:
            words = f"{self.host} answered 410: it wants no more messages, remove the channel"
            return Refused(self._name, Reason.GONE, words)
        if status // 100 == 3:
            words = f"{self.host} answered {status}: redirects are not followed, use the final address"
            return Refused(self._name, Reason.REDIRECTED, words)
        return Refused(self._name, Reason.REJECTED, f"{self.host} answered {status}")

    def _late(self) -> ChannelError:
        words = f"{self.host} did not answer within {self._timeout_s:g} s"
        return Retryable(self._name, Reason.TIMEOUT, words)


async def _start_of(response: httpx.Response) -> bytes:
    """The first bytes of the body, as they came: what is compressed could be endless when unpacked."""
    said = b""
    async for chunk in response.aiter_raw():
        said += chunk
        if len(said) >= _BODY_MAX:
            break
    return said[:_BODY_MAX]
