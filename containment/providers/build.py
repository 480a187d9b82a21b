"""From `keyfuse.yaml` to a provider. Secrets arrive already read from the environment or a file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from pydantic import SecretStr

from containment.providers.base import Provider, StepSpec
from schemas.config.wiring import ProviderConfig
from schemas.records import Step

# Imported only when configured: an official client takes a second to import.
_ADAPTERS: Final = {
    "anthropic": "AnthropicProvider",
    "litellm": "LiteLLMProvider",
    "openai": "OpenAIProvider",
    "sandbox": "SandboxProvider",
}
KINDS: Final = tuple(_ADAPTERS)
SELF_HOSTED: Final = frozenset({"litellm", "sandbox"})
"""Kinds without an address of their own."""


def _module(kind: str) -> Any:  # noqa: ANN401 - one of the modules beside this one
    return import_module(f"containment.providers.{kind}")


def steps_of_kind(kind: str) -> dict[Step, bool]:
    """The steps of a kind of provider, each with whether it can be undone; nothing for an unknown kind."""
    found: Mapping[Step, StepSpec] = _module(kind).STEPS if kind in KINDS else {}
    return {step: spec.reversible for step, spec in found.items()}


def build_provider(name: str, config: ProviderConfig, secret: SecretStr | None, *, timeout_s: float = 10) -> Provider:
    """The adapter for `providers.<name>` in `keyfuse.yaml`.

    Raises:
        ValueError: the kind is unknown, or an address or the admin key is missing, in the user's words.
    """
    where = f"keyfuse.yaml, providers.{name}"
    if config.kind not in KINDS:
        raise ValueError(f"{where}: kind {config.kind!r} is not one of {', '.join(KINDS)}")
    if config.kind in SELF_HOSTED and not config.base_url:
        raise ValueError(f"{where}: base_url is missing; {config.kind} has no address of its own")
    value = secret.get_secret_value().strip() if secret else ""  # files end with a line break
    if not value:
        raise ValueError(f"{where}: the admin key is missing; set secret_env or secret_file")
    adapter = getattr(_module(config.kind), _ADAPTERS[config.kind])
    built: Provider = adapter(name, SecretStr(value), base_url=config.base_url, timeout_s=timeout_s)
    return built
