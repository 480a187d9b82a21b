"""What an adapter and the gate say to each other, and what a refused client reads. Pure; needs nothing of Keyfuse."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

PREFIX: Final = "kfk_"  # of a key that Keyfuse issued itself
NO_KEY: Final = "gate.no_key"  # the rule of a call that shows no key at all
_WHO: Final = (NO_KEY, "gate.unknown_keys", "life of the key")  # what these begin is about who calls: 401, not 403
_STAYS: Final = ("gate.unknown_keys", "life of the key", "verdict of incident")  # about the key, whatever it asks for
_HEADER_CHARS: Final = 400
_STATUS: Final = {"allow": 200, "degrade": 200, "throttle": 429, "deny": 403}


class Answer(NamedTuple):
    """What holds for one call. `away`: the gate did not say so itself."""

    state: str = "allow"  # allow, throttle, degrade, deny
    reason: str = ""
    rule: str = ""
    model: str = ""  # of degrade: go on with this one
    retry_after_s: float | None = None
    reservation: str = ""  # to be settled when the call is over
    use_instead: str = ""  # key_id of the backup to go on with
    key_id: str = ""
    away: bool = False

    @property
    def passes(self) -> bool:
        return self.state in {"allow", "degrade"}

    @property
    def status(self) -> int:
        """The HTTP status that says it."""
        if self.away and not self.passes:
            return 503
        return 401 if self.state == "deny" and self.rule.startswith(_WHO) else _STATUS[self.state]

    @property
    def stays(self) -> bool:
        """Whether it refuses the key itself, and so its next call as well."""
        return self.state == "deny" and self.rule.startswith(_STAYS)


def answer_of(said: Mapping[str, Any]) -> Answer:
    """The gate's JSON; ValueError when it is none of a gate."""
    if said.get("state") not in _STATUS:
        raise ValueError("the answer has no state: is this the address of a gate?")

    def text(name: str) -> str:
        return str(said.get(name) or "")

    wait = said.get("retry_after_s")
    return Answer(
        text("state"), text("reason"), text("rule"), text("model"),
        float(wait) if isinstance(wait, int | float) else None,
        text("reservation"), text("use_instead"), text("key_id"),
    )  # fmt: skip


def headers_of(answer: Answer) -> dict[str, str]:
    """What the client can see of a refused or degraded call; nothing for one that is simply allowed."""
    if answer.state == "allow":
        return {}
    named = {
        "x-keyfuse-state": answer.state,
        "x-keyfuse-reason": answer.reason,
        "x-keyfuse-rule": answer.rule,
        "x-keyfuse-model": answer.model,
        "x-keyfuse-use-instead": answer.use_instead,
    }
    if answer.state == "throttle" or (answer.away and not answer.passes):
        named["retry-after"] = str(max(1, math.ceil(answer.retry_after_s or 1)))
    return {name: _header(value) for name, value in named.items() if value}


def refusal(answer: Answer) -> dict[str, Any]:
    """The body of a refusal, in the shape that OpenAI's and other clients show."""
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 503: "api_error"}
    error: dict[str, Any] = {
        "message": words(answer),
        "type": kinds[answer.status],
        "param": None,
        "code": f"keyfuse_{answer.state}",
    }
    return {"error": error}


def words(answer: Answer) -> str:
    """One sentence for whoever is refused."""
    told = answer.reason or "refused, and the gate gave no reason"
    return f"Keyfuse: {told}" + (f" ({answer.rule})" if answer.rule else "")


def _header(value: str) -> str:
    """Headers carry no line breaks, and not every client reads more than ASCII."""
    line = " ".join(value.split())
    return line.encode("ascii", "replace").decode()[:_HEADER_CHARS]


NO_KEY_SHOWN: Final = Answer("deny", "no key was shown: send it as Authorization: Bearer ...", NO_KEY)
TWO_KEYS_SHOWN: Final = Answer("deny", "more than one key was shown: send one", NO_KEY)
