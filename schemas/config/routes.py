"""`routes.yaml`: who is told. First matching route wins, unless it says `continue: true`."""

from __future__ import annotations

from pydantic import Field

from schemas.config.base import Config
from schemas.records import Severity


class RouteConfig(Config):
    """One route. An empty list matches all."""

    teams: tuple[str, ...] = ()
    """Team names."""
    envs: tuple[str, ...] = ()
    """Environments."""
    min_severity: Severity = "info"
    """Told from this severity up."""
    channels: tuple[str, ...] = Field(min_length=1)
    """Names of `channels`."""
    continue_: bool = Field(default=False, alias="continue")
    """Look at the next routes too."""


class ChannelConfig(Config):
    """One place to tell. Secrets are named by environment variable or file, never written here."""

    kind: str = Field(min_length=1)
    """slack, pagerduty or webhook."""
    target: str = ""
    """Slack: channel id; PagerDuty: leave empty; webhook: URL."""
    secret_env: str = ""
    """Environment variable with the token, routing key or signing secret."""
    secret_file: str = ""
    """... or the file that holds it."""
    base_url: str = ""
    """Other API address, for tests and proxies."""
    internal: bool = False
    """The receiver stands in your own network: plain http and private addresses are allowed."""
    pictures: bool = True
    """Slack: add a picture of the key's last hours to the incident's thread; needs the scope `files:write`."""
    timeout_s: float = Field(default=10, gt=0)
    """For one call."""


class RoutesConfig(Config):
    """`routes.yaml`."""

    channels: dict[str, ChannelConfig] = Field(default_factory=dict)
    """By the name routes use."""
    routes: tuple[RouteConfig, ...] = ()
    """In order."""
