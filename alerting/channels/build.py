"""From an entry of `routes.yaml` to a channel: the one place that knows the kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, Protocol

from pydantic import SecretStr

from alerting.channels import alertmanager, email, opsgenie, pagerduty, slack, syslog, teams, webhook
from alerting.channels.base import Channel
from alerting.channels.errors import Reason, Refused
from alerting.runbook import RUNBOOKS
from schemas.config.routes import ChannelConfig


class _Build(Protocol):
    def __call__(self, name: str, config: ChannelConfig, secret: SecretStr, *, runbooks: str) -> Channel: ...


_CLOCKLESS: Final[Mapping[str, _Build]] = {
    slack.KIND: slack.build,
    teams.KIND: teams.build,
    pagerduty.KIND: pagerduty.build,
    opsgenie.KIND: opsgenie.build,
    alertmanager.KIND: alertmanager.build,
    email.KIND: email.build,
    syslog.KIND: syslog.build,
}
KINDS: Final = (*_CLOCKLESS, webhook.KIND)


def utc_now() -> datetime:
    """The wall clock: receivers of signed messages compare it with their own."""
    return datetime.now(UTC)  # noqa: TID251 - the edge; everything further inside is given the time


def build_channel(
    name: str,
    config: ChannelConfig,
    secret: SecretStr,
    *,
    now: Callable[[], datetime] = utc_now,
    runbooks: str = RUNBOOKS,
) -> Channel:
    """The channel for one entry.

    Args:
        name: What routes call it.
        config: The entry.
        secret: Token, routing key or signing secret, already read from its variable or file.
        now: Wall clock, for signatures.
        runbooks: `runbook_url` of `routes.yaml`.

    Raises:
        Refused: The entry cannot work: unknown kind, no secret, an address that is not allowed.
    """
    if config.kind == webhook.KIND:
        return webhook.build(name, config, secret, now=now, runbooks=runbooks)
    if config.kind in _CLOCKLESS:
        return _CLOCKLESS[config.kind](name, config, secret, runbooks=runbooks)
    raise Refused(name, Reason.MISCONFIGURED, f"unknown kind {config.kind!r}: use one of {', '.join(KINDS)}")
