"""What OpenAI can change for a whole project: the models it may use, what it may spend; rate limits next door.

OpenAI has no such setting for one key: everything here also hits the healthy keys of the project. Each setting is
saved as a line of JSON before it is touched, and put back from that.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any, Final, Literal, Protocol

from openai import AsyncOpenAI
from openai.types.admin.organization.projects import ProjectModelPermissions, ProjectSpendLimit

from containment.providers.base import Effect
from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.sdk_errors import SdkCalls, T

LOWEST_CENTS: Final = 1
_MODES: Final = frozenset({"allow_list", "deny_list"})
NO_SENSE: Final = "the answer is not what OpenAI documents"


class Setting(Protocol):
    """One setting of a project, and the one other value that we ever give it."""

    async def saved(self, project: str) -> str:
        """How it stands, as JSON, for `put_back`."""

    async def apply(self, project: str) -> str:
        """Give it our value. Never gives the project more than it had."""

    async def in_effect(self, project: str) -> Effect:
        """Whether it has our value."""

    async def put_back(self, project: str, before: str) -> str:
        """Undo from what `saved` gave."""


class Admin:
    """The client, and the calls through it."""

    def __init__(self, client: AsyncOpenAI, calls: SdkCalls) -> None:
        self.projects = client.admin.organization.projects
        self.make = calls.make

    async def or_none(self, doing: str, project: str, call: Awaitable[T]) -> T | None:
        """What is set, or None where nothing is: OpenAI answers 404 for that, as it does for an unknown project."""
        try:
            found = await self.make(doing, call)
        except Refused as refused:
            if refused.reason is not Reason.UNKNOWN_KEY:
                raise
        else:
            if found is None:  # the client's reading of an empty answer
                raise Retryable(Reason.NONSENSE, f"{doing}: {NO_SENSE}")
            return found
        await self.make(f"read {project}", self.projects.retrieve(project))
        return None


class ModelPermissions:
    """Degrade: the project may use only the models of `cheap`, and of those only what it might use before."""

    def __init__(self, admin: Admin, cheap: tuple[str, ...]) -> None:
        self._admin = admin
        self._cheap = cheap

    async def saved(self, project: str) -> str:
        return json.dumps(await self._read(project))

    async def apply(self, project: str) -> str:
        mode, listed = await self._read(project) or ["deny_list", []]
        left = [model for model in self._cheap if (model in listed) == (mode == "allow_list")]
        if not left:
            words = f"degrade {project}: it may use none of the models of degrade_to now; nothing was changed"
            raise Refused(Reason.REJECTED, words)
        await self._write(project, "allow_list", left)
        return f"only {', '.join(left)} allowed"

    async def in_effect(self, project: str) -> Effect:
        mode, listed = await self._read(project) or ["deny_list", []]
        if mode != "allow_list":
            return Effect("no", f"{project} may use every model but {len(listed)}")
        held = bool(listed) and set(listed) <= set(self._cheap)
        return Effect("yes" if held else "no", f"{project} may use {', '.join(listed) or 'no model'}")

    async def put_back(self, project: str, before: str) -> str:
        was = json.loads(before)
        if was is None:
            await self._admin.make(
                f"delete the model permissions of {project}", self._admin.projects.model_permissions.delete(project)
            )
            return "the model permissions deleted, as there were none before"
        await self._write(project, was[0], was[1])
        return "the model permissions put back"

    async def _read(self, project: str) -> list[Any] | None:
        """Mode and models."""
        doing = f"read the model permissions of {project}"
        found = await self._admin.or_none(doing, project, self._admin.projects.model_permissions.retrieve(project))
        if found is None:
            return None
        models = getattr(found, "api_model_ids", None)
        known = isinstance(found, ProjectModelPermissions) and getattr(found, "mode", None) in _MODES
        if not known or not isinstance(models, list) or not all(isinstance(model, str) for model in models):
            raise Retryable(Reason.NONSENSE, f"{doing}: {NO_SENSE}")
        return [found.mode, models]

    async def _write(self, project: str, mode: str, models: list[str]) -> None:
        which: Literal["allow_list", "deny_list"] = "allow_list" if mode == "allow_list" else "deny_list"
        call = self._admin.projects.model_permissions.update(project, mode=which, model_ids=models)
        await self._admin.make(f"set the model permissions of {project}", call)


class SpendLimit:
    """Block: the hard spend limit is one cent a month, which any project under attack has spent long ago."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    async def saved(self, project: str) -> str:
        found = await self._read(project)
        return json.dumps(found[0] if found else None)

    async def apply(self, project: str) -> str:
        found = await self._read(project)
        if found and found[0] <= LOWEST_CENTS:
            return "the spend limit is at its lowest already"
        await self._write(project, LOWEST_CENTS)
        return f"the spend limit set to {LOWEST_CENTS} cent"

    async def in_effect(self, project: str) -> Effect:
        """Unknown while the limit stands but is not enforced yet: neither is the project stopped, nor is it free."""
        found = await self._read(project)
        if found is None:
            return Effect("no", f"{project} has no spend limit")
        cents, enforcing = found
        if cents > LOWEST_CENTS:
            return Effect("no", f"the spend limit of {project} is {cents / 100:,.2f} USD")
        if enforcing:
            return Effect("yes", f"the spend limit of {project} is at its lowest and enforced")
        return Effect("unknown", f"the spend limit of {project} is at its lowest, and OpenAI does not enforce it yet")

    async def put_back(self, project: str, before: str) -> str:
        was = json.loads(before)
        if was is None:
            await self._admin.make(
                f"delete the spend limit of {project}", self._admin.projects.spend_limit.delete(project)
            )
            return "the spend limit deleted, as there was none before"
        await self._write(project, was)
        return f"the spend limit put back to {was / 100:,.2f} USD"

    async def _read(self, project: str) -> tuple[int, bool] | None:
        """Cents a month, and whether requests are refused now."""
        doing = f"read the spend limit of {project}"
        found = await self._admin.or_none(doing, project, self._admin.projects.spend_limit.retrieve(project))
        if found is None:
            return None
        cents = getattr(found, "threshold_amount", None)
        status = getattr(getattr(found, "enforcement", None), "status", None)
        if not isinstance(found, ProjectSpendLimit) or not isinstance(cents, int) or not isinstance(status, str):
            raise Retryable(Reason.NONSENSE, f"{doing}: {NO_SENSE}")
        return cents, status == "enforcing"

    async def _write(self, project: str, cents: int) -> None:
        call = self._admin.projects.spend_limit.update(
            project, currency="USD", interval="month", threshold_amount=cents
        )
        await self._admin.make(f"set the spend limit of {project}", call)
