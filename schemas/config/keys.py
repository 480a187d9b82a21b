"""`keys.yaml`: what people write down about keys: whose, for what, where, and what to spare."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.config.base import Config
from schemas.config.detectors import Moment
from schemas.config.policies import Country, Network
from schemas.key_record import DataClass, KeyRecord
from schemas.records import KeyFacts


class PlaceConfig(Config):
    """One place where the key's users read which credential they use."""

    at: str = Field(min_length=1)
    """A name from `switches` in keyfuse.yaml."""
    secret: str = ""
    """vault: the path of the secret that is read; aws_secrets: its name or ARN."""
    standby: str = ""
    """Where the backup's value lies ready. vault: the path of a secret whose fields replace those of the same name;
    aws_secrets: the staging label of a version of the same secret. Never a value itself."""


class KeyConfig(Config):
    """One key."""

    key_id: str = Field(min_length=1)
    """Its fingerprint (`fp1:...`) or the provider's public id, as it appears in events."""
    provider: str = Field(min_length=1)
    """The provider whose admin API can act on it: openai, anthropic, litellm, sandbox."""
    provider_ref: str | None = None
    """The provider's own id: OpenAI `proj_.../key_...` or `proj_.../sa/ID`, Anthropic `apikey_...`,
    LiteLLM and OpenRouter the key's hash,
    Azure `SUBSCRIPTION/RESOURCE_GROUP/ACCOUNT/Key1`, Vault a lease id or `prefix:PATH`,
    Kong `CONSUMER/KEY_AUTH_ID` (and `/sole`), Envoy `NAMESPACE/SECRET/CLIENT_ID`,
    AWS `iam/USER/AKIA...`, `bedrock/USER/ACCA...`, `role/ROLE` or `user/USER`, Google the resource's name, like
    `projects/P/locations/global/keys/K`."""
    probe_secret_env: str = ""
    """Environment variable, of the contain worker alone, with the key itself: a cut is then tried with it ..."""
    probe_secret_file: str = ""
    """... or the file that holds it, read at each try. Optional: without it a cut is read back, and not tried."""
    team: str = "unknown"
    """Owning team; routes by it."""
    app: str = "unknown"
    """Application that uses it."""
    env: str = "unknown"
    """Environment; modes, limits and acceptable loss go by it."""
    owner: str = ""
    """Who answers for it, as in people.yaml."""
    purpose: str = ""
    """What it is for, in a sentence."""
    scopes: tuple[str, ...] = ()
    """What it may do, as its provider calls it."""
    networks: tuple[Network, ...] = ()
    """Networks it may be used from, CIDR; empty: all that policies allow."""
    countries: tuple[Country, ...] = ()
    """Countries it may be used from, two capitals each."""
    origins: tuple[str, ...] = ()
    """Web origins whose pages may use it, as patterns."""
    data_class: DataClass = "internal"
    """What it may be shown: public, internal, confidential or restricted."""
    created: Moment | None = None
    """When it was made."""
    provider_limit_usd_per_month: Annotated[float, Field(gt=0)] | None = None
    """What its provider itself refuses beyond, as set in the provider's console."""
    expires: Moment | None = None
    """From then on gates refuse it."""
    rotate_every_days: Annotated[float, Field(gt=0, le=36_500)] | None = None
    """So often its secret is to be changed; overdue ones are listed and escalated."""
    rotated: Moment | None = None
    """When its secret was last changed, if not since it was made."""
    revalidated: Moment | None = None
    """When its owner last said that it is still needed."""
    protected: bool = False
    """True: never touched automatically, whatever happens."""
    backup: str = ""
    """key_id of another registered key that its users go on with: switched to before this one is cut."""
    switch: tuple[PlaceConfig, ...] = ()
    """Where its users are told, in this order; gates are told always."""

    def facts(self) -> KeyFacts:
        return KeyFacts(
            provider=self.provider,
            team=self.team,
            app=self.app,
            env=self.env,
            protected=self.protected,
            provider_ref=self.provider_ref,
        )

    def record(self) -> KeyRecord:
        """The entry in the form that issued keys have; nothing of it was changed yet by a command."""
        same = ("key_id", "provider", "provider_ref", "owner", "purpose", "team", "app", "env", "scopes", "networks",
                "countries", "origins", "data_class", "protected", "backup", "rotate_every_days",
                "provider_limit_usd_per_month")  # fmt: skip
        created_ms, rotated_ms = _ms(self.created), _ms(self.rotated)
        return KeyRecord(
            **{name: getattr(self, name) for name in same}, seq=0, at_ms=created_ms or 0, by="keys.yaml",
            change="registered in keys.yaml", kind="registered", state="active", created_ms=created_ms,
            expires_ms=_ms(self.expires), rotated_ms=rotated_ms or created_ms, revalidated_ms=_ms(self.revalidated),
        )  # fmt: skip


def _ms(moment: datetime | None) -> int | None:
    return round(moment.timestamp() * 1000) if moment else None


class IssueRule(Config):
    """What an environment gives to whoever asks for a key there."""

    instant: bool = False
    """True: no person is asked, as long as the team's budgets have room."""
    expires_days: Annotated[float, Field(gt=0, le=36_500)] | None = None
    """A key made here ends by itself after this long; a shorter time may be asked for."""
    rotate_every_days: Annotated[float, Field(gt=0, le=36_500)] | None = 90
    """How often its secret is to be changed."""
    quota_usd_per_day: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """What one key may spend in a day (UTC) unless its approver gave more."""
    quota_requests_per_min: Annotated[int, Field(gt=0)] | None = None
    """And how often it may be used in a minute."""
    most_per_owner: Annotated[int, Field(ge=1)] | None = None
    """So many keys one owner may have here without a person being asked; none: as many as they like."""
    provider_instant: bool = False
    """True: `instant` holds for credentials of a provider too, which no gate holds to a quota."""
    data_classes: tuple[DataClass, ...] = ("public", "internal")
    """What a key may be shown without a person being asked."""


class IssuingConfig(Config):
    """Keys that Keyfuse issues to whoever asks for one."""

    envs: dict[str, IssueRule] = Field(
        default_factory=lambda: {
            "dev": IssueRule(
                instant=True, expires_days=30, quota_usd_per_day=5, quota_requests_per_min=60, most_per_owner=10
            ),
            "sandbox": IssueRule(
                instant=True, expires_days=7, quota_usd_per_day=2, quota_requests_per_min=30, most_per_owner=5
            ),
        }
    )
    """By environment."""
    otherwise: IssueRule = IssueRule()
    """Environments that are not listed."""
    approvers: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """By team: who approves its keys, as in people.yaml. Teams not listed: everybody with the role approver."""
    approval_days: Annotated[float, Field(gt=0, le=36_500)] = 7
    """A request that nobody has answered for so long is refused."""
    provider: str = "keyfuse"
    """What events and incidents call the provider of Keyfuse's own keys. It is of kind gate without being named in
    keyfuse.yaml."""
    overlap_h: Annotated[float, Field(ge=0, le=720)] = 24
    """So long the old secret is served beside the new one after a rotation."""
    stale_days: Annotated[float, Field(gt=0, le=36_500)] = 30
    """A registered key that was not used for this long is told of."""

    def rule(self, env: str) -> IssueRule:
        """What holds in an environment."""
        return self.envs.get(env, self.otherwise)


class RotationConfig(Config):
    """Secrets are changed on schedule, and when somebody who knows one should not any more."""

    remind_before_days: Annotated[float, Field(ge=0, le=36_500)] = 7
    """The owner is told this long before a rotation is due ..."""
    escalate_after_days: Annotated[float, Field(gt=0, le=36_500)] = 7
    """... and, when it is overdue for this long, the owner's approvers and the team's route."""
    after_leaving_h: Annotated[float, Field(gt=0, le=36_500)] = 72
    """When its owner has left, a key's secret is due to be changed within this time ..."""
    after_transfer_days: Annotated[float, Field(gt=0, le=36_500)] = 14
    """... and within this when it got another owner."""
    most_per_day: Annotated[int, Field(ge=1)] = 50
    """So many owners are told within a day that a rotation is due, the most urgent first; those whose secret somebody
    knows who should not are told at once."""


class RevalidationConfig(Config):
    """Owners are asked whether their keys are still needed. Each step is stated in the question."""

    enabled: bool = False
    """True: campaigns run. A key is throttled and disabled only where the mode is `auto` (responses.yaml); in the other
    modes people are asked again instead, and disable it with the button."""
    every_days: Annotated[float, Field(gt=0, le=36_500)] = 90
    """Asked this long after the last answer, or after the key was made ..."""
    remind_after_days: Annotated[float, Field(gt=0, le=36_500)] = 7
    """... without an answer once more after this ..."""
    escalate_after_days: Annotated[float, Field(gt=0, le=36_500)] = 10
    """... then the owner's approvers are told ..."""
    throttle_after_days: Annotated[float, Field(gt=0, le=36_500)] = 14
    """... then the key is throttled ..."""
    disable_after_days: Annotated[float, Field(gt=0, le=36_500)] = 21
    """... and then disabled. All counted from when somebody was shown the question; protected keys are spared."""
    most_per_day: Annotated[int, Field(ge=1)] = 50
    """So many keys are asked about within a day, those that wait longest first."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        days = (self.remind_after_days, self.escalate_after_days, self.throttle_after_days, self.disable_after_days)
        if list(days) != sorted(set(days)):
            raise ValueError("remind, escalate, throttle and disable must come one after another: their days must grow")
        return self


class CensusConfig(Config):
    """Keys in use, held against what is registered. It tells people and never cuts."""

    unknown_keys: bool = True
    """False: a key in use that is not registered is no incident, where only some of the keys are registered."""


class KeysConfig(Config):
    """`keys.yaml`."""

    issuing: IssuingConfig = IssuingConfig()
    rotation: RotationConfig = RotationConfig()
    revalidation: RevalidationConfig = RevalidationConfig()

    census: CensusConfig = CensusConfig()
    keys: tuple[KeyConfig, ...] = ()
    """All registered keys."""
