"""One harmless call with a key itself, as its users make theirs: is it served, or refused?

Which call: one that costs nothing, changes nothing, and is denied to a key that does not work. 401 and 403 mean
refused, an answer of success means served, anything else nothing. What is answered besides its status is never
repeated: the other side knows the secret.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from containment.providers.base import Effect
from schemas.config.wiring import ProviderConfig
from schemas.records import Step

Seen = Literal["yes", "no", "unknown"]  # is it refused?
_REFUSED: Final = frozenset({401, 403})
_GOOGLE_REFUSES: Final = frozenset({"API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED"})
_AZURE_REF: Final = re.compile(r"[^/]+/[^/]+/(?P<account>[^/]+)/Key[12](?:#.*)?")


class Kind(NamedTuple):
    """How a kind of provider is called."""

    path: str = ""  # behind the address; empty: there is none that fits all, `probe_url` says it
    address: str = ""  # where callers call, unless `base_url` says it
    header: str = "Authorization"
    headers: Mapping[str, str] = {}
    shared: bool = True  # whether callers call where the admin API is
    blind: frozenset[Step] = frozenset()  # steps that such a call does not notice


KINDS: Final[Mapping[str, Kind]] = {
    # A spend limit stops what costs money, and a list of models costs none.
    "openai": Kind("/models", "https://api.openai.com/v1", blind=frozenset({"block"})),
    "anthropic": Kind(
        "/v1/models?limit=1", "https://api.anthropic.com", "x-api-key", {"anthropic-version": "2023-06-01"}
    ),
    # OpenRouter lists models to anybody.
    "openrouter": Kind("/key", "https://openrouter.ai/api/v1"),
    "litellm": Kind("/v1/models"),
    "google": Kind(
        "/v1beta/models?pageSize=1", "https://generativelanguage.googleapis.com", "x-goog-api-key", shared=False
    ),
    "azure": Kind(
        "/openai/models?api-version=2024-10-21", "https://{account}.openai.azure.com", "api-key", shared=False
    ),
    "kong": Kind(header="apikey"),
    "envoy": Kind(header="x-api-key"),
}
_ELSE: Final = Kind()


def has_call(config: ProviderConfig) -> bool:
    """Whether there is a harmless call for a provider of these settings."""
    return bool(config.probe_url or KINDS.get(config.kind, _ELSE).path)


class HarmlessCall:
    """The call for the keys of one provider.

    Args:
        config: The settings of the provider.
        timeout_s: For one call.

    Raises:
        ValueError: `ca_file` cannot be used.
    """

    def __init__(self, config: ProviderConfig, *, timeout_s: float) -> None:
        self._kind = KINDS.get(config.kind, _ELSE)
        self._google = config.kind == "google"
        self._header = config.probe_header or self._kind.header
        self._urls = _urls(config, self._kind)
        self._client = httpx.AsyncClient(
            timeout=timeout_s,
            follow_redirects=False,  # a key is not carried to wherever a redirect points
            headers={"user-agent": "keyfuse-probe", **self._kind.headers},
            verify=trusting_also(config.ca_file) if config.ca_file else True,
        )

    def notices(self, step: Step, ref: str) -> bool:
        """Whether the call tells anything about this step on this key."""
        return step not in self._kind.blind and bool(self._urls(ref))

    async def look(self, ref: str, secret: SecretStr) -> Effect:
        """Is the key refused? Asked at each address, at once: refused where all refuse, served where one serves."""
        urls = self._urls(ref)
        answers = await asyncio.gather(*(self._call(url, secret) for url in urls))
        states = {state for state, _ in answers}
        state: Seen = "no" if "no" in states else "yes" if states == {"yes"} else "unknown"
        if len(answers) == 1:
            return Effect(state, f"a call with the key: {answers[0][1]}")
        words = ", ".join(f"{said} at {urlsplit(url).netloc}" for url, (_, said) in zip(urls, answers, strict=True))
        return Effect(state, f"calls with the key: {words}")

    async def close(self) -> None:
        await self._client.aclose()

    async def _call(self, url: str, secret: SecretStr) -> tuple[Seen, str]:
        value = secret.get_secret_value()
        if not (value.isascii() and value.isprintable()):  # or the client's own debug log would quote it
            return "unknown", "not made: its secret is no text for a header"
        sent = f"Bearer {value}" if self._header.lower() == "authorization" else value
        try:
            answer = await self._client.get(url, headers={self._header: sent})
        except httpx.TimeoutException:
            return "unknown", "no answer in time"
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            return "unknown", f"not made ({type(exc).__name__})"
        return self._judged(answer), f"answered {answer.status_code}"

    def _judged(self, answer: httpx.Response) -> Seen:
        if answer.is_success:
            return "no"
        if self._google:  # which says 403 of much else, and 400 of a key that is gone
            return "yes" if _google_reason(answer) in _GOOGLE_REFUSES else "unknown"
        return "yes" if answer.status_code in _REFUSED else "unknown"


def trusting_also(ca_file: str) -> ssl.SSLContext:
    """The usual certificates and those of a file: a gateway has one or the other. ValueError where it has none."""
    context = httpx.create_ssl_context()
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:  # also what is in the file is no certificate
        raise ValueError(f"ca_file {ca_file} cannot be used: {type(error).__name__}") from None
    return context


def _urls(config: ProviderConfig, kind: Kind) -> Callable[[str], tuple[str, ...]]:
    if config.probe_url:
        urls = _parts(config.probe_url)
    elif kind.path:
        urls = tuple(part.rstrip("/") + kind.path for part in _parts((kind.shared and config.base_url) or kind.address))
    else:
        urls = ()

    def of(ref: str) -> tuple[str, ...]:
        if config.kind == "google" and "/serviceAccounts/" in ref:
            return ()  # its secret is a key file, which no header carries
        found = _AZURE_REF.fullmatch(ref)
        return tuple(url.replace("{account}", found["account"] if found else "") for url in urls)

    return of


def _parts(addresses: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in addresses.split(",") if part.strip())


def _google_reason(answer: httpx.Response) -> str:
    """The reason in an error of Google's, of those that may be there."""
    try:
        told: Any = answer.json()
        details = told["error"]["details"]
        return next(str(each["reason"]) for each in details if "reason" in each)
    except (ValueError, LookupError, TypeError, StopIteration):
        return ""
