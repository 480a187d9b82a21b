"""A leak report as it is sent, read and rid of every secret. Pure: nothing that leaves here holds one.

The secret itself is in the report, and may be in its address or its words too, in a form that no rule for secrets
knows. So what is written as `key` anywhere in the body is taken out of every text of the body.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, NamedTuple

from pydantic import BeforeValidator, Field, SecretStr, ValidationError

from schemas.event import Name, OfOneKey, Text, parse_ts_ms
from schemas.fingerprint import FINGERPRINT, Fingerprinter
from schemas.records import Confidence, DeadReason, Leak
from schemas.redact import looks_secret, redact
from sources.envelope import Refusal, open_value
from sources.leak_secrets import Secrets
from sources.verdict import refusal

MAX_REPORTS: Final = 10_000  # in one body
_URL_KEPT: Final = 500
_TEXT_KEPT: Final = 120
_LATEST_MS: Final = 30_000


def _no_nul(value: object) -> object:
    if isinstance(value, str) and "\x00" in value:
        raise ValueError("holds a NUL byte")
    return value


def _stripped(value: object) -> object:
    """A key that was copied with the end of its line is the same key."""
    return value.strip() if isinstance(value, str) else value


class LeakReport(OfOneKey):
    """One report."""

    key: Annotated[SecretStr, BeforeValidator(_stripped), Field(min_length=8, max_length=4096)] | None = Field(
        default=None, repr=False
    )
    source: Name
    url: Annotated[str, BeforeValidator(_no_nul), Field(max_length=8192)] = ""
    found_at: Annotated[int | None, BeforeValidator(parse_ts_ms)] = None
    by: Text = ""
    type: Text = ""
    confidence: Confidence = "medium"

    @property
    def secret(self) -> str | None:
        """The secret itself, also where it was given as a name."""
        if self.key is not None:
            return self.key.get_secret_value()
        name = self.key_id or ""
        return name if looks_secret(name) and not FINGERPRINT.fullmatch(name) else None


class Report(NamedTuple):
    """One report without its secret."""

    at: int  # its place in the body, from 0
    names: tuple[str, ...]  # what the key may be called, the fingerprint first
    leak: Leak
    token_hash: str  # SHA-256 of the secret; empty when a name was given. For the reporter, not to be kept


def read_reports(
    body: bytes, fingerprinter: Fingerprinter, *, now_ms: int, github: bool = False
) -> tuple[list[Report], list[Refusal]]:
    """The reports of a body (one object, a list, or NDJSON), and what is wrong with it. Never raises.

    `github`: objects as GitHub's partner programme sends them, `token`, `type`, `url` and `source`.
    """
    docs, refusals = open_value(body, max_bytes=max(len(body), 1))
    if len(docs) > MAX_REPORTS:
        detail = f"{len(docs)} reports in one body, more than {MAX_REPORTS}"
        return [], [Refusal(-1, DeadReason.TOO_MANY_EVENTS, detail=detail)]
    told: list[tuple[int, LeakReport]] = []
    for index, doc in docs:
        one = _judge(_from_github(doc) if github else doc, index, now_ms + _LATEST_MS)
        if isinstance(one, Refusal):
            refusals.append(one)
        else:
            told.append((index, one))
    secrets = Secrets(one.secret for _, one in told if one.secret)
    reports = [_report(index, one, secrets, fingerprinter, now_ms) for index, one in told]
    return reports, sorted(refusals, key=lambda bad: bad.index)


def _from_github(doc: object) -> object:
    if not isinstance(doc, dict):
        return doc
    place = doc.get("source")
    return {
        "key": doc.get("token"), "type": doc.get("type"), "url": doc.get("url"), "by": "github",
        "source": f"github {place}" if isinstance(place, str) and place else "github",
        "confidence": "high",
    }  # fmt: skip


def _judge(doc: object, index: int, latest_ms: int) -> LeakReport | Refusal:
    try:
        one = LeakReport.model_validate(doc)
    except ValidationError as error:
        return refusal(error.errors(include_url=False)[0], index)
    if one.found_at is not None and one.found_at > latest_ms:
        return Refusal(index, DeadReason.TIME_OUT_OF_RANGE, "found_at", "the time is in the future")
    return one


def _report(index: int, one: LeakReport, secrets: Secrets, fingerprinter: Fingerprinter, now_ms: int) -> Report:
    secret = one.secret
    # LiteLLM and others call a key by the SHA-256 of its secret.
    digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest() if secret else ""
    names = (fingerprinter.of(secret), digest) if secret else (secrets.without(one.key_id or ""),)
    leak = Leak(
        source=_text(one.source, secrets) or "somewhere", url=_text(one.url, secrets, _URL_KEPT),
        by=_text(one.by, secrets), kind=_text(one.type, secrets), confidence=one.confidence,
        found_at_ms=one.found_at, told_at_ms=now_ms,
    )  # fmt: skip
    return Report(index, names, leak, digest)


def _text(text: str, secrets: Secrets, kept: int = _TEXT_KEPT) -> str:
    """One line without secrets, not endless, that can be written down anywhere."""
    cleaned = secrets.without(text)
    line = " ".join("".join(char if char.isprintable() else " " for char in cleaned).split())
    return (line if line == cleaned else redact(line))[:kept]
