"""From `keyfuse.yaml` to a provider. Secrets arrive already read from the environment or a file.

A kind is a module beside this one with `STEPS`, `steps_of(ref)` and its class. A module whose settings are more than an
address has `from_config` besides, which makes the provider; where they decide about the steps, `steps_for(config)`, and
its `steps_of` takes those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any, Final

from pydantic import SecretStr

from containment.providers.base import Provider, StepsOf, StepSpec
from containment.settings import Kinds, secret_of
from schemas.config.wiring import ProviderConfig
from schemas.records import Step

# Imported only when configured: an official client takes a second to import.
_ADAPTERS: Final = {
    "anthropic": "AnthropicProvider",
    "aws": "AwsProvider",
    "azure": "AzureProvider",
    "command": "CommandProvider",
    "envoy": "EnvoyProvider",
    "gate": "GateProvider",
    "google": "GoogleProvider",
    "kong": "KongProvider",
    "litellm": "LiteLLMProvider",
    "openai": "OpenAIProvider",
    "openrouter": "OpenRouterProvider",
    "sandbox": "SandboxProvider",
    "vault": "VaultProvider",
    "webhook": "WebhookProvider",
}
KINDS: Final = tuple(_ADAPTERS)
SELF_HOSTED: Final = frozenset({"envoy", "kong", "litellm", "sandbox", "vault", "webhook"})
"""Kinds without an address of their own."""
REPLICATED: Final = frozenset({"litellm"})
"""Kinds whose `base_url` may name several replicas, separated by commas."""
DECLARED: Final = frozenset({"command", "webhook"})
"""Kinds whose steps are the user's own: they are read from `steps`."""
KEYLESS: Final = frozenset({"aws", "azure", "command", "gate", "google"})
"""Kinds that may do without an admin key of ours: the clouds know the machine itself, a program of yours its own, and
gates are spoken to through the broker."""


def _module(kind: str) -> Any:  # noqa: ANN401 - one of the modules beside this one
    return import_module(f"containment.providers.{kind}")


def steps_configured(config: ProviderConfig) -> Mapping[Step, StepSpec]:
    """What a provider of these settings can do, without its admin key; nothing for an unknown kind."""
    if config.kind not in KINDS:
        return {}
    module = _module(config.kind)
    found: Mapping[Step, StepSpec] = module.steps_for(config) if hasattr(module, "steps_for") else module.STEPS
    return found


def steps_by_key(config: ProviderConfig) -> StepsOf:
    """What a provider of these settings can do with one key, without its admin key; nothing for an unknown kind."""
    if config.kind not in KINDS:
        return lambda _: {}
    module = _module(config.kind)
    if hasattr(module, "steps_for"):
        return partial(module.steps_of, steps=module.steps_for(config))
    found: StepsOf = module.steps_of
    return found


def shares_of(kind: str) -> Callable[[str, str, Step], bool] | None:
    """What the kind itself says about which other references a step stops; None: their form tells."""
    found: Callable[[str, str, Step], bool] | None = getattr(_module(kind), "shares_with", None)
    return found


def build_provider(name: str, config: ProviderConfig, secret: SecretStr | None, *, timeout_s: float = 10) -> Provider:
    """The adapter for `providers.<name>` in `keyfuse.yaml`.

    Raises:
        ValueError: the kind is unknown, an address or the admin key is missing or has another form, or a package is
            missing; in the user's words.
    """
    where = f"keyfuse.yaml, providers.{name}"
    given = secret_of(where, config, secret, Kinds(KINDS, SELF_HOSTED, KEYLESS), what="the admin key")
    module = _module(config.kind)
    try:
        if hasattr(module, "from_config"):
            made: Provider = module.from_config(name, config, given, timeout_s=timeout_s)
            return made
        adapter = getattr(module, _ADAPTERS[config.kind])
        built: Provider = adapter(name, given, base_url=config.base_url, timeout_s=timeout_s)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return built
