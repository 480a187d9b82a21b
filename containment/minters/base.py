"""What it takes to make a credential at a provider."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from pydantic import SecretStr


class Wanted(NamedTuple):
    """The credential that is asked for."""

    name: str  # what the provider is to call it; no other credential there is called so
    place: str = ""  # where: a project, a user
    usd_per_day: float | None = None  # where the provider can hold it to that
    expires_ms: int | None = None  # where the provider can end it ...
    expires_s: int | None = None  # ... the same, from now


class Made(NamedTuple):
    """A credential. `seen_as` is what events name it by: the secret itself, unless the provider has a public id."""

    secret: SecretStr
    ref: str  # `provider_ref`, by which it is cut
    seen_as: SecretStr


class Minter(Protocol):
    """One provider. Every method may raise `ProviderError` and nothing else; each makes its calls once."""

    async def mint(self, wanted: Wanted) -> Made:
        """Make it. The secret is in the answer and nowhere else."""

    async def discard(self, wanted: Wanted) -> str:
        """Delete what was made under this name by a run that did not come to its end; in words what was deleted.

        Raises Refused where nobody can tell which it is: then a person looks.
        """

    async def close(self) -> None:
        """Give back connections."""
