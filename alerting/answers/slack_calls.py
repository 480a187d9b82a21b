"""What Slack is asked for on the way back: open a form, change it, tell one person something only they see."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from slack_sdk.webhook.async_client import AsyncWebhookClient

from alerting.answers.slack_said import Place
from alerting.channels.address import is_loopback
from alerting.channels.errors import ChannelError, Reason, Refused, Retryable
from alerting.channels.slack_client import MessageGone, SlackApi
from alerting.channels.slack_text import Block, cut
from alerting.deliver import Sleep

_TEXT_MAX: Final = 3000
_TRIES: Final = 3
_PAUSE_MAX_S: Final = 10.0


class SlackCalls:
    """One app in one workspace. Raises ChannelError."""

    def __init__(self, api: SlackApi, *, sleep: Sleep) -> None:
        self._api = api
        self._sleep = sleep

    async def open(self, trigger_id: str, view: Block) -> str:
        """Show a form to who clicked; its id. One try: the click is good for three seconds."""
        try:
            answer = await self._api.call(self._api.client.views_open(trigger_id=trigger_id, view=view))
        except MessageGone:
            raise Refused(self._api.name, Reason.GONE, "the form could not be opened") from None
        opened = answer.get("view")
        view_id = opened.get("id") if isinstance(opened, dict) else None
        if not isinstance(view_id, str):
            raise Retryable(self._api.name, Reason.BAD_ANSWER, "Slack did not say which form it opened")
        return view_id

    async def update(self, view_id: str, view: Block) -> None:
        """Show another form in its place."""
        try:
            await self._api.call(self._api.client.views_update(view_id=view_id, view=view))
        except MessageGone:
            raise Refused(self._api.name, Reason.GONE, "the form is closed") from None

    async def tell(self, place: Place, text: str, blocks: list[Block]) -> None:
        """Tell the one person, where they clicked. Bounded tries; the last error is raised."""
        for attempt in range(1, _TRIES + 1):
            try:
                await self._tell(place, cut(text, _TEXT_MAX), blocks)
            except Retryable as error:
                if attempt == _TRIES:
                    raise
                await self._sleep(min(error.retry_after_s or float(attempt), _PAUSE_MAX_S))
            else:
                return

    async def _tell(self, place: Place, text: str, blocks: list[Block]) -> None:
        """By the click's own address while it is good, which needs no rights; else as a message to one."""
        if place.response_url:
            try:
                await self._respond(place.response_url, text, blocks)
            except ChannelError:
                if not place.channel:
                    raise
            else:
                return
        if not place.channel:
            raise Refused(self._api.name, Reason.NOT_FOUND, "Slack did not say where to answer")
        try:
            await self._api.call(
                self._api.client.chat_postEphemeral(channel=place.channel, user=place.user, text=text, blocks=blocks)
            )
        except MessageGone:
            raise Refused(self._api.name, Reason.GONE, "the message is gone") from None

    async def _respond(self, url: str, text: str, blocks: list[Block]) -> None:
        own = self._api.own(url)
        client = AsyncWebhookClient(own, session=self._api.session, retry_handlers=[], logger=self._api.client.logger)
        if is_loopback(urlsplit(own).hostname or ""):
            client.proxy = None  # as SlackApi does
        answer = await self._api.call(
            client.send(text=text, blocks=blocks, response_type="ephemeral", replace_original=False)
        )
        if answer.status_code == 429 or answer.status_code >= 500:
            reason = Reason.RATE_LIMITED if answer.status_code == 429 else Reason.SERVER_ERROR
            raise Retryable(self._api.name, reason, f"the answer to a click was answered {answer.status_code}")
        if answer.status_code != 200:
            raise Refused(self._api.name, Reason.GONE, f"the answer to a click was answered {answer.status_code}")
