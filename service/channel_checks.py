"""What a channel of `routes.yaml` lacks, by its kind. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from schemas.config.routes import ChannelConfig, PagerDutyConfig, SlackConfig

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
    if channel.kind == "slack":
        yield from _no_way_back(channel.slack)


def _no_way_back(own: SlackConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    if own.way == "socket" and not own.app_token_env and not own.app_token_file:
        expected = "app_token_env or app_token_file: `answers: socket` needs the app-level token (xapp-)"
        yield ("slack", "app_token_env"), expected
    if own.way == "http" and not own.signing_secret_env and not own.signing_secret_file:
        expected = "signing_secret_env or signing_secret_file: `answers: http` needs the app's signing secret"
        yield ("slack", "signing_secret_env"), expected


def misplaced(channel: ChannelConfig) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Each setting that is there and must not be, what was found, and what is expected instead."""
    pagerduty, slack = channel.pagerduty, channel.slack
    for kind, name, env, file in (
        ("pagerduty", "webhook_secret", pagerduty.webhook_secret_env, pagerduty.webhook_secret_file),
        ("slack", "app_token", slack.app_token_env, slack.app_token_file),
        ("slack", "signing_secret", slack.signing_secret_env, slack.signing_secret_file),
    ):
        if env and file:
            yield (kind, f"{name}_file"), "a second place for the secret", f"{name}_env or {name}_file, not both"
    for kind, used in (("pagerduty", pagerduty != PagerDutyConfig()), ("slack", slack != SlackConfig())):
        if channel.kind != kind and used:
            yield (kind,), kind, f"nothing: the channel is of kind {channel.kind}"


def secrets_of_answers(channel: ChannelConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each setting that names the variable of a secret by which an answer is proved."""
    yield ("pagerduty", "webhook_secret_env"), channel.pagerduty.webhook_secret_env
    yield ("slack", "app_token_env"), channel.slack.app_token_env
    yield ("slack", "signing_secret_env"), channel.slack.signing_secret_env


def needs_secret(channel: ChannelConfig) -> bool:
    """True where nothing works without one."""
    return channel.kind in NEED_SECRET or (channel.kind == "email" and bool(channel.email.username))
