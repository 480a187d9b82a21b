"""From `keyfuse.yaml` to a switch. Secrets arrive already read from the environment or a file."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from pydantic import SecretStr

from containment.switches.base import Switch
from schemas.config.wiring import SwitchConfig

KINDS: Final = ("aws_secrets", "vault", "webhook")
KEYLESS: Final = frozenset({"aws_secrets"})
"""Kinds that may do without a secret of ours: the cloud knows the machine itself."""
SELF_HOSTED: Final = frozenset({"vault", "webhook"})
"""Kinds without an address of their own."""
PLACED: Final = frozenset({"aws_secrets", "vault"})
"""Kinds that must be told which secret is read and where the backup's value lies."""


def build_switch(name: str, config: SwitchConfig, secret: SecretStr | None, *, timeout_s: float = 10) -> Switch:
    """The switch for `switches.<name>` in `keyfuse.yaml`.

    Raises:
        ValueError: the kind is unknown, an address or a secret is missing or has another form, or a package is
            missing; in the user's words.
    """
    where = f"keyfuse.yaml, switches.{name}"
    if config.kind not in KINDS:
        raise ValueError(f"{where}: kind {config.kind!r} is not one of {', '.join(KINDS)}")
    if config.kind in SELF_HOSTED and not config.base_url:
        raise ValueError(f"{where}: base_url is missing; {config.kind} has no address of its own")
    value = secret.get_secret_value().strip() if secret else ""  # files end with a line break
    if not value and config.kind not in KEYLESS:
        raise ValueError(f"{where}: the secret is missing; set secret_env or secret_file")
    module: Any = import_module(f"containment.switches.{config.kind}")  # only when configured: clients are slow to load
    try:
        made: Switch = module.from_config(name, config, SecretStr(value), timeout_s=timeout_s)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return made
