"""From `keyfuse.yaml` to a provider. Secrets arrive already read from the environment or a file."""

from __future__ import annotations

from typing import Final

from pydantic import SecretStr

from containment.providers.anthropic import AnthropicProvider
from containment.providers.base import Provider
from containment.providers.litellm import LiteLLMProvider
from containment.providers.openai import OpenAIProvider
from containment.providers.sandbox import SandboxProvider
from schemas.config.wiring import ProviderConfig

KINDS: Final = ("anthropic", "litellm", "openai", "sandbox")
_SELF_HOSTED: Final = frozenset({"litellm", "sandbox"})


def build_provider(name: str, config: ProviderConfig, secret: SecretStr | None, *, timeout_s: float = 10) -> Provider:
    """The adapter for `providers.<name>` in `keyfuse.yaml`.

    Raises:
        ValueError: the kind is unknown, or an address or the admin key is missing, in the user's words.
    """
    where = f"keyfuse.yaml, providers.{name}"
    if config.kind not in KINDS:
        raise ValueError(f"{where}: kind {config.kind!r} is not one of {', '.join(KINDS)}")
    if config.kind in _SELF_HOSTED and not config.base_url:
        raise ValueError(f"{where}: base_url is missing; {config.kind} has no address of its own")
    if secret is None or not secret.get_secret_value():
        raise ValueError(f"{where}: the admin key is missing; set secret_env or secret_file")
    url = config.base_url
    match config.kind:
        case "openai":
            return OpenAIProvider(name, secret, base_url=url, timeout_s=timeout_s)
        case "anthropic":
            return AnthropicProvider(name, secret, base_url=url, timeout_s=timeout_s)
        case "litellm":
            return LiteLLMProvider(name, secret, base_url=url, timeout_s=timeout_s)
        case _:
            return SandboxProvider(name, secret, base_url=url, timeout_s=timeout_s)
