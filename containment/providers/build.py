"""From `keyfuse.yaml` to a provider. Secrets arrive already read from the environment or a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import SecretStr

from containment.providers import anthropic, litellm, openai, sandbox
from containment.providers.anthropic import AnthropicProvider
from containment.providers.base import Provider, StepSpec
from containment.providers.litellm import LiteLLMProvider
from containment.providers.openai import OpenAIProvider
from containment.providers.sandbox import SandboxProvider
from schemas.config.wiring import ProviderConfig
from schemas.records import Step

KINDS: Final = ("anthropic", "litellm", "openai", "sandbox")
_STEPS_OF: Final[dict[str, Mapping[Step, StepSpec]]] = {
    "anthropic": anthropic.STEPS,
    "litellm": litellm.STEPS,
    "openai": openai.STEPS,
    "sandbox": sandbox.STEPS,
}
_SELF_HOSTED: Final = frozenset({"litellm", "sandbox"})


def steps_of_kind(kind: str) -> dict[Step, bool]:
    """The steps of a kind of provider, each with whether it can be undone; nothing for an unknown kind."""
    found = _STEPS_OF.get(kind, {})
    return {step: spec.reversible for step, spec in found.items()}


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
    value = secret.get_secret_value().strip() if secret else ""  # files end with a line break
    if not value:
        raise ValueError(f"{where}: the admin key is missing; set secret_env or secret_file")
    secret, url = SecretStr(value), config.base_url
    match config.kind:
        case "openai":
            return OpenAIProvider(name, secret, base_url=url, timeout_s=timeout_s)
        case "anthropic":
            return AnthropicProvider(name, secret, base_url=url, timeout_s=timeout_s)
        case "litellm":
            return LiteLLMProvider(name, secret, base_url=url, timeout_s=timeout_s)
        case _:
            return SandboxProvider(name, secret, base_url=url, timeout_s=timeout_s)
