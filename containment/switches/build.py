"""From `keyfuse.yaml` to a switch. Secrets arrive already read from the environment or a file."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from pydantic import SecretStr

from containment.settings import Kinds, secret_of
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
    given = secret_of(where, config, secret, Kinds(KINDS, SELF_HOSTED, KEYLESS), what="the secret")
    module: Any = import_module(f"containment.switches.{config.kind}")  # only when configured: clients are slow to load
    try:
        made: Switch = module.from_config(name, config, given, timeout_s=timeout_s)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return made
