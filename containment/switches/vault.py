"""HashiCorp Vault, KV version 2: the fields of the standby secret replace those of the same name in the one in use.

Vault cannot copy by itself, so a value passes through here: read, compared and written in one call, kept nowhere, told
to nobody. Writes are check-and-set on the version that was read: what somebody else writes meanwhile is never lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic import Secret, SecretStr

from containment.providers.base import Effect
from containment.providers.errors import Reason, Refused, Retryable
from containment.switches.base import Turn
from schemas.config.wiring import SwitchConfig

if TYPE_CHECKING:
    from containment.providers.vault_api import VaultApi

KIND: Final = "vault"
_CONFLICT: Final = "check-and-set"


def from_config(name: str, config: SwitchConfig, secret: SecretStr, *, timeout_s: float) -> VaultSwitch:
    """The switch of `switches.<name>`. ValueError when hvac is not installed."""
    return VaultSwitch(
        name, secret, base_url=config.base_url, mount=config.mount, timeout_s=timeout_s, ca_file=config.ca_file
    )


class _Version(NamedTuple):
    number: int
    fields: Secret[dict[str, Any]]

    def is_like(self, standby: _Version) -> bool:
        mine = self.fields.get_secret_value()
        return all(name in mine and mine[name] == value for name, value in standby.fields.get_secret_value().items())


class VaultSwitch:
    """Secrets of one KV mount.

    Args:
        name: As `keys.yaml` calls it.
        secret: A token that may read both secrets and write the one that is read by the application.
        base_url: Where Vault is, without `/v1`.
        mount: Where KV version 2 is mounted.
        timeout_s: For one call.
        ca_file: Certificates to trust instead of the public ones.
    """

    def __init__(
        self, name: str, secret: SecretStr, *, base_url: str, mount: str = "secret", timeout_s: float = 10,
        ca_file: str = "",
    ) -> None:  # fmt: skip
        try:
            from containment.providers.vault_api import VaultApi  # noqa: PLC0415 - settings are checked without hvac
        except ImportError as exc:
            raise ValueError("Vault's client is not installed: pip install keyfuse[vault]") from exc
        self.name = name
        self._mount = mount
        self._api: VaultApi = VaultApi(secret, base_url=base_url, timeout_s=timeout_s, ca_file=ca_file)

    async def snapshot(self, turn: Turn) -> dict[str, str]:
        now, standby = await self._read(turn.secret), await self._standby(turn)
        replaced = sorted(standby.fields.get_secret_value())
        strange = [name for name in replaced if name not in now.fields.get_secret_value()]
        if strange or not replaced:
            words = f"has fields that {turn.secret} has not: {', '.join(strange)}" if strange else "has no fields"
            raise Refused(
                Reason.REJECTED, f"read {turn.standby}: it {words}; its fields replace those of the same name"
            )
        return {"version": str(now.number), "fields": json.dumps(replaced)}

    async def apply(self, turn: Turn) -> str:
        now, standby = await self._read(turn.secret), await self._standby(turn)
        if now.is_like(standby):
            return f"already in use in version {now.number}"
        written = await self._write(turn.secret, now, standby.fields.get_secret_value())
        return f"wrote version {written}"

    async def in_effect(self, turn: Turn) -> Effect:
        now, standby = await self._read(turn.secret), await self._standby(turn)
        if now.is_like(standby):
            return Effect("yes", f"version {now.number} of {turn.secret} is the backup's")
        return Effect("no", f"version {now.number} of {turn.secret} is not the backup's")

    async def undo(self, turn: Turn, pre_state: Mapping[str, str]) -> str:
        """The fields that were replaced, as they were: whatever else was written meanwhile stays."""
        number, names = int(pre_state.get("version", "0")), json.loads(pre_state.get("fields", "[]"))
        before, now = await self._read(turn.secret, number), await self._read(turn.secret)
        old = before.fields.get_secret_value()
        lost = [name for name in names if name not in old]
        if lost:
            raise Refused(Reason.FINAL, f"version {number} of {turn.secret} has no {', '.join(lost)} to put back")
        if all(now.fields.get_secret_value().get(name) == old[name] for name in names):
            return f"already as in version {number}"
        written = await self._write(turn.secret, now, {name: old[name] for name in names})
        return f"wrote version {written}, as version {number} was"

    async def close(self) -> None:
        await self._api.close()

    async def _standby(self, turn: Turn) -> _Version:
        return await self._read(turn.standby)

    async def _read(self, path: str, number: int | None = None) -> _Version:
        """Version `number`, or the newest. Raises Refused UNKNOWN_KEY when it is not there, or deleted."""
        which = f"version {number} of {path}" if number else path
        doing, kv = f"read {which}", self._api.client.secrets.kv.v2
        answer = await self._api.call(
            doing,
            lambda: kv.read_secret_version(
                path=path, version=number, mount_point=self._mount, raise_on_deleted_version=True
            ),
        )
        if answer.status_code == 404:
            raise Refused(Reason.UNKNOWN_KEY, f"{doing}: Vault holds no such secret in {self._mount}, or it is deleted")
        data = await self._api.good(doing, answer)
        fields, version = data.get("data"), _object(data.get("metadata")).get("version")
        if not isinstance(fields, dict) or not isinstance(version, int):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is no secret of KV version 2")
        return _Version(version, Secret(fields))

    async def _write(self, path: str, now: _Version, changed: Mapping[str, Any]) -> int:
        """A new version after `now`, with some fields changed; its number."""
        doing, kv = f"write {path}", self._api.client.secrets.kv.v2
        whole = {**now.fields.get_secret_value(), **changed}
        answer = await self._api.call(
            doing,
            lambda: kv.create_or_update_secret(path=path, secret=whole, cas=now.number, mount_point=self._mount),
        )
        if answer.status_code == 400 and _CONFLICT in answer.text:
            raise Retryable(Reason.UNAVAILABLE, f"{doing}: somebody else wrote it at the same moment")
        written = (await self._api.good(doing, answer)).get("version")
        if not isinstance(written, int):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer has no version")
        return written


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
