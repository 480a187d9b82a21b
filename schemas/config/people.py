"""`people.yaml`: who may say what. As long as it names nobody, whoever can reach Keyfuse may say everything."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.config.base import Config

Role = Literal["viewer", "responder", "approver", "admin"]


class PersonConfig(Config):
    """One person."""

    role: Role
    """viewer: look; responder: also answer incidents and order what can be undone; approver: also stand behind what
    cannot, and lift a freeze; admin: also what concerns the install."""
    slack: Annotated[str, Field(pattern=r"^([UW][A-Z0-9]{2,30})?$")] = ""
    """Slack's member id (profile, "Copy member ID"), such as U024BE7LH. Empty: unknown there."""
    pagerduty: Annotated[str, Field(pattern=r"^(P[A-Z0-9]{2,30})?$")] = ""
    """PagerDuty's user id, the end of the profile's address, such as PRJ4208. Empty: unknown there."""


PersonName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$")]


class PeopleConfig(Config):
    """`people.yaml`."""

    people: dict[PersonName, PersonConfig] = Field(default_factory=dict)
    """By the name that stands in incidents and in the audit; at the terminal it is the login name or `--by`."""
    final_needs_proof: bool = False
    """True: what cannot be undone counts only from people whom Slack proved, not by a name typed at a terminal."""
