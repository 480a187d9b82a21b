"""What counts most in an incident, and which page says what to do about it. Pure."""

from __future__ import annotations

from typing import Final

from schemas.config import RoutesConfig
from schemas.records import CERTAIN, TOLD, Family, Incident

RUNBOOKS: Final = RoutesConfig().runbook_url
ANY: Final = "README"
"""The page for an incident without a family: somebody acted on a key that looked healthy, or its step failed."""


def by_weight(incident: Incident) -> tuple[Family, ...]:
    """Its families, what counts most first: certain limits, then what others report, then the rarest; whose the key is
    comes last, for it can wait.
    """
    scores = incident.scores

    def weight(family: Family) -> tuple[bool, bool, bool, float]:
        return family not in CERTAIN, family == "identity", family not in TOLD, -scores.get(family, 0.0)

    return tuple(sorted(incident.families, key=weight))


def runbook(incident: Incident, template: str = RUNBOOKS) -> str:
    """The page of the family that weighs most; `template` is `runbook_url` of `routes.yaml`."""
    families = by_weight(incident)
    return template.replace("{family}", families[0] if families else ANY)


def as_link(page: str) -> str | None:
    """The page when a click can open it; None for a path, such as that of the default.

    >>> as_link("https://wiki.example.com/velocity"), as_link("docs/runbooks/velocity.md")
    ('https://wiki.example.com/velocity', None)
    """
    return page if page.startswith(("https://", "http://")) else None
