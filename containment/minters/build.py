"""From `keyfuse.yaml` to whoever makes credentials at a provider. A kind is a module beside this one."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from pydantic import SecretStr

from containment.minters.base import Minter
from schemas.config.wiring import ProviderConfig

# Imported only when asked for: an official client takes a second to import.
_MINTERS: Final = {
    "aws": "AwsMinter",
    "litellm": "LiteLLMMinter",
    "openai": "OpenAIMinter",
    "openrouter": "OpenRouterMinter",
    "sandbox": "SandboxMinter",
}
KINDS: Final = tuple(_MINTERS)


def build_minter(config: ProviderConfig, secret: SecretStr | None, *, timeout_s: float) -> Minter:
    """Of one of KINDS. Raises ValueError when the admin key has another form."""
    adapter = getattr(import_module(f"containment.minters.{config.kind}"), _MINTERS[config.kind])
    made: Minter = adapter(secret or SecretStr(""), base_url=config.base_url, timeout_s=timeout_s)
    return made
