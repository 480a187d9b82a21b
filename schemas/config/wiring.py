"""`keyfuse.yaml`: broker, store, intake, providers' addresses. Secrets come from environment or files."""

from __future__ import annotations

from typing import Annotated, Literal

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
    session_timeout_s: Annotated[float, Field(ge=1, le=40)] = 8
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
    """Usage events older than this are dropped, but for those under legal hold (`keyfuse hold`)."""


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
    max_in_flight_bytes: Annotated[int, Field(ge=1024)] = 32_000_000
    """Bodies held at once, from their first byte until the broker has them; more is answered 429 with Retry-After."""


class LeaksConfig(Config):
    """Leak reports over HTTP, beside the intake: `POST /v1/leaks`, and GitHub's secret scanning."""

    token_env: str = ""
    """Environment variable with a bearer token of their own. Without one the intake's token is taken."""
    trusted: bool = False
    """True: a report with that token is taken as verified. It needs a token of its own, for one that sends events must
    not be able to say more."""
    github: bool = False
    """True: take the webhook of GitHub's secret scanning partner programme at `/v1/leaks/github`, signature checked."""
    github_keys_url: str = "https://api.github.com/meta/public_keys/secret_scanning"
    """Where GitHub's public keys are."""
    github_keys_file: str = ""
    """... or a file with that same document, where there is no way out; then the address is not asked."""
    github_token_env: str = ""
    """Environment variable with a GitHub token, without any rights, for asking that address more often."""


class KeyRequestsConfig(Config):
    """Requests for keys over HTTP, beside the intake: `POST /v1/keys`."""

    token_env: str = ""
    """Environment variable with the bearer token that may ask for keys. Without one only the commands of the same
    machine may: `query-token` in data_dir."""
    wait_s: Annotated[float, Field(ge=0, le=60)] = 10
    """So long the answer is waited for; after that it is looked up by the request's id."""


class PeopleLeftConfig(Config):
    """`POST /v1/people/left`: the HR system says that somebody has left. Without a secret it is not there."""

    secret_env: str = ""
    """Environment variable with the secret by which its messages are signed (Standard Webhooks, `whsec_...`); several,
    with blanks between, while it is being changed."""
    secret_file: str = ""
    """... or the file that holds it."""


OpenOrClosed = Literal["open", "closed"]
Unpriced = Literal["refuse", "dearest"] | Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]


class GateConfig(Config):
    """The gate: answers gateways before each call."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8322
    """Port; 0 takes a free one."""
    token_env: str = ""
    """Environment variable with the bearer token that gateways give; empty: whoever reaches the address may ask."""
    replica: str = ""
    """This replica's name, the same after a restart. Empty: the machine's name and the port."""
    state_dir: str = ""
    """Where it keeps what a restart needs; empty: `gate` in data_dir."""
    throttled_requests_per_min: Annotated[int, Field(ge=1)] = 6
    """What a throttled key still gets at each replica; also one to be degraded, where no cheaper model is approved."""
    in_front_of: tuple[str, ...] = ()
    """Providers, by their names in `providers`, whose keys work only through gateways that ask the gate. Of keys of
    other providers a thief goes around it, and `keyfuse blast-radius` does not count on it."""
    unknown_keys: Literal["allow", "deny"] = "allow"
    """What keys get that are in no registry. deny once all of yours are."""
    fail: dict[str, OpenOrClosed] = Field(default_factory=lambda: dict[str, OpenOrClosed](prod="open", dev="closed"))
    """By environment, when the broker is not reached any more: open goes on with the last verdicts known and a local
    ceiling, closed refuses."""
    fail_otherwise: OpenOrClosed = "open"
    """Environments that are not listed."""
    stale_after_s: Annotated[float, Field(gt=0)] = 30
    """Without news from the broker for so long, what `fail` says begins."""
    local_ceiling_usd_per_min: Annotated[float, Field(gt=0)] = 20
    """What one key may spend at this replica in a minute while the broker is away."""
    reservation_s: Annotated[float, Field(gt=0)] = 600
    """A call that nobody settled for so long is counted at what was reserved for it."""
    lease_s: Annotated[float, Field(ge=1)] = 45
    """A slice of a budget is lent to a replica for so long."""
    seen_within_s: Annotated[float, Field(gt=0)] = 900
    """Usage of a call comes in at most so long after the call is over. What a dead replica held of a budget is free
    again after this time, `reservation_s` and `lease_s`; a smaller figure than the truth lets the sum pass the budget.
    Where usage is only fetched from a provider, its delay."""
    max_output_tokens: Annotated[int, Field(gt=0)] = 4096
    """Taken for a call that names no limit of its own, where the model's limit is not known."""
    unpriced: dict[str, Unpriced] = Field(default_factory=dict)
    """By environment, what becomes of a call whose model has no known price, or is not said, where a budget with a hard
    stop or a key's daily quota limits USD. refuse: it is denied. dearest: it counts at the dearest price known of its
    provider. A number: at so many USD for a million tokens; 0 if your own models cost nothing. With the latter two
    usage events must say `cost_usd`: usage without a cost lowers what is counted to nothing once it is seen."""
    unpriced_otherwise: Unpriced = "refuse"
    """Environments that are not listed."""

    def unpriced_in(self, env: str) -> Unpriced:
        """What holds in the environment."""
        return self.unpriced.get(env, self.unpriced_otherwise)


class HealthConfig(Config):
    """`/healthz`, `/readyz` and `/metrics` of workers without the role http; the contain role alone has no port."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Port; 0 takes a free one and says so in the log."""


class WatchdogConfig(Config):
    """Stages that live but no longer commit."""

    stuck_after_s: Annotated[float, Field(ge=0)] = 300
    """Of `ingest`, `score`, `uses`, `decide`, `identity-outcomes` and the archive of usage, one with records waiting in
    a partition whose commit stands still for so long, while the broker answers, begins anew; the third time without a
    commit there the worker ends with exit code 4. 0: never."""


class StateConfig(Config):
    """Checkpoints of the score stage."""

    shards: Annotated[int, Field(ge=1, le=1024)] = 16
    """Parts of one partition's state; each is written as one record under 512 KB."""
    rotation_s: Annotated[float, Field(gt=0)] = 10
    """Each changed shard is written once in this time; recovery replays at most as much."""
    idle_s: Annotated[float, Field(gt=0)] = 2
    """So long without traffic, and the clock of a partition follows the wall's: silence ends incidents."""


class DeclaredStepConfig(Config):
    """What your own automation does for one step, for the plan and for who approves."""

    reversible: bool = False
    """Your automation can undo it. Without this a person must approve it each time."""
    scope: Literal["key", "project", "account", "gateway"] = "key"
    """What stops working; anything wider than the one key is never chosen by itself."""
    typical_s: Annotated[float, Field(ge=0, le=3600)] = 10
    """Usual time until it is in effect."""
    breaks: str = Field(default="Whatever your own automation stops.", min_length=1, max_length=500)
    """What else breaks, in a sentence."""


class ProviderConfig(Config):
    """One provider's admin API."""

    kind: str = Field(min_length=1)
    """openai, anthropic, aws, google, azure, openrouter, litellm, kong, envoy, vault, webhook, command, gate (keys of
    Keyfuse's own) or sandbox."""
    base_url: str = ""
    """Other address than the provider's own. litellm: that of each replica, separated by commas."""
    secret_env: str = ""
    """Environment variable with the admin key."""
    secret_file: str = ""
    """... or the file that holds it ..."""
    secret_vault: Annotated[str, Field(pattern=r"^([\w.@+-]+(/[\w.@+-]+)+#[\w.@+-]+)?$")] = ""
    """... or where Vault's KV version 2 has it: `MOUNT/PATH#FIELD`, like `secret/keyfuse/openai#admin_key`."""
    ca_file: str = ""
    """kong, envoy and webhook: certificates (PEM) to trust instead of the public ones, for an address of your own; at
    `probe_url` besides them."""
    probe_url: str = ""
    """Where a harmless call (GET) is made with a key whose `probe_secret_...` is in keys.yaml, to see that it is really
    refused. Answers a good key with success, others with 401 or 403. Several, separated by commas: all must refuse.
    Empty: the provider's own list of models (openrouter: its own key); kong, envoy and others have none."""
    probe_header: str = ""
    """The header that carries the key in that call. Empty: the kind's own (kong: apikey, envoy: x-api-key,
    else mostly Authorization, with Bearer before the key)."""
    throttle_usd: Annotated[float, Field(gt=0, le=1000)] = 1
    """openrouter: what a throttled key may still spend, in USD."""
    degrade_to: Annotated[tuple[str, ...], Field(max_length=500)] = ()
    """openai: the models a project may still use while it is degraded; empty: that step is not offered."""
    command: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    """command: the program with its full path, then its arguments, one each. No shell; never a secret."""
    steps: dict[Literal["throttle", "degrade", "block", "disable", "revoke"], DeclaredStepConfig] = Field(
        default_factory=dict
    )
    """webhook and command: the steps that your automation has, by name: throttle, degrade, block, disable or revoke."""


class SwitchConfig(Config):
    """One system that tells a key's users which credential to use."""

    kind: str = Field(min_length=1)
    """vault (KV version 2), aws_secrets (AWS Secrets Manager) or webhook (your own automation)."""
    base_url: str = ""
    """Where it is; aws_secrets: other address than AWS's own."""
    secret_env: str = ""
    """Environment variable with the token (vault), `ACCESS_KEY_ID:SECRET` (aws_secrets; none: the machine's own role)
    or the signing secret (webhook) ..."""
    secret_file: str = ""
    """... or the file that holds it."""
    ca_file: str = ""
    """vault and webhook: certificates (PEM) to trust instead of the public ones."""
    mount: str = "secret"
    """vault: where KV version 2 is mounted."""
    region: str = ""
    """aws_secrets: the region of its secrets; empty: the machine's own."""


PublicKey = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class EvidenceConfig(Config):
    """Who signs the audit and what is handed out of it."""

    signing_key_env: str = ""
    """Environment variable with an Ed25519 private key (PEM, from `openssl genpkey -algorithm ed25519`) ..."""
    signing_key_file: str = ""
    """... or the file that holds it. Without a key heads of the audit and archives of incidents are unsigned."""
    former_public_keys: Annotated[tuple[PublicKey, ...], Field(max_length=100)] = ()
    """Public keys (64 hex digits, as `keyfuse audit heads -` shows them) that signed before the present one."""
    head_every_s: Annotated[float, Field(ge=1, le=86_400)] = 300
    """So often the archive writes down where the audit stands, when it has grown."""


class CommandsConfig(Config):
    """Who signs the orders to contain, and whose signature the contain worker believes."""

    signing_key_env: str = ""
    """decide: environment variable with an Ed25519 private key (PEM, from `openssl genpkey -algorithm ed25519`) ..."""
    signing_key_file: str = ""
    """... or the file that holds it. Empty: `commands.pem` in data_dir, which `keyfuse init` and `keyfuse up` make."""
    public_keys: Annotated[tuple[PublicKey, ...], Field(max_length=100)] = ()
    """contain: the public keys (64 hex digits, as `keyfuse check` shows them where decide runs) that are believed; two
    while the key is changed. Empty: the key of decide in the same process; a contain worker alone refuses to start."""
    max_age_s: Annotated[float, Field(ge=60, le=86_400)] = 3600
    """An order that was signed longer ago than this and has not begun is refused, not carried out."""


class VaultConfig(Config):
    """HashiCorp Vault, for admin keys with `secret_vault`. Asked once, at the start of the contain worker."""

    address: str = ""
    """Where Vault is, like https://vault.example.com:8200."""
    token_env: str = "VAULT_TOKEN"  # noqa: S105 - a name, not a secret
    """Environment variable with a token that may read those secrets ..."""
    token_file: str = ""
    """... or the file that holds it, such as a Vault Agent's sink."""
    namespace: str = ""
    """Of Vault Enterprise and HCP."""
    ca_file: str = ""
    """Certificates (PEM) to trust instead of the public ones."""
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 10
    """For one secret."""


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
    leaks: LeaksConfig = LeaksConfig()
    key_requests: KeyRequestsConfig = KeyRequestsConfig()
    people_left: PeopleLeftConfig = PeopleLeftConfig()
    gate: GateConfig = GateConfig()
    health: HealthConfig = HealthConfig()
    watchdog: WatchdogConfig = WatchdogConfig()
    state: StateConfig = StateConfig()
    evidence: EvidenceConfig = EvidenceConfig()
    commands: CommandsConfig = CommandsConfig()
    vault: VaultConfig = VaultConfig()
    providers: dict[str, ProviderConfig] = Field(default_factory=dict)
    """By the name that events and keys.yaml use as `provider`."""
    switches: dict[str, SwitchConfig] = Field(default_factory=dict)
    """By the name that keys.yaml uses in `switch`: where users are told to go on with a backup."""
    dead_letter_stop_ratio: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Above this share of bad records the ingest stops rather than dead-letter everything."""
