"""`detectors.yaml`: thresholds, windows, families on or off, overrides by environment and key."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

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


class BudgetConfig(Config):
    """Certain, like limits: what one key may spend within a day and a month of UTC. Off until you set it."""

    enabled: bool = True
    """False: this family says nothing."""
    usd_per_day: Positive | None = None
    """Spend of one key within a day (UTC), in USD."""
    usd_per_month: Positive | None = None
    """Spend of one key within a calendar month (UTC), in USD."""


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
    alarm_per_key_week: Positive = 0.02
    """False alarms you accept per key and week."""
    min_requests: Annotated[int, Field(ge=1)] = 20
    """Requests a key must have made before its mix is judged."""


class OriginConfig(Config):
    """Networks, countries and user agents the key has not been used from before."""

    enabled: bool = True
    """False: this family says nothing."""
    alarm_per_key_week: Positive = 0.02
    """False alarms you accept per key and week."""
    min_requests: Annotated[int, Field(ge=1)] = 20
    """Requests a key must have made before its origins are judged."""


class EconomicsConfig(Config):
    """What a request costs and how long it is, the last minutes against the key's own usual."""

    enabled: bool = True
    """False: this family says nothing."""
    alarm_per_key_week: Positive = 0.05
    """False alarms you accept per key and week."""
    min_requests: Annotated[int, Field(ge=1)] = 20
    """Requests a key must have made before the cost of one is judged."""


class RhythmConfig(Config):
    """Use in hours in which the key rests, after a long silence, or in more of the day than ever."""

    enabled: bool = True
    """False: this family says nothing."""
    alarm_per_key_week: Positive = 0.01
    """False alarms you accept per key and week."""
    min_requests: Annotated[int, Field(ge=1)] = 20
    """Requests a key must have made before its hours are judged."""


class ErrorsConfig(Config):
    """Refused requests (4xx) and endpoints never used before: somebody tries what the key can do."""

    enabled: bool = True
    """False: this family says nothing."""
    alarm_per_key_week: Positive = 0.02
    """False alarms you accept per key and week."""
    min_requests: Annotated[int, Field(ge=1)] = 20
    """Requests a key must have made before its refused ones are judged."""


class DriftConfig(Config):
    """Slow ramps: Page-Hinkley on how far each 10-minute window is above the peaks of earlier days."""

    enabled: bool = True
    """False: this family says nothing."""
    alarm_per_key_week: Positive = 0.01
    """False alarms you accept per key and week; smaller is stricter, and later."""
    delta: Annotated[float, Field(ge=0)] = 0.25
    """Excess over the earlier days' peak (natural log) that is tolerated in each window."""


class RepetitionConfig(Config):
    """One and the same request over and over: an agent in a loop, a retry that never ends."""

    enabled: bool = True
    """False: this family says nothing."""
    alarm_per_key_week: Positive = 0.3
    """False alarms you accept per key and week."""
    min_requests: Annotated[int, Field(ge=1)] = 20
    """Requests a key must have made before repeats are judged."""


class CohortConfig(Config):
    """One Half-Space-Trees model per cohort over several features at once: a second opinion, never an alarm alone."""

    enabled: bool = True
    """False: this family says nothing."""
    alarm_per_key_week: Positive = 0.01
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
    budget: BudgetConfig = BudgetConfig()
    velocity: VelocityConfig = VelocityConfig()
    mix: MixConfig = MixConfig()
    origin: OriginConfig = OriginConfig()
    economics: EconomicsConfig = EconomicsConfig()
    rhythm: RhythmConfig = RhythmConfig()
    errors: ErrorsConfig = ErrorsConfig()
    drift: DriftConfig = DriftConfig()
    repetition: RepetitionConfig = RepetitionConfig()
    cohort: CohortConfig = CohortConfig()


class LimitsOverride(Config):
    """Limits that differ for one environment or key; what is not named stays as it is."""

    usd_per_min: Positive | None = None
    """Spend of the key within a minute, in USD."""
    usd_per_hour: Positive | None = None
    """Spend of the key within an hour, in USD."""
    requests_per_s: Positive | None = None
    """Mean requests a second of the key over 10 seconds."""
    usd_per_day: Positive | None = None
    """Spend of the key within a day (UTC), in USD."""
    usd_per_month: Positive | None = None
    """Spend of the key within a calendar month (UTC), in USD."""


class TimeConfig(Config):
    """Event time."""

    max_future_s: Annotated[int, Field(ge=0)] = 30
    """An event further ahead of the wall clock than this is refused. Events of other producers up to a minute behind
    the newest still count in the fine windows, so more than 60 lets one wrong clock blind those windows for others."""
    refractory_s: Annotated[int, Field(ge=1)] = 60
    """After a finding the same family of the same key keeps quiet this long, unless it gets ten times worse."""
    dedup_s: Annotated[int, Field(ge=60)] = 900
    """A producer's own retry (same event_id) within this time is counted once."""


def _moment(value: Any) -> datetime:  # noqa: ANN401 - whatever YAML holds
    """A date is its beginning; without an offset it is UTC."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - the line below gives it UTC
    if not isinstance(value, datetime):
        raise ValueError("a time (RFC 3339) or a date")
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string"})]
AnnouncedFamily = Literal["velocity", "drift", "economics", "mix", "origin", "rhythm", "errors", "repetition", "cohort"]


class AnnouncedConfig(Config):
    """More use than usual, known beforehand: a load test, a launch. Widens what counts as usual for the keys that
    match every scope given. Certain limits stay as they are unless `limits_times` says otherwise.
    """

    what: str = Field(min_length=1)
    """What is to happen; findings name it."""
    owner: str = Field(min_length=1)
    """Who answers for it."""
    reason: str = Field(min_length=1)
    """Why so much use is right."""
    keys: tuple[str, ...] = ()
    """key_ids, as shell-style patterns. What takes over from such a key is meant, too."""
    teams: tuple[str, ...] = ()
    """Team names, as patterns."""
    apps: tuple[str, ...] = ()
    """Application names, as patterns."""
    envs: tuple[str, ...] = ()
    """Environment names, as patterns."""
    from_: Moment = Field(alias="from")
    """When it begins, in event time. A date is its first moment in UTC."""
    until: Moment
    """When it is over; at most 31 days later. A date is its first moment in UTC, so name the day after the last."""
    times: Annotated[float, Field(ge=1.1, le=1000)] = 10.0
    """How many times the usual is expected at most; what is beyond is found as ever."""
    limits_times: Annotated[float, Field(ge=1, le=100)] = 1.0
    """How many times the certain limits (`limits`, not budgets) of these keys are in force meanwhile. 1: they stay."""
    families: tuple[AnnouncedFamily, ...] = ("velocity", "drift", "economics", "rhythm", "repetition", "cohort")
    """Families that expect it. velocity, drift and economics take `times` for usual; the others need a score higher by
    2 (a hundred times rarer) to speak. Add mix, origin or errors only when new models, places or failures are planned.
    """


class DetectorsConfig(DetectorSettings):
    """`detectors.yaml`."""

    time: TimeConfig = TimeConfig()
    environments: dict[str, LimitsOverride] = Field(default_factory=dict)
    """Certain limits by environment."""
    keys: dict[str, LimitsOverride] = Field(default_factory=dict)
    """Certain limits by key_id; stronger than the environment's. They hold for what takes over from the key, too."""
    announced: tuple[AnnouncedConfig, ...] = ()
    """Times in which more use than usual is expected of some keys. Where two overlap the greater counts."""
