"""OpenAI's rate limits of a project: one for each model, lowered together and put back together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Final

from openai import omit
from openai.types.admin.organization.projects import ProjectRateLimit

from containment.providers.base import Effect
from containment.providers.errors import Reason, Retryable
from containment.providers.openai_project import NO_SENSE, Admin

SLOWED: Final[Mapping[str, int]] = {
    "max_requests_per_1_minute": 1,
    "max_tokens_per_1_minute": 10_000,
    "max_images_per_1_minute": 1,
    "max_audio_megabytes_per_1_minute": 1,
    "batch_1_day_max_input_tokens": 10_000,
}
"""For each model: a slowed project may use at most this much. One request a day is left to the limit a minute."""
_AT_ONCE: Final = 8  # requests under way; a project has a limit for each of some hundred models
Limits = dict[str, dict[str, int]]  # by the limit's id: those of its figures that are above SLOWED


class RateLimits:
    """Throttle: every model's limits are lowered to `SLOWED`."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    async def saved(self, project: str) -> str:
        return json.dumps(_above(await self._read(project)))

    async def apply(self, project: str) -> str:
        above = _above(await self._read(project))
        await self._write(
            project, {limit: {name: SLOWED[name] for name in figures} for limit, figures in above.items()}
        )
        return f"the limits of {len(above)} models lowered"

    async def in_effect(self, project: str) -> Effect:
        limits = await self._read(project)
        above = _above(limits)
        if above:
            return Effect("no", f"{len(above)} of {len(limits)} models of {project} are not slowed")
        return Effect("yes", f"all {len(limits)} models of {project} are slowed")

    async def put_back(self, project: str, before: str) -> str:
        """Only what still has our value: a limit that a person changed meanwhile is theirs."""
        saved: Limits = json.loads(before)
        wanted: Limits = {}
        for limit in await self._read(project):
            figures = saved.get(limit.id, {})
            ours = {name: value for name, value in figures.items() if getattr(limit, name) == SLOWED.get(name)}
            wanted |= {limit.id: ours} if ours else {}
        await self._write(project, wanted)
        return f"the limits of {len(wanted)} models put back"

    async def _read(self, project: str) -> list[ProjectRateLimit]:
        doing = f"read the rate limits of {project}"
        page = await self._admin.make(doing, self._admin.projects.rate_limits.list_rate_limits(project))
        found = []
        while True:
            data = getattr(page, "data", None)
            if not isinstance(data, list) or not data or not all(_is_limit(each) for each in data):
                raise Retryable(Reason.NONSENSE, f"{doing}: {NO_SENSE}")
            found += data
            if not page.has_next_page():
                return found
            page = await self._admin.make(doing, page.get_next_page())

    async def _write(self, project: str, wanted: Limits) -> None:
        """The first by itself: when that is refused, the others are not asked for."""
        for limit in list(wanted)[:1]:
            await self._update(project, limit, wanted[limit])
        gate = asyncio.Semaphore(_AT_ONCE)

        async def update(limit: str) -> None:
            async with gate:
                await self._update(project, limit, wanted[limit])

        done = await asyncio.gather(*(update(limit) for limit in list(wanted)[1:]), return_exceptions=True)
        for failed in done:
            if failed is not None:
                raise failed

    async def _update(self, project: str, limit: str, figures: Mapping[str, int]) -> None:
        call = self._admin.projects.rate_limits.update_rate_limit(
            limit,
            project_id=project,
            max_requests_per_1_minute=figures.get("max_requests_per_1_minute", omit),
            max_tokens_per_1_minute=figures.get("max_tokens_per_1_minute", omit),
            max_images_per_1_minute=figures.get("max_images_per_1_minute", omit),
            max_audio_megabytes_per_1_minute=figures.get("max_audio_megabytes_per_1_minute", omit),
            batch_1_day_max_input_tokens=figures.get("batch_1_day_max_input_tokens", omit),
        )
        await self._admin.make(f"set the rate limit {limit} of {project}", call)


def _above(limits: list[ProjectRateLimit]) -> Limits:
    found: Limits = {}
    for limit in limits:
        figures = {name: getattr(limit, name, None) for name in SLOWED}
        above = {name: value for name, value in figures.items() if isinstance(value, int) and value > SLOWED[name]}
        found |= {limit.id: above} if above else {}
    return found


def _is_limit(each: object) -> bool:
    known = isinstance(each, ProjectRateLimit) and isinstance(getattr(each, "id", None), str)
    return known and isinstance(getattr(each, "max_requests_per_1_minute", None), int)
