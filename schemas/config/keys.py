"""`keys.yaml`: what people write down about keys: whose, for what, where, and what to spare."""

from __future__ import annotations

from pydantic import Field

from schemas.config.base import Config
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


class KeysConfig(Config):
    """`keys.yaml`."""

    keys: tuple[KeyConfig, ...] = ()
    """All registered keys."""
