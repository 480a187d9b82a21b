"""A signed webhook (Standard Webhooks 1.0.0) to your own automation; what it is told and answers: `declared.py`.

Every message is one POST to the same address. Its answer is believed as little as a provider's: `check` is asked
after each change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from containment.providers.base import StepSpec
from containment.providers.declared import DeclaredProvider, steps_declared, steps_declared_of
from containment.signed import SignedHook
from schemas.config.wiring import ProviderConfig
from schemas.records import Step

steps_for = steps_declared
steps_of = steps_declared_of


def from_config(name: str, config: ProviderConfig, secret: SecretStr, *, timeout_s: float) -> WebhookProvider:
    """The provider of `providers.<name>`. ValueError when no step is declared or the secret cannot sign."""
    return WebhookProvider(
        name, secret, steps_declared(config), base_url=config.base_url, timeout_s=timeout_s, ca_file=config.ca_file
    )


class WebhookProvider(DeclaredProvider):
    """One address that is asked.

    Args:
        name: As events call the provider.
        secret: The signing secret, `whsec_...`; several, separated by spaces, sign all: to change it without a gap.
        steps: What the automation can do.
        base_url: Where it listens.
        timeout_s: For one call.
        ca_file: Certificates to trust instead of the public ones.
        now: The wall clock, for the signature.
    """

    def __init__(
        self,
        name: str,
        secret: SecretStr,
        steps: Mapping[Step, StepSpec],
        *,
        base_url: str,
        timeout_s: float = 10,
        ca_file: str = "",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),  # noqa: TID251 - the edge
    ) -> None:
        super().__init__(name, steps, secret)
        self._hook = SignedHook(secret, base_url=base_url, timeout_s=timeout_s, ca_file=ca_file, now=now)

    async def close(self) -> None:
        await self._hook.close()

    async def _ask(self, message: bytes, doing: str) -> dict[str, Any]:
        return await self._hook.ask(message, doing)
