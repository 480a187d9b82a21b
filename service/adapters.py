"""What acts on keys elsewhere, built from the settings of an install, each with its own secret."""

from __future__ import annotations

from pydantic import SecretStr

from containment.minters.base import Minter
from containment.minters.build import KINDS as MINTED_BY
from containment.minters.build import build_minter
from containment.providers.base import Provider
from containment.providers.build import build_provider
from containment.providers.errors import Reason, Refused
from containment.switches.base import Switch
from containment.switches.build import build_switch
from schemas.config.wiring import ProviderConfig
from service.errors import UserError
from service.install import Install
from service.probes import with_probe
from service.secrets import resolve
from service.vault_secrets import read_vault


def providers(install: Install) -> dict[str, Provider]:
    """Built from keyfuse.yaml; each holds its own admin key. The role contain asks for them, and nobody else."""
    return {name: provider_of(install, name) for name in install.acting()}


def provider_of(install: Install, name: str) -> Provider:
    """One of them. UserError when its admin key is not here."""
    config = install.acting()[name]
    secret = _admin_key(install, name, config)
    timeout_s = install.folder.responses.retry.timeout_s
    try:
        provider = build_provider(name, config, secret, timeout_s=timeout_s)
        return with_probe(
            provider, config, lambda: install.folder.keys, environ=install.environ, timeout_s=timeout_s
        )  # fmt: skip
    except ValueError as error:
        raise UserError(str(error)) from error


def minter_of(install: Install, name: str) -> Minter:
    """Who makes credentials there. Refused, in words for whoever asked, where nobody can."""
    config = install.folder.wiring.providers.get(name)
    if config is None or config.kind not in MINTED_BY:
        raise Refused(Reason.NOT_SUPPORTED, f"{name} cannot make credentials")
    try:
        install.fingerprinter()  # before anything is made that could not be named
        secret = _admin_key(install, name, config)
        return build_minter(config, secret, timeout_s=install.folder.responses.retry.timeout_s)
    except (UserError, ValueError) as error:
        raise Refused(Reason.BAD_CREDENTIALS, str(error)) from error


def switches(install: Install) -> dict[str, Switch]:
    """Built from keyfuse.yaml; each holds its own secret."""
    built = {}
    for name, config in install.folder.wiring.switches.items():
        what = f"switch {name}"
        secret = resolve(config.secret_env, config.secret_file, environ=install.environ, what=what)
        try:
            built[name] = build_switch(name, config, secret, timeout_s=install.folder.responses.retry.timeout_s)
        except ValueError as error:
            raise UserError(str(error)) from error
    return built


def admin_key_of(install: Install, name: str) -> SecretStr | None:
    """Of one provider; None where none is set. UserError when what is set is not here."""
    return _admin_key(install, name, install.folder.wiring.providers[name])


def _admin_key(install: Install, name: str, config: ProviderConfig) -> SecretStr | None:
    what = f"provider {name}"
    if not config.secret_vault:
        return resolve(config.secret_env, config.secret_file, environ=install.environ, what=what)
    vault = install.folder.wiring.vault
    token = resolve(vault.token_env, vault.token_file, environ=install.environ, what=f"{what}: Vault's token")
    return read_vault(config.secret_vault, vault, token, what=what)
