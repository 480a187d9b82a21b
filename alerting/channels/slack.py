"""Slack: one message per incident, edited in place; each transition is a reply in its thread.

Needs a bot token with `chat:write`, and `files:write` for the pictures. A first post whose answer is lost may come
twice: Slack has no idempotency key for apps. Its message carries the incident's id as metadata, so that copies can be
recognised.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

from pydantic import SecretStr
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from alerting.asking import Shown
from alerting.channels import slack_questions
from alerting.channels.base import DeliveryState, shows
from alerting.channels.errors import Reason, Refused, Retryable
from alerting.channels.slack_blocks import render, render_reply
from alerting.channels.slack_client import MessageGone, SlackApi
from alerting.channels.slack_files import put, upload_place
from alerting.channels.slack_text import Block
from alerting.picture import caption
from alerting.runbook import RUNBOOKS
from schemas.config.routes import ChannelConfig
from schemas.question import Question
from schemas.records import Incident

__all__ = ["KIND", "SlackChannel", "build", "render"]

KIND: Final = "slack"


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
        self._api = SlackApi(name, config, secret)

    def __repr__(self) -> str:
        return f"SlackChannel({self.name!r})"

    async def deliver(self, incident: Incident, previous: DeliveryState | None) -> DeliveryState:
        """Post the message, or edit it and add a reply to its thread."""
        if previous is None or not previous.ids.get("ts"):
            return await self._post(incident)
        try:
            await self._edit(incident, previous)
        except MessageGone:
            return await self._post(incident)
        return shows(self, incident, previous.ids)

    @property
    def pictures(self) -> bool:
        """Whether `routes.yaml` wants them."""
        return self._config.pictures

    async def illustrate(self, incident: Incident, shown: DeliveryState, png: bytes) -> None:
        """Put the picture into the message's thread. What is uploaded and not completed, Slack forgets."""
        client, words = self._api.client, caption(incident)
        place = await self._file_call(
            client.files_getUploadURLExternal(filename=f"{incident.incident_id}.png", length=len(png), alt_txt=words)
        )
        url, file_id = upload_place(place, self._api)
        await put(self._api.session, url, png, channel=self.name, timeout_s=self._config.timeout_s)
        await self._file_call(
            client.files_completeUploadExternal(
                files=[{"id": file_id, "title": words}], channel_id=shown.ids["channel"], thread_ts=shown.ids["ts"]
            )
        )

    @property
    def hears(self) -> bool:
        """Whether buttons come back, by the channel's settings."""
        return self._config.slack.way != "none"

    async def ask(self, question: Question, previous: Shown | None, *, member: str = "") -> Shown:
        """One message for a question; to one person where `member` names one."""
        return await slack_questions.ask(
            self._api, member or self._config.target, question, previous, buttons=self.hears
        )

    async def _file_call(self, call: Awaitable[AsyncSlackResponse]) -> AsyncSlackResponse:
        try:
            return await self._api.call(call)
        except MessageGone:
            gone = Refused(self.name, Reason.GONE, "the message of the picture is gone")
        raise gone

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def _post(self, incident: Incident) -> DeliveryState:
        text, blocks = self._render(incident)
        answer = await self._api.call(
            self._api.client.chat_postMessage(
                channel=self._config.target, text=text, blocks=blocks, metadata=_metadata(incident),
                unfurl_links=False, unfurl_media=False,
            )
        )  # fmt: skip
        ts, channel = answer.get("ts"), answer.get("channel")
        if not isinstance(ts, str) or not isinstance(channel, str):
            raise Retryable(self.name, Reason.BAD_ANSWER, "Slack did not say which message it posted")
        return shows(self, incident, {"ts": ts, "channel": channel})

    async def _edit(self, incident: Incident, previous: DeliveryState) -> None:
        channel, ts, client = previous.ids["channel"], previous.ids["ts"], self._api.client
        text, blocks = self._render(incident)
        # The edit may be repeated without harm, the reply may not: so the reply comes last and ends the delivery.
        await self._api.call(
            client.chat_update(channel=channel, ts=ts, text=text, blocks=blocks, metadata=_metadata(incident))
        )
        text, blocks = render_reply(incident)
        await self._api.call(
            client.chat_postMessage(
                channel=channel, thread_ts=ts, text=text, blocks=blocks, metadata=_metadata(incident),
                unfurl_links=False, unfurl_media=False,
            )
        )  # fmt: skip

    def _render(self, incident: Incident) -> tuple[str, list[Block]]:
        return render(incident, self._runbooks, buttons=self._config.slack.timezone if self.hears else "")


def build(name: str, config: ChannelConfig, secret: SecretStr, *, runbooks: str = RUNBOOKS) -> SlackChannel:
    """The channel of one entry in `routes.yaml`. Refused when it is misconfigured."""
    return SlackChannel(name, config, secret, runbooks=runbooks)


def _metadata(incident: Incident) -> dict[str, Any]:
    payload = {"incident_id": incident.incident_id, "seq": incident.seq}
    return {"event_type": "keyfuse_incident", "event_payload": payload}
