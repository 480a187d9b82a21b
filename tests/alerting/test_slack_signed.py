"""`POST /v1/slack` lets in what Slack signed lately, once."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from alerting.answers.slack_signed import Outside, SlackDoor, said_in

# The example of Slack's documentation, "Verifying requests from Slack".
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
STAMP = 1531420618
FORM = "application/x-www-form-urlencoded"
BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name="
    b"foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2F"
    b"hooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015."
    b"47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
SIGNATURE = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"


def door(at_s: float = STAMP) -> SlackDoor:
    return SlackDoor(SecretStr(SECRET), now_ms=lambda: int(at_s * 1000))


def words(of: Outside | None) -> str:
    return of.words if of else ""


def headers(signature: str = SIGNATURE, stamp: object = STAMP) -> dict[str, str]:
    return {"x-slack-signature": signature, "x-slack-request-timestamp": str(stamp)}


def signed(body: bytes, stamp: int = STAMP, secret: str = SECRET) -> dict[str, str]:
    mac = hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    return headers(f"v0={mac}", stamp)


def test_the_example_of_the_documentation_is_let_in() -> None:
    assert door().why_not(BODY, headers()) is None
    assert said_in(BODY, FORM)["user_id"] == "U2CERLKJA"


@pytest.mark.parametrize(
    ("body", "given", "told"),
    [
        (BODY + b"&text=more", headers(), "not signed by this Slack app"),
        (BODY, signed(BODY, secret="another secret"), "not signed by this Slack app"),
        (BODY, signed(BODY, STAMP + 1) | {"x-slack-request-timestamp": str(STAMP)}, "not signed by this Slack app"),
        (BODY, headers("v0=" + "0" * 64), "not signed by this Slack app"),
        (b"\xff\xfe", signed(b"\xff\xfe"), "not signed by this Slack app"),
        (BODY, {}, "not signed by Slack"),
        (BODY, headers(""), "not signed by Slack"),
        (BODY, headers("v1=" + "0" * 64), "not signed by Slack"),
        (BODY, headers("v0=ä" + "0" * 63), "not signed by Slack"),
        (BODY, headers(stamp="yesterday"), "not signed by Slack"),
        (BODY, headers(stamp="-1"), "not signed by Slack"),
        (BODY, headers(stamp="9" * 5000), "not signed by Slack"),
        (BODY, signed(BODY, STAMP - 301), "too long ago"),
        (BODY, signed(BODY, STAMP + 301), "too long ago"),
    ],
)
def test_what_stays_outside(body: bytes, given: dict[str, str], told: str) -> None:
    assert told in words(door().why_not(body, given))


@pytest.mark.parametrize("late_s", [-300, 0, 300])
def test_within_five_minutes_it_is_fresh(late_s: int) -> None:
    assert door().why_not(BODY, signed(BODY, STAMP + late_s)) is None


def test_a_request_is_let_in_once_and_forgotten_when_it_is_stale_anyway() -> None:
    now_s = float(STAMP)
    one = SlackDoor(SecretStr(SECRET), now_ms=lambda: int(now_s * 1000))
    ahead = signed(BODY, STAMP + 300)
    assert one.why_not(BODY, headers()) is None
    assert one.why_not(BODY, ahead) is None
    assert one.why_not(BODY, headers()) == Outside("repeat", "seen before")
    now_s += 301
    assert "too long ago" in words(one.why_not(BODY, headers()))
    assert one.why_not(BODY, ahead) == Outside("repeat", "seen before")


def test_the_secret_is_not_shown() -> None:
    assert SECRET not in repr(door())


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (urlencode({"payload": '{"type": "block_actions"}'}), FORM, {"type": "block_actions"}),
        (b'{"type": "url_verification", "challenge": "x"}', "application/json; charset=utf-8",
         {"type": "url_verification", "challenge": "x"}),
        ("command=%2Fkeyfuse&text=a+%26lt%3B+b", FORM,
         {"command": "/keyfuse", "text": "a &lt; b"}),
    ],
)  # fmt: skip
def test_what_a_body_says(body: str | bytes, kind: str, expected: object) -> None:
    assert said_in(body.encode() if isinstance(body, str) else body, kind) == expected


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"payload=no", FORM), (b"\xff", FORM),
        (b"[", "application/json"), (b"[" * 100_000, "application/json"), (b"a=1&" * 200, ""),
    ],
)  # fmt: skip
def test_what_says_nothing(body: bytes, kind: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        said_in(body, kind)


@given(st.binary(max_size=50), st.text(max_size=80), st.text(max_size=20))
def test_nothing_forged_is_let_in_or_raises(body: bytes, signature: str, stamp: str) -> None:
    assert door().why_not(body, headers(signature, stamp))
