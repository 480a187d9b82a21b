"""Slack: one message per incident, edited in place; each transition is a reply in its thread.

Needs a bot token with `chat:write`, and `files:write` for the pictures. A first post whose answer is lost may come
twice: Slack has no idempotency key for apps. Its message carries the incident's id as metadata, so that copies can be
recognised.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from pydantic import SecretStr
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from alerting.channels.address import checked_url, is_loopback
from alerting.channels.base import DeliveryState, shows
from alerting.channels.errors import ChannelError, Reason, Refused, Retryable, retry_after_s
from alerting.channels.slack_blocks import render, render_reply
from alerting.channels.slack_files import put, upload_place
from alerting.picture import caption
from alerting.runbook import RUNBOOKS
from schemas.config.routes import ChannelConfig
from schemas.records import Incident

__all__ = ["KIND", "SlackChannel", "build", "render"]

KIND: Final = "slack"
_API: Final = "https://slack.com/api/"
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


class _MessageGone(Exception):
    """The message cannot be edited any more, so it is posted anew."""


class SlackChannel:
    """One Slack conversation."""

    kind = KIND

    def __init__(self, name: str, config: ChannelConfig, secret: SecretStr, *, runbooks: str = RUNBOOKS) -> None:
        if not config.target:
            raise Refused(name, Reason.MISCONFIGURED, "target must be the Slack channel's id, such as C0123456789")
        if not secret.get_secret_value():
            raise Refused(name, Reason.MISCONFIGURED, "a Slack bot token is needed: secret_env or secret_file")
        self.name = name
        self._config = config
        self._runbooks = runbooks
        self._secret = secret
        self._url = checked_url(config.base_url or _API, channel=name, internal=config.internal)
        self._session: aiohttp.ClientSession | None = None
        self._log = logging.getLogger(f"{__name__}.sdk")
        self._log.setLevel(logging.INFO)  # at DEBUG the library logs whole answers, and an answer may quote the token

    def __repr__(self) -> str:
        return f"SlackChannel({self.name!r})"

    async def deliver(self, incident: Incident, previous: DeliveryState | None) -> DeliveryState:
        """Post the message, or edit it and add a reply to its thread."""
        if previous is None or not previous.ids.get("ts"):
            return await self._post(incident)
        try:
            await self._edit(incident, previous)
        except _MessageGone:
            return await self._post(incident)
        return shows(self, incident, previous.ids)

    @property
    def pictures(self) -> bool:
        """Whether `routes.yaml` wants them."""
        return self._config.pictures

    async def illustrate(self, incident: Incident, shown: DeliveryState, png: bytes) -> None:
        """Put the picture into the message's thread. What is uploaded and not completed, Slack forgets."""
        client, words = self._client(), caption(incident)
        place = await self._file_call(
            client.files_getUploadURLExternal(filename=f"{incident.incident_id}.png", length=len(png), alt_txt=words)
        )
        url, file_id = upload_place(place, channel=self.name, base_url=self._url, internal=self._config.internal)
        await put(self._session, url, png, channel=self.name, timeout_s=self._config.timeout_s)
        await self._file_call(
            client.files_completeUploadExternal(
                files=[{"id": file_id, "title": words}], channel_id=shown.ids["channel"], thread_ts=shown.ids["ts"]
            )
        )

    async def _file_call(self, call: Awaitable[AsyncSlackResponse]) -> AsyncSlackResponse:
        try:
            return await self._call(call)
        except _MessageGone:
            gone = Refused(self.name, Reason.GONE, "the message of the picture is gone")
        raise gone

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _post(self, incident: Incident) -> DeliveryState:
        text, blocks = render(incident, self._runbooks)
        answer = await self._call(
            self._client().chat_postMessage(
                channel=self._config.target, text=text, blocks=blocks, metadata=_metadata(incident),
                unfurl_links=False, unfurl_media=False,
            )
        )  # fmt: skip
        ts, channel = answer.get("ts"), answer.get("channel")
        if not isinstance(ts, str) or not isinstance(channel, str):
            raise Retryable(self.name, Reason.BAD_ANSWER, "Slack did not say which message it posted")
        return shows(self, incident, {"ts": ts, "channel": channel})

    async def _edit(self, incident: Incident, previous: DeliveryState) -> None:
        channel, ts, client = previous.ids["channel"], previous.ids["ts"], self._client()
        text, blocks = render(incident, self._runbooks)
        # The edit may be repeated without harm, the reply may not: so the reply comes last and ends the delivery.
        await self._call(
            client.chat_update(channel=channel, ts=ts, text=text, blocks=blocks, metadata=_metadata(incident))
        )
        text, blocks = render_reply(incident)
        await self._call(
            client.chat_postMessage(
                channel=channel, thread_ts=ts, text=text, blocks=blocks, metadata=_metadata(incident),
                unfurl_links=False, unfurl_media=False,
            )
        )  # fmt: skip

    def _client(self) -> AsyncWebClient:
        if self._session is None:  # not in __init__: a session belongs to a running loop
            timeout = aiohttp.ClientTimeout(total=self._config.timeout_s)
            self._session = aiohttp.ClientSession(timeout=timeout, middlewares=(self._stay,))
        client = AsyncWebClient(
            token=self._secret.get_secret_value(),
            base_url=self._url,
            session=self._session,
            retry_handlers=[],  # trying again is deliver()'s work, in one place for all channels
            logger=self._log,
        )
        if is_loopback(urlsplit(self._url).hostname or ""):
            client.proxy = None  # the library would send even this through a proxy of the environment
        return client

    async def _stay(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Follow no redirect: it would carry the incident to whoever answered."""
        response = await handler(request)
        if 300 <= response.status < 400:
            response.close()
            raise Refused(self.name, Reason.REDIRECTED, f"Slack answered {response.status}: check base_url")
        return response

    async def _call(self, call: Awaitable[AsyncSlackResponse]) -> AsyncSlackResponse:
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
            return _MessageGone(code)
        return _refusal(self.name, code)


def build(name: str, config: ChannelConfig, secret: SecretStr, *, runbooks: str = RUNBOOKS) -> SlackChannel:
    """The channel of one entry in `routes.yaml`. Refused when it is misconfigured."""
    return SlackChannel(name, config, secret, runbooks=runbooks)


def _refusal(name: str, code: str) -> ChannelError:
    if code in _LATER:
        return Retryable(name, Reason.SERVER_ERROR, f"Slack answered {code}")
    if code in _UNAUTHORIZED:
        return Refused(name, Reason.UNAUTHORIZED, f"Slack answered {code}: check the bot token and its scopes")
    if code in _NO_CHANNEL:
        return Refused(name, Reason.NOT_FOUND, f"Slack answered {code}: check target, and invite the bot")
    return Refused(name, Reason.REJECTED, f"Slack answered {code}")


def _metadata(incident: Incident) -> dict[str, Any]:
    payload = {"incident_id": incident.incident_id, "seq": incident.seq}
    return {"event_type": "keyfuse_incident", "event_payload": payload}
