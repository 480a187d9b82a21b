"""One call as a gate is asked about it, and what the gate says. Units: tokens, nano-USD, seconds, milliseconds."""

from __future__ import annotations

from typing import NamedTuple

from schemas.verdict import GateState


class Call(NamedTuple):
    """What is known of a call before it is made. What an adapter cannot see stays empty."""

    key_id: str
    at_ms: int  # wall clock
    model: str = ""
    endpoint: str = ""
    input_tokens: int = 0  # counted, or estimated from bytes
    max_output_tokens: int | None = None  # as the client asks; None: the model's own limit
    requests: int = 1
    ip: str = ""
    country: str = ""  # ISO 3166, two capitals
    origin: str = ""  # of a browser
    user_agent: str = ""
    user_id: str = ""
    ours: bool = False  # its secret has the form of Keyfuse's own: one that is in no registry was never issued


class Ruling(NamedTuple):
    """What one plane says. Everything but `allow` has a rule and words."""

    state: GateState = "allow"
    rule: str = ""  # which rule, as `keyfuse policy explain` names it: "policy development is cheap: allowed_models"
    reason: str = ""  # one sentence, for whoever is refused; says what to do
    retry_after_s: float | None = None
    model: str = ""  # of degrade: go on with this one


ALLOW = Ruling()
