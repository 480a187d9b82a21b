"""A secret out of Vault's key-value store (version 2), read once at the start. The one place that asks Vault for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from schemas.config.wiring import VaultConfig
from schemas.redact import redact
from service.errors import UserError
from service.secrets import SecretMissing

if TYPE_CHECKING:
    import requests

_MEANING: Final = {
    400: "Vault does not understand the question; is the mount a key-value store of version 2?",
    403: "Vault's token is wrong, has ended, or may not read it",
    404: "there is no such secret, or its newest version was deleted",
    503: "Vault is sealed",
}


def read_vault(where: str, vault: VaultConfig, token: SecretStr | None, *, what: str) -> SecretStr:
    """The field of `where` (MOUNT/PATH#FIELD).

    Raises:
        UserError: Vault's client is not installed.
        SecretMissing: Vault cannot be reached, refuses, or has no such field; says which, and never what it has.
    """
    try:
        import hvac  # noqa: PLC0415 - an extra
        import requests  # noqa: PLC0415 - comes with it
        from hvac.adapters import RawAdapter  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise UserError(f"{what}: Vault's client is not installed: pip install keyfuse[vault]") from error
    if not vault.address or token is None:
        raise SecretMissing(f"{what}: name vault.address and its token in keyfuse.yaml")
    place, _, name = where.partition("#")
    mount, _, path = place.partition("/")
    client = hvac.Client(
        url=vault.address.rstrip("/"), token=token.get_secret_value(), timeout=vault.timeout_s,
        namespace=vault.namespace or None, verify=vault.ca_file or True,
        allow_redirects=False,  # a token is not carried to wherever a redirect points
        adapter=RawAdapter,  # hvac's own errors quote the answer
        ignore_exceptions=True,
    )  # fmt: skip
    try:
        answer = client.secrets.kv.v2.read_secret_version(path, mount_point=mount, raise_on_deleted_version=True)
    except (requests.RequestException, OSError) as error:
        raise SecretMissing(
            f"{what}: no answer from Vault at {redact(vault.address)} ({type(error).__name__})"
        ) from None
    finally:
        client.adapter.close()
    return _field(answer, name, f"{what}: {redact(where)}")


def _field(answer: requests.Response, name: str, what: str) -> SecretStr:
    if answer.status_code != 200:
        meaning = _MEANING.get(answer.status_code, "Vault refuses")
        raise SecretMissing(f"{what}: {meaning} ({answer.status_code})")
    try:
        whole: Any = answer.json()
        fields = whole["data"]["data"]
        value = fields[name]
    except (ValueError, TypeError, KeyError):
        raise SecretMissing(f"{what}: Vault has the secret, but no such field in it") from None
    if not isinstance(value, str) or not value.strip():
        raise SecretMissing(f"{what}: the field is empty, or no text")
    return SecretStr(value.strip())
