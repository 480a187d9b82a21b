"""What comes to `POST /v1/slack`: is it from Slack, is it fresh, was it here before; and what does it say. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import parse_qsl

from pydantic import SecretStr
from slack_sdk.signature import Clock, SignatureVerifier

FRESH_S: Final = 300
_SEEN_MOST: Final = 20_000
_STAMP: Final = re.compile(r"[0-9]{1,12}")
_SIGNATURE: Final = re.compile(r"v0=[0-9a-f]{64}")
_FIELDS_MOST: Final = 100


class Outside(NamedTuple):
    """Why a call is not let in."""

    result: Literal["unsigned", "stale", "repeat"]
    words: str


_NOT_SLACK: Final = Outside("unsigned", "not signed by Slack")
_NOT_THIS_APP: Final = Outside("unsigned", "not signed by this Slack app")
_STALE: Final = Outside("stale", "signed too long ago, or this machine's clock is wrong")
_REPEAT: Final = Outside("repeat", "seen before")


class _Clock(Clock):
    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms

    def now(self) -> float:
        return self._now_ms() / 1000


class SlackDoor:
    """Lets in what Slack signed within five minutes, each request once."""

    def __init__(self, secret: SecretStr, *, now_ms: Callable[[], int]) -> None:
        self._clock = _Clock(now_ms)
        self._verifier = SignatureVerifier(secret.get_secret_value(), clock=self._clock)
        self._seen: dict[str, float] = {}  # signature → until when it could be used again, the oldest first

    def __repr__(self) -> str:
        return "SlackDoor()"

    def why_not(self, body: bytes, headers: Mapping[str, str]) -> Outside | None:
        """Why it stays outside; None when it is let in, which uses it up.

        Args:
            body: The bytes as they came: a body that was read and written again has another signature.
            headers: With the names in small letters.
        """
        stamp, signature = headers.get("x-slack-request-timestamp", ""), headers.get("x-slack-signature", "")
        if not _STAMP.fullmatch(stamp) or not _SIGNATURE.fullmatch(signature):
            return _NOT_SLACK
        if abs(self._clock.now() - int(stamp)) > FRESH_S:
            return _STALE
        try:
            valid = self._verifier.is_valid(body, stamp, signature)
        except UnicodeDecodeError:
            valid = False
        if not valid:
            return _NOT_THIS_APP
        return None if self._is_new(signature, int(stamp)) else _REPEAT

    def _is_new(self, signature: str, stamp_s: int) -> bool:
        now_s = self._clock.now()
        for old in [each for each, until_s in self._seen.items() if until_s < now_s]:
            del self._seen[old]
        if signature in self._seen:
            return False
        if len(self._seen) >= _SEEN_MOST:
            del self._seen[next(iter(self._seen))]
        self._seen[signature] = stamp_s + FRESH_S
        return True


def said_in(body: bytes, content_type: str) -> Any:  # noqa: ANN401 - JSON of others
    """What the body says: an interaction's payload, a command's fields, or a greeting. ValueError for anything else."""
    text = body.decode()
    if content_type.partition(";")[0].strip().lower() == "application/json":
        return _json(text)
    fields = dict(parse_qsl(text, max_num_fields=_FIELDS_MOST))
    return _json(fields["payload"]) if "payload" in fields else fields


def _json(text: str) -> Any:  # noqa: ANN401 - JSON of others
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
