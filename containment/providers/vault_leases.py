"""Vault's calls on leases."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from pydantic import SecretStr

from containment.providers.errors import Reason, Retryable
from containment.providers.vault_api import VaultApi, json_object

_GONE: Final = "invalid lease"  # what lookup says, with 400, of a lease that is not there


class Leases:
    """`/sys/leases`.

    Args:
        secret: A token.
        base_url: Where Vault is, without `/v1`.
        timeout_s: For one call.
    """

    def __init__(self, secret: SecretStr, *, base_url: str, timeout_s: float) -> None:
        self._api = VaultApi(secret, base_url=base_url, timeout_s=timeout_s)

    async def expires(self, lease: str) -> str | None:
        """When a lease ends ("never" is possible); None when Vault holds no such lease."""
        doing = f"read {lease}"
        answer = await self._api.call(doing, lambda: self._api.client.sys.read_lease(lease))
        if answer.status_code == 400 and _GONE in (json_object(answer).get("errors") or ()):
            return None
        data = await self._api.good(doing, answer)
        ends = data.get("expire_time", ...)
        if data.get("id") != lease or not isinstance(ends, str | None):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not this lease")
        return ends or "never"

    async def below(self, path: str) -> int:
        """How many leases and paths with leases lie right under a path."""
        doing = f"read what is under {path}"
        answer = await self._api.call(doing, lambda: self._api.client.sys.list_leases(path))
        # None is 404 with an empty list of errors; a path that Vault does not serve is 404 with words.
        if answer.status_code == 404 and json_object(answer).get("errors") == []:
            return 0
        keys = (await self._api.good(doing, answer)).get("keys")
        if not isinstance(keys, list):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not a list of leases")
        return len(keys)

    async def revoke(self, lease: str) -> None:
        """Returns when the engine has deleted the key. Vault says the same of a lease it does not hold."""
        await self._change(f"revoke {lease}", "revoke", {"lease_id": lease})

    async def revoke_below(self, path: str) -> None:
        await self._change(f"revoke what is under {path}", f"revoke-prefix/{quote(path)}", {})

    async def close(self) -> None:
        await self._api.close()

    async def _change(self, doing: str, what: str, body: dict[str, Any]) -> None:
        # The client's own calls cannot ask for `sync`; without it a revocation is only queued.
        path, asked = f"/v1/sys/leases/{what}", {**body, "sync": True}
        answer = await self._api.call(doing, lambda: self._api.client.adapter.post(path, json=asked))
        if answer.status_code >= 300:
            raise await self._api.failed(doing, answer)
