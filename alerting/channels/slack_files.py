"""Slack's way to add a file to a thread: ask where to put it, put it there, say that it is complete."""

from __future__ import annotations

import aiohttp
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from alerting.channels.errors import Reason, Retryable, retry_after_s
from alerting.channels.slack_client import SlackApi


def upload_place(answer: AsyncSlackResponse, api: SlackApi) -> tuple[str, str]:
    """Address and file id from Slack's answer, when the address is Slack's own or that of the configured API.

    Retryable when the answer names none; Refused when it leads elsewhere: the picture is nobody else's business.
    """
    url, file_id = answer.get("upload_url"), answer.get("file_id")
    if not (isinstance(url, str) and url and isinstance(file_id, str) and file_id):
        raise Retryable(api.name, Reason.BAD_ANSWER, "Slack did not say where to put the picture")
    return api.own(url), file_id


async def put(session: aiohttp.ClientSession, url: str, data: bytes, *, channel: str, timeout_s: float) -> None:
    """Send the bytes, without the token: the address itself is the permission. Raises Retryable or Refused."""
    try:
        async with session.post(url, data=data, headers={"Content-Type": "application/octet-stream"}) as response:
            status, wait_s = response.status, retry_after_s(response.headers.get("Retry-After"))
    except TimeoutError:
        verdict = Retryable(channel, Reason.TIMEOUT, f"the upload of a picture took over {timeout_s:g} s")
    except (aiohttp.ClientError, OSError) as error:
        verdict = Retryable(channel, Reason.CONNECTION, f"Slack's uploads cannot be reached: {type(error).__name__}")
    else:
        if status == 200:
            return
        reason = Reason.RATE_LIMITED if status == 429 else Reason.SERVER_ERROR
        verdict = Retryable(channel, reason, f"the upload of a picture was answered {status}", retry_after_s=wait_s)
    raise verdict
