"""What a channel of `routes.yaml` lacks, by its kind. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from schemas.config.routes import ChannelConfig, PagerDutyConfig

# Their modules bring heavy clients; a test compares.
CHANNEL_KINDS: Final = ("slack", "teams", "pagerduty", "opsgenie", "alertmanager", "email", "syslog", "webhook")
NEED_SECRET: Final = frozenset({"slack", "teams", "pagerduty", "opsgenie"})
TO_URL: Final = frozenset({"webhook", "alertmanager"})
_TARGETS: Final = {"slack": "a channel id, like C0123ABCD", **dict.fromkeys(TO_URL, "the URL to post to")}


def lacking(channel: ChannelConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each setting that is empty and must not be, and what is expected there."""
    if channel.kind in _TARGETS and not channel.target:
        yield ("target",), _TARGETS[channel.kind]
    if channel.kind == "email":
        mail = channel.email
        for name, value, expected in (
            ("host", mail.host, "the mail relay's name"),
            ("sender", mail.sender, "the address that mails come from"),
            ("to", mail.to, "the addresses that mails go to"),
        ):
            if not value:
                yield ("email", name), expected
    if channel.kind == "syslog" and not channel.syslog.host:
        yield ("syslog", "host"), "the collector's name"


def misplaced(channel: ChannelConfig) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Each setting that is there and must not be, what was found, and what is expected instead."""
    own = channel.pagerduty
    if own.webhook_secret_env and own.webhook_secret_file:
        expected = "webhook_secret_env or webhook_secret_file, not both"
        yield ("pagerduty", "webhook_secret_file"), "a second place for the secret", expected
    if channel.kind != "pagerduty" and own != PagerDutyConfig():
        yield ("pagerduty",), "pagerduty", f"nothing: the channel is of kind {channel.kind}"


def secrets_of_answers(channel: ChannelConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each setting that names the variable of a secret by which an answer is proved."""
    yield ("pagerduty", "webhook_secret_env"), channel.pagerduty.webhook_secret_env


def needs_secret(channel: ChannelConfig) -> bool:
    """True where nothing works without one."""
    return channel.kind in NEED_SECRET or (channel.kind == "email" and bool(channel.email.username))
