"""What the settings of a provider or a switch must hold before it can be made."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from pydantic import SecretStr

from schemas.config.wiring import ProviderConfig, SwitchConfig


class Kinds(NamedTuple):
    """What is known of the kinds."""

    all: Collection[str]
    self_hosted: Collection[str]  # without an address of their own
    keyless: Collection[str]  # may do without a secret of ours


def secret_of(
    where: str, config: ProviderConfig | SwitchConfig, secret: SecretStr | None, kinds: Kinds, *, what: str
) -> SecretStr:
    """The secret, stripped; empty where the kind needs none. ValueError, in the user's words, for what is missing."""
    if config.kind not in kinds.all:
        raise ValueError(f"{where}: kind {config.kind!r} is not one of {', '.join(kinds.all)}")
    if config.kind in kinds.self_hosted and not config.base_url:
        raise ValueError(f"{where}: base_url is missing; {config.kind} has no address of its own")
    value = secret.get_secret_value().strip() if secret else ""  # files end with a line break
    if not value and config.kind not in kinds.keyless:
        raise ValueError(f"{where}: {what} is missing; set secret_env or secret_file")
    return SecretStr(value)
