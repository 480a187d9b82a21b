"""The keys' own secrets, for the harmless calls of the contain worker: read when they are needed, kept nowhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import SecretStr

from containment.probed import ProbedProvider, SecretGone, SecretOf
from containment.providers.base import Provider
from containment.providers.harmless import HarmlessCall, has_call
from schemas.config import KeysConfig
from schemas.config.wiring import ProviderConfig
from service.secrets import SecretMissing, resolve


def with_probe(
    provider: Provider,
    config: ProviderConfig,
    keys: Callable[[], KeysConfig],
    *,
    environ: Mapping[str, str],
    timeout_s: float,
) -> Provider:
    """The provider, and a look at the front door where there is one to look at. ValueError when `ca_file` is none."""
    if not has_call(config):
        return provider
    call = HarmlessCall(config, timeout_s=timeout_s)
    return ProbedProvider(provider, call, _secret_of(provider.name, keys, environ))


def _secret_of(provider: str, keys: Callable[[], KeysConfig], environ: Mapping[str, str]) -> SecretOf:
    def secret_of(ref: str) -> SecretStr | None:
        for key in keys().keys:
            if key.provider == provider and (key.provider_ref or key.key_id) == ref:
                try:
                    found = resolve(
                        key.probe_secret_env,
                        key.probe_secret_file,
                        environ=environ,
                        what=f"probe secret of {key.key_id}",
                    )
                except SecretMissing as missing:
                    raise SecretGone(str(missing)) from None
                if found:
                    return found
        return None

    return secret_of
