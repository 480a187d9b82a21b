"""From `keyfuse.yaml` to an inventory."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from pydantic import SecretStr

from containment.inventories.base import Inventory
from containment.providers.build import KEYLESS, SELF_HOSTED
from containment.settings import Kinds, secret_of
from schemas.config.wiring import ProviderConfig

# Imported only when asked for: an official client takes a second to import.
_INVENTORIES: Final = {
    "anthropic": "AnthropicInventory",
    "aws": "AwsInventory",
    "litellm": "LiteLLMInventory",
    "openai": "OpenAIInventory",
    "openrouter": "OpenRouterInventory",
}
KINDS: Final = tuple(_INVENTORIES)


def build_inventory(name: str, config: ProviderConfig, secret: SecretStr | None, *, timeout_s: float) -> Inventory:
    """Of `providers.<name>`. ValueError, in the user's words, for a kind without one, or without an admin key."""
    where = f"keyfuse.yaml, providers.{name}"
    if config.kind not in KINDS:
        raise ValueError(f"{where}: {config.kind} has no list of keys to import; {', '.join(KINDS)} have")
    given = secret_of(where, config, secret, Kinds(KINDS, SELF_HOSTED, KEYLESS), what="the admin key")
    module = import_module(f"containment.inventories.{config.kind}")
    made: Inventory = getattr(module, _INVENTORIES[config.kind])(config, given, timeout_s=timeout_s)
    return made
