"""`keyfuse.yaml`: broker, store, intake, providers' addresses. Secrets come from environment or files."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from schemas.config.base import Config


class KafkaConfig(Config):
    """The broker."""

    bootstrap: str = "embedded"
    """`embedded` (Tansu, in memory, started by `keyfuse up`) or host:port[,host:port...]."""
    partitions: Annotated[int, Field(ge=1, le=256)] = 4
    """Of the usage topics. Cannot change while there is state."""
    replication_factor: Annotated[int, Field(ge=1)] = 1
    """Of all topics; 3 in production."""
    session_timeout_s: Annotated[float, Field(ge=1, le=40)] = 10
    """A killed worker's partitions are taken over after this; the embedded broker uses 2."""
    fetch_wait_ms: Annotated[int, Field(ge=1, le=5000)] = 100
    """How long an empty fetch may hang at the broker; the embedded broker uses 20."""
    topic_prefix: str = ""
    """Before each topic's name, so that two installs can share a cluster."""


class StoreConfig(Config):
    """Where everything lands."""

    dsn: str = "chdb://.keyfuse/store"
    """`chdb://PATH` (in process) or clickhouse://user@host:port/database."""
    password_env: str = ""
    """Environment variable with the password."""
    retention_days: Annotated[int, Field(ge=1)] = 90
    """Usage events older than this are dropped."""


class IntakeConfig(Config):
    """HTTP intake."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8321
    """Port; 0 takes a free one."""
    token_env: str = "KEYFUSE_INTAKE_TOKEN"  # noqa: S105 - a name, not a secret
    """Environment variable with the bearer token."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 5_000_000
    """Larger bodies are answered 413."""


class HealthConfig(Config):
    """`/healthz`, `/readyz` and `/metrics` of workers without the role http; the contain role alone has no port."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Port; 0 takes a free one and says so in the log."""


class StateConfig(Config):
    """Checkpoints of the score stage."""

    shards: Annotated[int, Field(ge=1, le=1024)] = 16
    """Parts of one partition's state; each is written as one record under 512 KB."""
    rotation_s: Annotated[float, Field(gt=0)] = 10
    """Each changed shard is written once in this time; recovery replays at most as much."""
    idle_s: Annotated[float, Field(gt=0)] = 2
    """So long without traffic, and the clock of a partition follows the wall's: silence ends incidents."""


class ProviderConfig(Config):
    """One provider's admin API."""

    kind: str = Field(min_length=1)
    """openai, anthropic, litellm or sandbox."""
    base_url: str = ""
    """Other address than the provider's own."""
    secret_env: str = ""
    """Environment variable with the admin key."""
    secret_file: str = ""
    """... or the file that holds it."""


class WiringConfig(Config):
    """`keyfuse.yaml`."""

    data_dir: str = ".keyfuse"
    """Where the embedded parts keep their files."""
    pepper_env: str = "KEYFUSE_PEPPER"
    """Environment variable with the fingerprint pepper ..."""
    pepper_file: str = ".keyfuse/pepper"
    """... or the file that holds it; `keyfuse init` makes one."""
    kafka: KafkaConfig = KafkaConfig()
    store: StoreConfig = StoreConfig()
    intake: IntakeConfig = IntakeConfig()
    health: HealthConfig = HealthConfig()
    state: StateConfig = StateConfig()
    providers: dict[str, ProviderConfig] = Field(default_factory=dict)
    """By the name that events and keys.yaml use as `provider`."""
    dead_letter_stop_ratio: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Above this share of bad records the ingest stops rather than dead-letter everything."""
