"""`detectors.yaml`: thresholds, windows, families on or off, overrides by environment and key."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from schemas.config.base import Config

Positive = Annotated[float, Field(gt=0)]


class LimitsConfig(Config):
    """Certain limits: no learning, in force from the first event. `null` switches a limit off."""

    enabled: bool = True
    """False: this family says nothing."""
    usd_per_min: Positive | None = 20.0
    """Spend of one key within a minute, in USD."""
    usd_per_hour: Positive | None = 200.0
    """Spend of one key within an hour, in USD."""
    requests_per_s: Positive | None = 200.0
    """Mean requests a second of one key over 10 seconds."""


class VelocityConfig(Config):
    """Novelty against the decayed maximum of what the key has done, with an hour-of-day ratio."""

    enabled: bool = True
    """False: this family says nothing."""
    alarm_per_key_week: Positive = 0.1
    """False alarms you accept per key and week; smaller is stricter, and later."""
    decay_per_10min: Annotated[float, Field(gt=0.9, lt=1)] = 0.999
    """How fast an old maximum fades; 0.999 halves it in 4.8 days."""
    hour_weight: Annotated[float, Field(ge=0, le=1)] = 0.15
    """Weight of the ratio to the usual level at this hour of the day."""
    min_usd_per_min: Annotated[float, Field(ge=0)] = 0.05
    """Below this spend a velocity finding is not worth waking anybody."""
    warmup_windows: Annotated[int, Field(ge=1)] = 36
    """Active 10-minute windows until a key's own history outweighs its cohort's."""


class MixConfig(Config):
    """Share of the key's models, now against always."""

    enabled: bool = True
    """False: this family says nothing."""
    alarm_per_key_week: Positive = 0.1
    """False alarms you accept per key and week."""
    min_requests: Annotated[int, Field(ge=1)] = 20
    """Requests a key must have made before its mix is judged."""


class OriginConfig(Config):
    """Networks, countries and user agents the key has not been used from before."""

    enabled: bool = True
    """False: this family says nothing."""
    alarm_per_key_week: Positive = 0.1
    """False alarms you accept per key and week."""
    min_requests: Annotated[int, Field(ge=1)] = 20
    """Requests a key must have made before its origins are judged."""


class DriftConfig(Config):
    """Slow ramps: Page-Hinkley on the clipped velocity score of each 10-minute window."""

    enabled: bool = True
    """False: this family says nothing."""
    delta: Annotated[float, Field(ge=0)] = 0.05
    """Change per window that is tolerated."""
    threshold: Positive = 12.0
    """Accumulated excess at which drift is told; larger is later."""


class CohortConfig(Config):
    """One Half-Space-Trees model per cohort over several features at once: a second opinion, never an alarm alone."""

    enabled: bool = True
    """False: this family says nothing."""
    alarm_per_key_week: Positive = 0.1
    """False alarms you accept per key and week."""
    n_trees: Annotated[int, Field(ge=1, le=100)] = 10
    """Trees in the forest; more is steadier and slower."""
    height: Annotated[int, Field(ge=2, le=12)] = 6
    """Depth of each tree; state doubles with each level."""
    window_samples: Annotated[int, Field(ge=10)] = 250
    """Samples after which the model replaces what it knows."""


class DetectorSettings(Config):
    """All families for one scope."""

    limits: LimitsConfig = LimitsConfig()
    velocity: VelocityConfig = VelocityConfig()
    mix: MixConfig = MixConfig()
    origin: OriginConfig = OriginConfig()
    drift: DriftConfig = DriftConfig()
    cohort: CohortConfig = CohortConfig()


class LimitsOverride(Config):
    """Limits that differ for one environment or key; what is not named stays as it is."""

    usd_per_min: Positive | None = None
    """Spend of the key within a minute, in USD."""
    usd_per_hour: Positive | None = None
    """Spend of the key within an hour, in USD."""
    requests_per_s: Positive | None = None
    """Mean requests a second of the key over 10 seconds."""


class TimeConfig(Config):
    """Event time."""

    max_future_s: Annotated[int, Field(ge=0)] = 30
    """An event further ahead of the wall clock than this is refused. Events of other producers up to a minute behind
    the newest still count in the fine windows, so more than 60 lets one wrong clock blind those windows for others."""
    refractory_s: Annotated[int, Field(ge=1)] = 60
    """After a finding the same family of the same key keeps quiet this long, unless it gets ten times worse."""
    dedup_s: Annotated[int, Field(ge=60)] = 900
    """A producer's own retry (same event_id) within this time is counted once."""


class DetectorsConfig(DetectorSettings):
    """`detectors.yaml`."""

    time: TimeConfig = TimeConfig()
    environments: dict[str, LimitsOverride] = Field(default_factory=dict)
    """Certain limits by environment."""
    keys: dict[str, LimitsOverride] = Field(default_factory=dict)
    """Certain limits by key_id; stronger than the environment's."""
