"""Which controls hold for a key, in a closed list: what the threat model and the governance report go by. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from controls.blast_radius import Exposure, Radius
from schemas.key_record import KeyRecord

Control = Literal[
    "owner", "purpose", "expiry", "rotation", "revalidation", "backup", "gate", "models", "length", "rate", "places",
    "hard_budget", "limits", "day_limit", "cut", "cut_by_itself",
]  # fmt: skip
WORDS: Final[Mapping[Control, tuple[str, str]]] = {
    "owner": ("an owner is recorded", "`owner` in keys.yaml, or `keyfuse keys transfer`"),
    "purpose": ("its purpose is recorded", "`purpose` in keys.yaml"),
    "expiry": ("it ends by itself", "`expires` in keys.yaml; issued keys have it by `issuing`"),
    "rotation": ("its secret is changed on schedule", "`rotate_every_days` in keys.yaml, and `keyfuse keys rotate`"),
    "revalidation": ("its owner said lately that it is needed", "`revalidation.enabled` in keys.yaml"),
    "backup": ("a backup is registered", "`backup` in keys.yaml"),
    "gate": ("whoever uses it passes the gate", "a key of Keyfuse's own, or `gate.in_front_of` in keyfuse.yaml"),
    "models": ("its models are listed", "`allowed_models` in policies.yaml"),
    "length": ("the length of a request is limited", "`max_input_tokens` and `max_output_tokens` in policies.yaml"),
    "rate": ("its pace is limited", "ceilings in policies.yaml, or a quota of the key"),
    "places": ("its networks or countries are listed", "`networks` or `countries` in keys.yaml or policies.yaml"),
    "hard_budget": ("a budget stops it", "a budget with `hard_stop` in budgets.yaml"),
    "limits": ("certain limits by minute and hour", "`limits` in detectors.yaml"),
    "day_limit": ("a certain limit by day or month", "`usd_per_day` or `usd_per_month` in detectors.yaml"),
    "cut": ("Keyfuse can cut it", "its provider in keyfuse.yaml and `provider_ref` in keys.yaml"),
    "cut_by_itself": ("it is cut without waiting for a person", "mode `auto` in responses.yaml"),
}  # fmt: skip
"""What each means, and where it is set."""
AT_THE_GATE: Final[frozenset[Control]] = frozenset({"models", "length", "rate", "hard_budget"})
"""Controls that bind a thief only where the gate is in the way; elsewhere they are found out, not prevented."""


class Posture(NamedTuple):
    """One key: whose it is, what holds for it, what its theft could cost."""

    entry: KeyRecord
    controls: frozenset[Control]
    exposure: Exposure
    radius: Radius

    def holds(self, control: Control) -> bool:
        return control in self.controls

    def prevents(self, control: Control) -> bool:
        """Whether it binds a thief, too."""
        return control in self.controls and (control not in AT_THE_GATE or "gate" in self.controls)


def of_life(entry: KeyRecord, *, at_ms: int, revalidate_every_ms: int) -> frozenset[Control]:
    """The controls that stand in the key's own record.

    Args:
        entry: The key.
        at_ms: Now, wall clock.
        revalidate_every_ms: How long an owner's word counts.
    """
    day_ms = 86_400_000
    every_ms = None if entry.rotate_every_days is None else entry.rotate_every_days * day_ms
    rotated = every_ms is not None and entry.rotated_ms is not None and at_ms - entry.rotated_ms <= every_ms
    said = entry.revalidated_ms is not None and at_ms - entry.revalidated_ms <= revalidate_every_ms
    found: dict[Control, bool] = {
        "owner": bool(entry.owner), "purpose": bool(entry.purpose), "expiry": entry.expires_ms is not None,
        "rotation": rotated, "revalidation": said, "backup": bool(entry.backup),
    }  # fmt: skip
    return frozenset(control for control, so in found.items() if so)
