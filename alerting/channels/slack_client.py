"""Slack's Web API for one app: one try, errors in a channel's words, no redirects, no foreign addresses."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
from pydantic import SecretStr
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from alerting.channels.address import checked_url, is_loopback
from alerting.channels.errors import ChannelError, Reason, Refused, Retryable, retry_after_s
from schemas.config.routes import ChannelConfig

T = TypeVar("T")
_API: Final = "https://slack.com/api/"
_DOMAINS: Final = ("slack.com", "slack-gov.com")
_CODE: Final = re.compile(r"[a-z_]{1,64}")  # Slack's error codes; a token has digits and dashes and never matches
_LATER: Final = frozenset(
    {"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org", "rollup_error"}
)
_LIMITED: Final = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
_UNAUTHORIZED: Final = frozenset(
    {
        "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "no_permission",
        "missing_scope", "org_login_required", "ekm_access_denied", "access_denied", "not_allowed_token_type",
    }
)  # fmt: skip
_NO_CHANNEL: Final = frozenset({"channel_not_found", "not_in_channel", "is_archived"})
_NO_MESSAGE: Final = frozenset({"message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found"})


class MessageGone(Exception):
    """The message cannot be edited any more, so it is posted anew."""


class SlackApi:
    """Calls with one token. Its session opens with the first call, for it belongs to a running loop."""

    def __init__(self, name: str, config: ChannelConfig, secret: SecretStr) -> None:
        self.name = name
        self.url = checked_url(config.base_url or _API, channel=name, internal=config.internal)
        self._config = config
        self._secret = secret
        self._session: aiohttp.ClientSession | None = None
        self._log = logging.getLogger(f"{__name__}.sdk")
        self._log.setLevel(logging.INFO)  # at DEBUG the library logs whole answers, and an answer may quote the token

    def __repr__(self) -> str:
        return f"SlackApi({self.name!r})"

    @property
    def session(self) -> aiohttp.ClientSession:
        """For what is no call of the API; it follows no redirect."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._config.timeout_s)
            self._session = aiohttp.ClientSession(timeout=timeout, middlewares=(self._stay,))
        return self._session

    @property
    def client(self) -> AsyncWebClient:
        """The official client, to make calls for `call` with."""
        client = AsyncWebClient(
            token=self._secret.get_secret_value(),
            base_url=self.url,
            session=self.session,
            retry_handlers=[],  # trying again is deliver()'s work, in one place for all channels
            logger=self._log,
        )
        if is_loopback(urlsplit(self.url).hostname or ""):
            client.proxy = None  # the library would send even this through a proxy of the environment
        return client

    async def call(self, call: Awaitable[T]) -> T:
        """Await a call of the library. Raises Retryable, Refused, or MessageGone."""
        try:
            return await call
        except SlackApiError as error:
            verdict = self._verdict(error)
        except TimeoutError:
            verdict = Retryable(self.name, Reason.TIMEOUT, f"no answer within {self._config.timeout_s:g} s")
        except (aiohttp.ClientError, OSError) as error:
            verdict = Retryable(self.name, Reason.CONNECTION, f"Slack cannot be reached: {type(error).__name__}")
        except (AttributeError, ValueError):  # the library's own stumbling over an answer that is no JSON object
            verdict = Retryable(self.name, Reason.BAD_ANSWER, "the answer is not Slack's")
        raise verdict

    def own(self, url: str) -> str:
        """An address that Slack named, when it is Slack's own or that of the configured API; Refused otherwise."""
        checked = checked_url(url, channel=self.name, internal=self._config.internal)
        host, base = urlsplit(checked).hostname or "", urlsplit(self.url).hostname or ""
        if host == base or (is_slack(host) and is_slack(base)):
            return checked
        raise Refused(self.name, Reason.FORBIDDEN_ADDRESS, "Slack named a foreign address")

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _stay(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Follow no redirect: it would carry the incident to whoever answered."""
        response = await handler(request)
        if 300 <= response.status < 400:
            response.close()
            raise Refused(self.name, Reason.REDIRECTED, f"Slack answered {response.status}: check base_url")
        return response

    def _verdict(self, error: SlackApiError) -> Exception:
        response: Any = error.response
        status: int = getattr(response, "status_code", 0) or getattr(response, "status", 0)
        data = getattr(response, "data", None)
        code = data.get("error") if isinstance(data, dict) else None
        if status == 429 or code in _LIMITED:
            wait_s = retry_after_s(response.headers.get("Retry-After"))
            return Retryable(self.name, Reason.RATE_LIMITED, "Slack asks to slow down", retry_after_s=wait_s)
        if status >= 500:
            return Retryable(self.name, Reason.SERVER_ERROR, f"Slack answered {status}")
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            return Retryable(self.name, Reason.BAD_ANSWER, f"the answer with status {status} is not Slack's")
        if code in _NO_MESSAGE:
            return MessageGone(code)
        return _refusal(self.name, code)


def is_slack(host: str) -> bool:
    """Slack's own host, and none that only ends like it.

    >>> is_slack("files.slack.com"), is_slack("notslack.com")
    (True, False)
    """
    return any(host == domain or host.endswith(f".{domain}") for domain in _DOMAINS)


def _refusal(name: str, code: str) -> ChannelError:
    if code in _LATER:
        return Retryable(name, Reason.SERVER_ERROR, f"Slack answered {code}")
    if code in _UNAUTHORIZED:
        return Refused(name, Reason.UNAUTHORIZED, f"Slack answered {code}: check the token and its scopes")
    if code in _NO_CHANNEL:
        return Refused(name, Reason.NOT_FOUND, f"Slack answered {code}: check target, and invite the bot")
    return Refused(name, Reason.REJECTED, f"Slack answered {code}")
