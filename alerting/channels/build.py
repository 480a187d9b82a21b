"""From an entry of `routes.yaml` to a channel: the one place that knows the kinds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from pydantic import SecretStr

from alerting.channels import pagerduty, slack, webhook
from alerting.channels.base import Channel
from alerting.channels.errors import Reason, Refused
from schemas.config.routes import ChannelConfig

KINDS: Final = (slack.KIND, pagerduty.KIND, webhook.KIND)


def utc_now() -> datetime:
    """The wall clock: receivers of signed messages compare it with their own."""
    return datetime.now(UTC)  # noqa: TID251 - the edge; everything further inside is given the time


def build_channel(
    name: str, config: ChannelConfig, secret: SecretStr, *, now: Callable[[], datetime] = utc_now
) -> Channel:
    """The channel for one entry.

    Args:
        name: What routes call it.
        config: The entry.
        secret: Token, routing key or signing secret, already read from its variable or file.
        now: Wall clock, for signatures.

    Raises:
        Refused: The entry cannot work: unknown kind, no secret, an address that is not allowed.
    """
    if config.kind == slack.KIND:
        return slack.build(name, config, secret)
    if config.kind == pagerduty.KIND:
        return pagerduty.build(name, config, secret)
    if config.kind == webhook.KIND:
        return webhook.build(name, config, secret, now=now)
    raise Refused(name, Reason.MISCONFIGURED, f"unknown kind {config.kind!r}: use one of {', '.join(KINDS)}")
