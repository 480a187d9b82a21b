"""Secrets from the environment or from files; the pepper and the signing key. Nothing here is ever printed."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from schemas.redact import redact
from schemas.signing import Signer, private_key_from
from service.errors import UserError

COMMANDS_KEY: Final = "commands.pem"
"""In the data directory: what decide signs with unless keyfuse.yaml names another."""
_PEPPER_BYTES: Final = 32
_SEED_BYTES: Final = 32
_MAX_BYTES: Final = 65_536


class SecretMissing(UserError):
    """A secret that the configuration names is not where it should be; says where, never what."""


def resolve(env: str, file: str, *, environ: Mapping[str, str], what: str) -> SecretStr | None:
    """The secret of `what`, from the variable `env`, else from `file`; None when neither is named.

    A variable that is named but not set is no error while `file` is named too.

    Raises:
        SecretMissing: the variable is unset or empty, or the file cannot be read, is empty, or is open to everybody.
    """
    if not env and not file:
        return None
    if env and (env in environ or not file):
        return _from_environment(env, environ, what)
    return _from_file(Path(file), what)


def load_pepper(env: str, file: str, *, environ: Mapping[str, str]) -> SecretStr:
    """The pepper of the fingerprints.

    Raises:
        SecretMissing: there is none; without it no key can be told from another.
    """
    if file and not (env and env in environ) and not Path(file).exists():
        named = f" and {redact(env)} is not set" if env else ""
        raise SecretMissing(f"fingerprint pepper: {file} does not exist{named}; `keyfuse init` makes one")
    pepper = resolve(env, file, environ=environ, what="fingerprint pepper")
    if pepper is None:
        raise SecretMissing("fingerprint pepper: name pepper_env or pepper_file in keyfuse.yaml")
    return pepper


def create_pepper(path: Path) -> bool:
    """Make a pepper that only its owner can read; False when there is one, which is kept. Raises OSError."""
    return create_file(path, secrets.token_hex(_PEPPER_BYTES) + "\n")


def create_signing_key(path: Path) -> bool:
    """Likewise an Ed25519 private key, in PEM form."""
    return create_file(path, private_key_from(secrets.token_bytes(_SEED_BYTES)).get_secret_value())


def load_signer(env: str, file: str, *, environ: Mapping[str, str], what: str, section: str) -> Signer | None:
    """Who signs with the key that `section` of keyfuse.yaml names; None when it names none.

    Raises:
        UserError: the key cannot be read, or is no Ed25519 private key.
    """
    secret = resolve(env, file, environ=environ, what=what)
    try:
        return Signer(secret) if secret is not None else None
    except ValueError as error:
        raise UserError(f"{what}: {error}; see {section} in keyfuse.yaml") from error


def create_file(path: Path, text: str) -> bool:
    """A file that only its owner can read; False when there is one, which is kept. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as stream:
        stream.write(text)
    return True


def _from_environment(env: str, environ: Mapping[str, str], what: str) -> SecretStr:
    value = environ.get(env, "").strip()
    if not value:
        state = "empty" if env in environ else "not set"
        raise SecretMissing(f"{what}: the environment variable {redact(env)} is {state}")
    return SecretStr(value)


def _from_file(path: Path, what: str) -> SecretStr:
    shown = redact(str(path))
    try:
        with path.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            data = stream.read(_MAX_BYTES)
        text = data.decode().strip()
    except OSError as error:
        raise SecretMissing(f"{what}: {shown} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SecretMissing(f"{what}: {shown} is not a text file") from None
    if mode & stat.S_IRWXO:
        raise SecretMissing(f"{what}: {shown} is open to everybody (mode {mode:04o}); `chmod o-rwx {shown}`")
    if not text:
        raise SecretMissing(f"{what}: {shown} is empty")
    return SecretStr(text)
