"""`routes.yaml`: who is told. First matching route wins, unless it says `continue: true`."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from schemas.config.base import Config
from schemas.config.policies import known_timezone
from schemas.records import Severity

_HOUR: Final = r"^(([01][0-9]|2[0-3]):[0-5][0-9])?$"


class EscalationConfig(Config):
    """Further channels for an incident that nobody has acknowledged."""

    after_min: float = Field(gt=0, le=10_080)
    """Minutes since people were asked: since the incident opened, opened again, or turned critical."""
    to: tuple[str, ...] = Field(min_length=1)
    """Names of `channels`."""


class QuietHoursConfig(Config):
    """When a route holds back what is not critical, each day. Both times empty: never."""

    timezone: str = "UTC"
    """An IANA name, such as Europe/Berlin."""
    from_: str = Field(default="", alias="from", pattern=_HOUR)
    """The first quiet minute, as 22:00 of that timezone."""
    until: str = Field(default="", pattern=_HOUR)
    """The first minute that is not quiet any more, as 07:00; may be on the next day."""

    @model_validator(mode="after")
    def _is_a_time_of_day(self) -> Self:
        if bool(self.from_) != bool(self.until):
            raise ValueError("quiet hours need both from and until")
        if self.from_ and self.from_ == self.until:
            raise ValueError("quiet hours that begin when they end would never end")
        if self.from_:  # else no list of timezones is needed
            known_timezone(self.timezone)
        return self


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
    escalate: tuple[EscalationConfig, ...] = ()
    """Whom to tell besides while nobody acknowledges; contained and closed incidents need nobody."""
    quiet_hours: QuietHoursConfig = QuietHoursConfig()
    """What is less than critical waits for the end of these hours."""


class EmailConfig(Config):
    """A channel of kind `email`: one thread of mails for each incident."""

    host: str = Field(default="", max_length=253)
    """The mail relay's name; needed."""
    port: int = Field(default=587, ge=1, le=65535)
    """587 for `starttls`, 465 for `ssl`, 25 for `none`."""
    security: Literal["starttls", "ssl", "none"] = "starttls"
    """`none` sends in the clear: to this machine, or with `internal: true`. There is no silent fall-back to it."""
    ca_file: str = ""
    """Certificates that the relay's is checked against; empty: the system's."""
    username: str = Field(default="", max_length=320)
    """To sign in with; the password is the channel's secret. Empty: the relay asks for none."""
    sender: str = Field(default="", max_length=320)
    """The address that mails come from; needed."""
    to: tuple[str, ...] = Field(default=(), max_length=50)
    """The addresses that mails go to; needed."""


class SyslogConfig(Config):
    """A channel of kind `syslog`: RFC 5424 messages that carry OCSF Detection Findings as JSON, for the SIEM."""

    host: str = Field(default="", max_length=253)
    """The collector's name; needed."""
    port: int = Field(default=6514, ge=1, le=65535)
    """6514 for `tls`; `tcp` and `udp` are mostly 514."""
    transport: Literal["tls", "tcp", "udp"] = "tls"
    """`tcp` and `udp` send in the clear: to this machine, or with `internal: true`. `udp` may lose messages unseen."""
    ca_file: str = ""
    """Certificates that the collector's is checked against; empty: the system's."""
    facility: int = Field(default=16, ge=0, le=23)
    """Syslog facility; 16 is local0."""
    hostname: str = Field(default="-", pattern=r"^[\x21-\x7e]{1,255}$")
    """What stands in the message as the sending machine; `-` leaves it out."""


class SlackConfig(Config):
    """A channel of kind `slack`: how people answer it. Without either secret there are no buttons."""

    answers: Literal["auto", "socket", "http", "none"] = "auto"
    """`socket`: over a connection that Keyfuse opens (Socket Mode); `http`: by signed calls to `POST /v1/slack`;
    `none`: not, and there are no buttons; `auto`: `socket` where an app token is named, else `http` where a signing
    secret is."""
    app_token_env: str = ""
    """For `socket`: environment variable with the app-level token (`xapp-`, scope `connections:write`)."""
    app_token_file: str = ""
    """... or the file that holds it."""
    signing_secret_env: str = ""
    """For `http`: environment variable with the app's signing secret."""
    signing_secret_file: str = ""
    """... or the file that holds it."""
    timezone: str = "UTC"
    """For "snooze until tomorrow 9:00": an IANA name, such as Europe/Berlin."""

    @model_validator(mode="after")
    def _is_a_timezone(self) -> Self:
        if self.timezone != "UTC":
            known_timezone(self.timezone)
        return self

    @property
    def way(self) -> Literal["socket", "http", "none"]:
        """How answers come, `auto` resolved."""
        if self.answers != "auto":
            return self.answers
        if self.app_token_env or self.app_token_file:
            return "socket"
        return "http" if self.signing_secret_env or self.signing_secret_file else "none"


class PagerDutyConfig(Config):
    """A channel of kind `pagerduty`: what is acknowledged or resolved there counts here."""

    webhook_secret_env: str = ""
    """Environment variable with the secret of the webhook subscription that calls `POST /v1/pagerduty`; several, with
    blanks between, while it is being changed. Neither this nor the file: nothing comes back from PagerDuty."""
    webhook_secret_file: str = ""
    """... or the file that holds it."""


class ChannelConfig(Config):
    """One place to tell. Secrets are named by environment variable or file, never written here."""

    kind: str = Field(min_length=1)
    """slack, teams, pagerduty, opsgenie, alertmanager, email, syslog or webhook."""
    target: str = ""
    """Slack: channel id; webhook and alertmanager: URL; the others: leave empty."""
    secret_env: str = ""
    """Environment variable with the token, key, password or signing secret; of Teams the whole URL."""
    secret_file: str = ""
    """... or the file that holds it."""
    base_url: str = ""
    """Other API address, for tests and proxies."""
    internal: bool = False
    """The receiver stands in your own network: plain http and private addresses are allowed."""
    pictures: bool = True
    """Slack and e-mail: add a picture of the key's last hours; Slack needs the scope `files:write`."""
    timeout_s: float = Field(default=10, gt=0)
    """For one call."""
    slack: SlackConfig = SlackConfig()
    """For kind `slack`: buttons and `/keyfuse`."""
    pagerduty: PagerDutyConfig = PagerDutyConfig()
    """For kind `pagerduty`."""
    email: EmailConfig = EmailConfig()
    """For kind `email`."""
    syslog: SyslogConfig = SyslogConfig()
    """For kind `syslog`."""


class RoutesConfig(Config):
    """`routes.yaml`."""

    channels: dict[str, ChannelConfig] = Field(default_factory=dict)
    """By the name routes use."""
    routes: tuple[RouteConfig, ...] = ()
    """In order."""
    runbook_url: str = Field(
        default="docs/runbooks/{family}.md", pattern=r"^[^\s<>|\"]*\{family\}[^\s<>|\"]*$", max_length=500
    )
    """The page that each message names: where you keep `docs/runbooks/`, with `{family}` for the name of the page."""
