"""Slack's pictures: into the message's thread; the token goes to the API alone, the picture to no stranger."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator

import pytest

from alerting.channels.errors import ChannelError, Reason, Refused, Retryable
from alerting.channels.slack import SlackChannel
from alerting.picture import picture
from tests.alerting.kinds import NETWORKED, build, secrets_of
from tests.alerting.servers import Answer, Server, serving
from tests.alerting.world import incident, sketched

ONE = incident(sketch=sketched())
PNG = picture(ONE) or b""
WHERE, UPLOAD, COMPLETE = range(3)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(NETWORKED["slack"].well) as one:
        yield one


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[SlackChannel]:
    one = build("slack", server.url, timeout_s=0.5)
    assert isinstance(one, SlackChannel)
    yield one
    await one.close()


async def test_the_picture_goes_to_the_thread_of_the_message(server: Server, channel: SlackChannel) -> None:
    shown = await channel.deliver(ONE, None)
    await channel.illustrate(ONE, shown, PNG)
    where, upload, complete = server.arrived[1:]
    assert where.path.startswith("/api/files.getUploadURLExternal")
    assert (where.query["filename"], where.query["length"]) == ("inc_1.png", str(len(PNG)))
    assert "fp1:0123456789abcdef" in where.query["alt_txt"]
    assert (upload.path, upload.data) == ("/upload/v1/ABC", PNG)
    assert complete.path.startswith("/api/files.completeUploadExternal")
    assert (complete.query["channel_id"], complete.query["thread_ts"]) == ("C0123", "1795428000.000001")
    assert [each["id"] for each in json.loads(complete.query["files"])] == ["F2"]


async def test_the_token_is_not_sent_with_the_upload(server: Server, channel: SlackChannel) -> None:
    shown = await channel.deliver(ONE, None)
    await channel.illustrate(ONE, shown, PNG)
    upload = server.arrived[2]
    assert "Authorization" not in upload.headers
    assert secrets_of("slack")[0] not in f"{upload.path}{upload.headers}"


@pytest.mark.parametrize("step", [WHERE, UPLOAD, COMPLETE])
@pytest.mark.parametrize(
    ("answer", "error", "reason", "wait_s"),
    [
        (Answer(429, "{}", headers={"Retry-After": "7"}), Retryable, Reason.RATE_LIMITED, 7.0),
        (Answer(500, "oops", "text/plain"), Retryable, Reason.SERVER_ERROR, None),
        (Answer(302, headers={"Location": "/elsewhere"}), Refused, Reason.REDIRECTED, None),
        (Answer(hang=True), Retryable, Reason.TIMEOUT, None),
    ],
    ids=["429", "500", "redirect", "silence"],
)
async def test_verdicts(
    server: Server, channel: SlackChannel, step: int, answer: Answer, error: type[ChannelError], reason: Reason,
    wait_s: float | None,
) -> None:  # fmt: skip
    shown = await channel.deliver(ONE, None)
    server.answers = [*[_well(server, at) for at in range(step)], answer]
    with pytest.raises(error) as caught:
        await channel.illustrate(ONE, shown, PNG)
    assert (caught.value.reason, getattr(caught.value, "retry_after_s", None)) == (reason, wait_s)
    assert caught.value.__context__ is None
    assert len(server.arrived) == 2 + step, "one call is one try, and what follows a failure is not called"


def _well(server: Server, step: int) -> Answer:
    where = {"ok": True, "upload_url": f"{server.url}/upload/v1/ABC", "file_id": "F2"}
    return Answer(body=json.dumps(where) if step == WHERE else "OK - 123")


@pytest.mark.parametrize("body", ["{", "[]", '"ok"', "<html>", '{"ok": true}', '{"ok": true, "upload_url": 5}'])
async def test_nonsense_is_tried_again(server: Server, channel: SlackChannel, body: str) -> None:
    shown = await channel.deliver(ONE, None)
    server.answers = [Answer(200, body)]
    with pytest.raises(Retryable) as caught:
        await channel.illustrate(ONE, shown, PNG)
    assert caught.value.reason == Reason.BAD_ANSWER


@pytest.mark.parametrize(
    ("code", "error", "reason"),
    [
        ("missing_scope", Refused, Reason.UNAUTHORIZED),
        ("not_in_channel", Refused, Reason.NOT_FOUND),
        ("internal_error", Retryable, Reason.SERVER_ERROR),
        ("thread_not_found", Refused, Reason.GONE),
    ],
)
async def test_codes(
    server: Server, channel: SlackChannel, code: str, error: type[ChannelError], reason: Reason
) -> None:
    shown = await channel.deliver(ONE, None)
    server.answers = [Answer(200, json.dumps({"ok": False, "error": code}))]
    with pytest.raises(error) as caught:
        await channel.illustrate(ONE, shown, PNG)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/upload", "https://slack.com.evil.example/x", "http://169.254.169.254/latest",
        "https://files.slack.com/upload/v1/SECRETplace", "file:///etc/passwd", "https://user:pw@127.0.0.1/x",
    ],
)  # fmt: skip
async def test_a_foreign_address_gets_no_picture(
    server: Server, channel: SlackChannel, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also Slack's own, where another API is configured: its owner may not want anything to leave the house."""
    caplog.set_level(logging.DEBUG)
    shown = await channel.deliver(ONE, None)
    server.answers = [Answer(body=json.dumps({"ok": True, "upload_url": url, "file_id": "F1"}))]
    with pytest.raises(Refused) as caught:
        await channel.illustrate(ONE, shown, PNG)
    assert len(server.arrived) == 2
    assert "SECRETplace" not in f"{caught.value}{caplog.text}"


@pytest.mark.parametrize("wanted", [True, False])
async def test_pictures_can_be_switched_off(server: Server, wanted: bool) -> None:
    one = build("slack", server.url, pictures=wanted)
    assert isinstance(one, SlackChannel)
    assert one.pictures is wanted
    await one.close()


@pytest.mark.parametrize("step", [WHERE, UPLOAD, COMPLETE])
async def test_no_secret_is_seen_when_the_other_side_quotes_it(
    server: Server, channel: SlackChannel, step: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shown = await channel.deliver(ONE, None)
    server.answers = [*[_well(server, at) for at in range(step)], Answer(400, '{"ok": false, "error": "', echo=True)]
    with pytest.raises(ChannelError) as caught:
        await channel.illustrate(ONE, shown, PNG)
    assert secrets_of("slack")[0] not in f"{caught.value}{caught.value!r}{caplog.text}"
