"""A signed webhook (Standard Webhooks 1.0.0) to your own automation: which key its users are to use from now on.

- `{"version": 1, "action": "switch", "key_id": K, "use": B}`: use B where K was used; later `"use": K`, use K again.
  Answered by any 2xx, once it is so.
- `{"version": 1, "action": "check", "key_id": K}`: which one is used? Answered `{"using": B}`; by whoever cannot tell,
  any other 2xx: then the answer to `switch` is believed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import SecretStr

from containment.providers.base import Effect
from containment.signed import SignedHook
from containment.switches.base import Turn
from schemas.config.wiring import SwitchConfig

KIND: Final = "webhook"


def from_config(name: str, config: SwitchConfig, secret: SecretStr, *, timeout_s: float) -> WebhookSwitch:
    """The switch of `switches.<name>`. ValueError when the secret cannot sign."""
    return WebhookSwitch(
        name, SignedHook(secret, base_url=config.base_url, timeout_s=timeout_s, ca_file=config.ca_file)
    )


class WebhookSwitch:
    """One address that is told."""

    def __init__(self, name: str, hook: SignedHook) -> None:
        self.name = name
        self._hook = hook
        self._told: dict[str, str] = {}  # key_id -> what its users were last told to use, acknowledged

    async def snapshot(self, turn: Turn) -> dict[str, str]:
        using = await self._using(turn)
        return {"using": using} if using else {}

    async def apply(self, turn: Turn) -> str:
        return await self._tell(turn, turn.backup)

    async def in_effect(self, turn: Turn) -> Effect:
        using = await self._using(turn)
        if using:
            return Effect("yes" if using == turn.backup else "no", f"your automation says that {using} is in use")
        told = self._told.get(turn.key_id)
        if not told:
            return Effect("unknown", "your automation cannot be asked which key is in use")
        words = f"your automation answered yes when told to use {told}, and cannot be asked"
        return Effect("yes" if told == turn.backup else "no", words)

    async def undo(self, turn: Turn, pre_state: Mapping[str, str]) -> str:
        return await self._tell(turn, pre_state.get("using") or turn.key_id)

    async def close(self) -> None:
        await self._hook.close()

    async def _tell(self, turn: Turn, use: str) -> str:
        await self._ask({"action": "switch", "key_id": turn.key_id, "use": use}, f"tell users of {turn.key_id}")
        self._told[turn.key_id] = use
        return f"told to use {use}"

    async def _using(self, turn: Turn) -> str:
        """Empty where the automation cannot tell."""
        answer = await self._ask({"action": "check", "key_id": turn.key_id}, f"ask what users of {turn.key_id} use")
        using = answer.get("using")
        return using if using in {turn.key_id, turn.backup} else ""

    async def _ask(self, message: dict[str, Any], doing: str) -> dict[str, Any]:
        return await self._hook.ask(json.dumps({"version": 1, **message}).encode(), doing, any_yes=True)
