"""Hot reload: a changed folder is taken when it is valid; when not, the old one stays and the errors are told once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from service.config_errors import ConfigErrors
from service.config_tree import Folder
from service.install import Install
from streams.metrics import Metrics

_EVERY_S = 2.0
log = structlog.get_logger()


async def follow_folder(
    install: Install, metrics: Metrics, *, changed: Callable[[Folder], None], stopping: Callable[[], bool]
) -> None:
    """Look every two seconds, off the event loop, and let go of what was in force before in the same way.

    The first look is at once: a worker that has waited for its broker has read its folder a while ago.
    """
    watch = install.watch
    while watch is not None:
        found = await asyncio.to_thread(watch.poll)
        if isinstance(found, ConfigErrors):
            metrics.inc("keyfuse_config_errors_total")
            log.error("configuration not taken; the one before stays in force", errors=str(found))
        elif found is not None:
            parts = [*install.registry.parts(), *install.folder.keys.keys]
            await _take(install, found)
            changed(found)
            await asyncio.to_thread(_let_go, parts)
        if stopping():
            return
        await asyncio.sleep(_EVERY_S)


def _let_go(parts: list[object]) -> None:
    """One by one: between two of them others get their turn."""
    while parts:
        parts.pop()


async def _take(install: Install, found: Folder) -> None:
    if found.wiring != install.folder.wiring or found.routes.channels != install.folder.routes.channels:
        log.warning("keyfuse.yaml and channels take effect at the next start")
    await install.reload_beside(found)
    log.info("configuration reloaded", folder=str(install.config_dir))
