"""Mail: one thread for each incident, in secret, and nothing foreign in a header."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from pydantic import SecretStr

from alerting.channels.base import Illustrated
from alerting.channels.build import build_channel
from alerting.channels.email import EmailChannel
from alerting.channels.errors import ChannelError, Reason, Refused, Retryable
from schemas.config.routes import ChannelConfig
from tests.alerting.certificate import server_side
from tests.alerting.kinds import RELAY_LOGIN, email_settings
from tests.alerting.smtp import Letter, Relay, relaying
from tests.alerting.world import FACTS, WORDS, incident

PNG = b"\x89PNG\r\n\x1a\n.\r\n..the picture"


def channel_to(relay: Relay, secret: str = RELAY_LOGIN[1], **changes: Any) -> EmailChannel:
    config = ChannelConfig(kind="email", timeout_s=5, email=email_settings(relay.port, **changes))
    channel = build_channel("ops", config, SecretStr(secret))
    assert isinstance(channel, EmailChannel)
    return channel


def text_of(letter: Letter) -> str:
    body = letter.mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


async def test_a_mail_says_what_every_channel_says() -> None:
    async with relaying(Relay(tls=server_side(), login=RELAY_LOGIN)) as relay:
        await channel_to(relay).deliver(incident(), None)
    (letter,) = relay.arrived
    assert (letter.over_tls, letter.signed_in) == (True, "keyfuse")
    assert (letter.sender, letter.to) == ("keyfuse@example.com", ("oncall@example.com", "sec@example.com"))
    assert letter.mail["Subject"] == "Keyfuse: openai key fp1:0123456789abcdef of search/ranker (prod)"
    assert (letter.mail["Importance"], letter.mail["Auto-Submitted"]) == ("high", "auto-generated")
    text = text_of(letter)
    assert text.startswith("CRITICAL, open: openai key fp1:0123456789abcdef")
    assert WORDS["velocity"] in text
    assert "docs/runbooks/velocity.md" in text


async def test_an_incident_is_a_thread() -> None:
    async with relaying(Relay(tls=server_side(), login=RELAY_LOGIN)) as relay:
        channel = channel_to(relay)
        first = await channel.deliver(incident(), None)
        second = await channel.deliver(incident(seq=2, state="resolved"), first)
        assert isinstance(channel, Illustrated)
        await channel.illustrate(incident(seq=2), second, PNG)
    root, reply, picture = (letter.mail for letter in relay.arrived)
    assert root["Message-ID"] == "<inc_1.1@example.com>"
    assert root["References"] is None
    for mail in (reply, picture):
        assert (mail["References"], mail["In-Reply-To"]) == (root["Message-ID"], root["Message-ID"])
        assert mail["Subject"] == f"Re: {root['Subject']}"
    assert len({mail["Message-ID"] for mail in (root, reply, picture)}) == 3
    (attached,) = picture.iter_attachments()
    assert (attached.get_content_type(), attached.get_filename()) == ("image/png", "inc_1.png")
    assert attached.get_content() == PNG
    assert first.ids == second.ids, "the same message, so its picture comes once"


async def test_the_same_version_has_the_same_id_for_each_try() -> None:
    async with relaying(Relay(tls=server_side(), login=RELAY_LOGIN)) as relay:
        for _ in range(2):
            await channel_to(relay).deliver(incident(), None)
    assert len({letter.mail["Message-ID"] for letter in relay.arrived}) == 1


async def test_foreign_text_makes_no_header_and_no_recipient() -> None:
    evil = "x\r\nBcc: thief@example.com\r\n\r\n.\r\nRCPT TO:<thief@example.com>"
    async with relaying(Relay(tls=server_side(), login=RELAY_LOGIN)) as relay:
        facts = FACTS.model_copy(update={"team": evil, "app": evil})
        await channel_to(relay).deliver(incident(facts=facts, key_id=evil, headline=evil, transition=evil), None)
    (letter,) = relay.arrived
    assert letter.to == ("oncall@example.com", "sec@example.com")
    assert letter.mail["Bcc"] is None
    assert not any("thief" in line for line in relay.lines if line.startswith(("RCPT", "MAIL")))


async def test_tls_from_the_first_byte() -> None:
    async with relaying(Relay(login=RELAY_LOGIN), at_once=server_side()) as relay:
        await channel_to(relay, security="ssl").deliver(incident(), None)
    assert relay.arrived[0].over_tls


async def test_a_relay_on_this_machine_needs_neither_tls_nor_sign_in() -> None:
    async with relaying(Relay()) as relay:
        await channel_to(relay, secret="", security="none", username="").deliver(incident(), None)
    assert (relay.arrived[0].over_tls, relay.arrived[0].signed_in) == (False, "")


async def test_a_relay_without_starttls_gets_nothing() -> None:
    """Somebody in between may have taken the offer out."""
    async with relaying(Relay(login=RELAY_LOGIN)) as relay:
        with pytest.raises(Refused) as caught:
            await channel_to(relay).deliver(incident(), None)
    assert caught.value.reason == Reason.MISCONFIGURED
    assert not any(line.startswith(("AUTH", "MAIL")) for line in relay.lines)


async def test_a_certificate_that_nobody_vouches_for_gets_no_password() -> None:
    async with relaying(Relay(tls=server_side(), login=RELAY_LOGIN)) as relay:
        with pytest.raises(Retryable) as caught:
            await channel_to(relay, ca_file="").deliver(incident(), None)
    assert caught.value.reason == Reason.CONNECTION
    assert "check ca_file" in caught.value.detail
    assert not any(line.startswith("AUTH") for line in relay.lines)


@pytest.mark.parametrize(
    ("verb", "answer", "error", "reason"),
    [
        ("EHLO", "421 4.3.2 shutting down", Retryable, Reason.SERVER_ERROR),
        ("MAIL", "451 4.3.0 try later", Retryable, Reason.SERVER_ERROR),
        ("MAIL", "550 5.7.1 not from you", Refused, Reason.REJECTED),
        ("DATA", "452 4.3.1 disk full", Retryable, Reason.SERVER_ERROR),
        ("DATA", "554 5.6.0 spam", Refused, Reason.REJECTED),
        ("AUTH", "454 4.7.0 directory is down", Retryable, Reason.SERVER_ERROR),
        ("AUTH", "535 5.7.8 {line}", Refused, Reason.UNAUTHORIZED),
        ("EHLO", "<html>", Retryable, Reason.BAD_ANSWER),
    ],
)
async def test_verdicts(verb: str, answer: str, error: type[ChannelError], reason: Reason) -> None:
    verbs = ["EHLO", "HELO"] if verb == "EHLO" else [verb]  # the older greeting is tried when the newer one fails
    answers = {each: [answer] * 3 for each in verbs}
    async with relaying(Relay(tls=server_side(), login=RELAY_LOGIN, answers=answers)) as relay:
        with pytest.raises(error) as caught:
            await channel_to(relay).deliver(incident(), None)
    assert caught.value.reason == reason
    assert caught.value.__context__ is None
    assert relay.arrived == []


async def test_a_wrong_password_is_not_quoted() -> None:
    async with relaying(Relay(tls=server_side(), login=("keyfuse", "right"))) as relay:
        with pytest.raises(Refused) as caught:
            await channel_to(relay).deliver(incident(), None)
    assert caught.value.reason == Reason.UNAUTHORIZED
    assert RELAY_LOGIN[1] not in f"{caught.value}{caught.value!r}"


async def test_one_address_refused_does_not_keep_it_from_the_others() -> None:
    async with relaying(Relay(tls=server_side(), login=RELAY_LOGIN, answers={"RCPT": ["550 5.1.1 unknown"]})) as relay:
        await channel_to(relay).deliver(incident(), None)
    assert relay.arrived[0].to == ("sec@example.com",)


@pytest.mark.parametrize(("codes", "error"), [(["550 no", "451 later"], Retryable), (["550 no", "550 no"], Refused)])
async def test_all_addresses_refused(codes: list[str], error: type[ChannelError]) -> None:
    async with relaying(Relay(tls=server_side(), login=RELAY_LOGIN, answers={"RCPT": codes})) as relay:
        with pytest.raises(error):
            await channel_to(relay).deliver(incident(), None)


@pytest.mark.parametrize(
    "changes",
    [
        {"host": ""}, {"to": ()}, {"sender": ""}, {"to": ("a@b\r\nBcc: c@d",)}, {"to": ("a@b, c@d",)},
        {"host": "relay.example.com", "security": "none"}, {"ca_file": "/nowhere.pem"},
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_at_the_start(changes: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        channel_to(Relay(port=25), **changes)
    assert caught.value.reason == Reason.MISCONFIGURED


def test_a_user_name_needs_a_password() -> None:
    with pytest.raises(Refused):
        channel_to(Relay(port=25), secret="")


def test_certificates_are_always_checked() -> None:
    tls = channel_to(Relay(port=25))._tls
    assert tls is not None
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)
