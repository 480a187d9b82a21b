"""HashiCorp Vault: what Vault lent can be taken back, one lease or everything under a path.

`provider_ref` is a lease id (`openai/creds/shop/h31Z...`), or `prefix:` and a path (`prefix:openai/creds/shop`). Vault
tells the engine behind the lease to delete the key at its provider, and answers when that is done (`sync`). A lease
that is gone is gone: the owner asks Vault for a new key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from containment.providers.base import Effect, StepSpec
from containment.providers.errors import Reason, Refused
from schemas.records import Step

if TYPE_CHECKING:
    from containment.providers.vault_leases import Leases

STEPS: Final[Mapping[Step, StepSpec]] = MappingProxyType(
    {
        "revoke": StepSpec(
            False, "key", 5, "The lease ends and its engine deletes the key; its user must ask Vault for a new one."
        )
    }
)
PREFIX_STEPS: Final[Mapping[Step, StepSpec]] = MappingProxyType(
    {"revoke": StepSpec(False, "project", 30, "Every lease under the path ends: all their users need a new key.")}
)
_PREFIX: Final = "prefix:"
_PATH: Final = re.compile(r"[\w.@:+=-]+(?:/[\w.@:+=-]+)+", re.ASCII)


def steps_of(ref: str) -> Mapping[Step, StepSpec]:
    """The steps for one reference. A path reaches further than a lease, and its steps say so."""
    try:
        return STEPS if _parse(ref)[0] else PREFIX_STEPS
    except Refused:
        return {}


def shares_with(ref: str, other_ref: str, step: Step = "revoke") -> bool:  # noqa: ARG001 - it has one step
    """Whether ending one ends the other as well: the same lease, or one under the same path.

    >>> [shares_with("prefix:aws/creds/shop", other) for other in ("aws/creds/shop/x1", "aws/creds/shopping/x2")]
    [True, False]
    """
    if not ref.startswith(_PREFIX):
        return ref == other_ref
    return f"{other_ref.removeprefix(_PREFIX)}/".startswith(f"{ref.removeprefix(_PREFIX).rstrip('/')}/")


class VaultProvider:
    """Leases, by id or by path.

    Args:
        name: As events call the provider.
        secret: A token that may look leases up and revoke them.
        base_url: Where Vault is, without `/v1`.
        timeout_s: For one call.

    Raises:
        ValueError: hvac is not installed.
    """

    def __init__(self, name: str, secret: SecretStr, *, base_url: str, timeout_s: float = 10) -> None:
        try:
            from containment.providers.vault_leases import Leases  # noqa: PLC0415 - steps are asked where hvac is not
        except ImportError as exc:
            raise ValueError("Vault's client is not installed: pip install keyfuse[vault]") from exc
        self.name = name
        self.steps = STEPS
        self._leases: Leases = Leases(secret, base_url=base_url, timeout_s=timeout_s)

    def steps_of(self, ref: str) -> Mapping[Step, StepSpec]:
        return steps_of(ref)

    async def snapshot(self, ref: str) -> dict[str, str]:
        held = await self._held(ref)
        if not held:
            raise Refused(Reason.UNKNOWN_KEY, f"read {ref}: Vault holds no such lease, nor any under such a path")
        return held

    async def apply(self, step: Step, ref: str) -> str:
        self._known(step)
        lease, path = _parse(ref)
        if lease:
            await self._leases.revoke(lease)
        else:
            await self._leases.revoke_below(path)
        return "revoked"  # said of an unknown lease as well; reading back, and the snapshot before, tell

    async def in_effect(self, step: Step, ref: str, *, pre_state: Mapping[str, str] | None = None) -> Effect:
        self._known(step)
        held = await self._held(ref)
        if not held:
            return Effect("yes", "Vault holds no such lease any more")
        return Effect("no", "Vault still holds it: " + ", ".join(f"{name} {value}" for name, value in held.items()))

    async def probe(self, step: Step, ref: str) -> Effect | None:
        return None

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        self._known(step)
        raise Refused(Reason.FINAL, f"undo {step} of {ref}: a revoked lease cannot come back; ask Vault for a new key")

    async def close(self) -> None:
        await self._leases.close()

    async def _held(self, ref: str) -> dict[str, str]:
        """What Vault still holds under the reference; empty when nothing."""
        lease, path = _parse(ref)
        if lease:
            expires = await self._leases.expires(lease)
            return {"expires": expires} if expires else {}
        below = await self._leases.below(path)
        return {"leases_or_paths": str(below)} if below else {}

    def _known(self, step: Step) -> None:
        if step not in self.steps:
            raise Refused(Reason.NOT_SUPPORTED, f"{self.name} cannot {step} a key; it can only end its lease (revoke)")


def _parse(ref: str) -> tuple[str, str]:
    """The lease and the path: one of them, the other empty."""
    path = ref.removeprefix(_PREFIX)
    if not _PATH.fullmatch(path) or ".." in path:
        words = "provider_ref must be a lease id or prefix:MOUNT/PATH for Vault; look in keys.yaml"
        raise Refused(Reason.BAD_REF, words)
    if path == ref:
        return path, ""
    if path.startswith(("auth/", "sys/")):
        # Everything under a login path would take Keyfuse's own token with it.
        raise Refused(Reason.BAD_REF, f"{ref}: logins are not revoked by path; name one lease")
    return "", path
