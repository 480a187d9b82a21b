"""The configuration folder as one typed tree: which file holds what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from schemas.config import (
    BudgetsConfig,
    DetectorsConfig,
    KeysConfig,
    PeopleConfig,
    PoliciesConfig,
    ResponsesConfig,
    RoutesConfig,
    WiringConfig,
)


@dataclass(frozen=True)
class Folder:
    """All settings of one install, valid by themselves and against each other."""

    wiring: WiringConfig = field(default_factory=WiringConfig)
    detectors: DetectorsConfig = field(default_factory=DetectorsConfig)
    keys: KeysConfig = field(default_factory=KeysConfig)
    policies: PoliciesConfig = field(default_factory=PoliciesConfig)
    budgets: BudgetsConfig = field(default_factory=BudgetsConfig)
    routes: RoutesConfig = field(default_factory=RoutesConfig)
    responses: ResponsesConfig = field(default_factory=ResponsesConfig)
    people: PeopleConfig = field(default_factory=PeopleConfig)
    shadow: DetectorsConfig | None = None
    """A candidate for `detectors`, judged beside it and never acted upon; None when there is no such file."""


class ConfigFile(NamedTuple):
    """One file of the folder."""

    name: str
    part: str  # the field of Folder it fills
    model: type[BaseModel]
    purpose: str

    def parse(self, data: dict[str, Any]) -> BaseModel:
        """Raises pydantic's ValidationError with every mistake."""
        return self.model.model_validate(data)


FILES: Final[tuple[ConfigFile, ...]] = (
    ConfigFile("keyfuse.yaml", "wiring", WiringConfig, "Broker, store, intake, and the providers' admin APIs."),
    ConfigFile("detectors.yaml", "detectors", DetectorsConfig, "What counts as suspicious, and from when."),
    ConfigFile("keys.yaml", "keys", KeysConfig, "Your keys: whose, for what, where, and which to spare."),
    ConfigFile("policies.yaml", "policies", PoliciesConfig, "What a key may do."),
    ConfigFile("budgets.yaml", "budgets", BudgetsConfig, "What one theft may cost before it must be over."),
    ConfigFile("routes.yaml", "routes", RoutesConfig, "Who is told. The first route that matches wins."),
    ConfigFile(
        "responses.yaml", "responses", ResponsesConfig, "What Keyfuse does about it, and what protects you from it."
    ),
    ConfigFile("people.yaml", "people", PeopleConfig, "Who may say what. While nobody is named, everybody may."),
)
SHADOW: Final = ConfigFile(
    "detectors.shadow.yaml", "shadow", DetectorsConfig, "A whole detectors.yaml on trial: what it says is only kept."
)
"""The one file that need not be there: without it nothing is on trial."""
