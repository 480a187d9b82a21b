"""A wish becomes a message: the secret is made here, by whoever asks, and only its fingerprint goes on."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import SecretStr, ValidationError

from controls.issuing import problems
from controls.issuing_desk import WAITS, waits
from controls.registry import Registry
from schemas.key_ask import KeyAsk, Problem, wish_of
from schemas.key_record import KeyRecord
from schemas.records import Via, rfc3339
from schemas.virtual_key import last4, new_virtual_key
from service.identity_desks import issuing_rules
from service.install import Install


class Prepared(NamedTuple):
    """A request that is fit to be sent, and what to show when it is granted; nothing of a provider's credential."""

    ask: KeyAsk
    secret: SecretStr | None


class Asker(NamedTuple):
    """Who asks, and where. The same id asks for the same once more."""

    by: str
    via: Via
    request_id: str = ""
    seal_to: str = ""  # of a provider's credential: the public key that it is sealed to


def prepare(
    install: Install, registry: Registry, data: Mapping[str, Any], asker: Asker, *, now_ms: int
) -> Prepared | list[Problem]:
    """All that is wrong, else the request. `registry` is as new as this process knows it; the desk looks again."""
    wish = wish_of(data)
    if isinstance(wish, list):
        return wish
    wrong = problems(asker.by, wish, registry, issuing_rules(install))
    if wrong:
        return wrong
    if wish.kind == "provider" and not asker.seal_to:
        return [Problem("seal_to", "an X25519 public key, 64 hex digits, that the credential is sealed to")]
    secret = new_virtual_key(secrets.randbelow) if wish.kind == "virtual" else None
    named = {} if secret is None else {
        "key_id": install.fingerprinter().of(secret.get_secret_value()), "last4": last4(secret)
    }  # fmt: skip
    try:
        ask = KeyAsk(
            request_id=asker.request_id or uuid.uuid4().hex, at_ms=now_ms, by=asker.by, via=asker.via, wish=wish,
            seal_to=asker.seal_to if secret is None else "", **named,
        )  # fmt: skip
    except ValidationError as error:  # what is left to go wrong are names
        expected = {
            "by": "expected a name: letters, digits and . _ - @",
            "request_id": "expected 1 to 100 of A-Z a-z 0-9 . _ : -",
            "seal_to": "expected an X25519 public key, 64 hex digits",
        }
        return [Problem(str(each["loc"][0]), expected.get(str(each["loc"][0]), each["msg"])) for each in error.errors()]
    return Prepared(ask, secret)


def standing_words(key: KeyRecord) -> str:
    """How the key stands, in a sentence for whoever asked for it."""
    if key.state == "pending" and not waits(key):
        return key.change
    if key.state == "pending":
        return f"it waits for an approver ({key.change.removeprefix(WAITS)})"
    if key.state == "refused":
        return key.change if key.change.startswith("refused") else f"refused: {key.change}"
    limits = [f"${key.quota_usd_per_day:,.2f} a day"] if key.quota_usd_per_day else []
    limits += [f"{key.quota_requests_per_min} requests a minute"] if key.quota_requests_per_min else []
    ends = f" until {rfc3339(key.expires_ms)[:16].replace('T', ' ')} UTC" if key.expires_ms else ""
    return f"{key.state}{ends}{', at most ' + ', '.join(limits) if limits else ''}"
