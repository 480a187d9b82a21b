"""Where lists of keys come from. Every call is a read; what it gives holds no secret."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final, Protocol

from containment.providers.errors import Reason, Retryable
from controls.inventory import Listed

__all__ = ["PAGES_MOST", "Inventory", "Listed", "all_pages"]

PAGES_MOST: Final = 1000
"""A list that goes on longer than this is taken for one that goes in a circle."""


class Inventory(Protocol):
    """One kind of provider."""

    async def listed(self) -> list[Listed]:
        """All keys. ProviderError when the provider does not answer, refuses, or gives a part of the list only."""

    async def close(self) -> None:
        """Connections."""


async def all_pages(first: Awaitable[Any], doing: str) -> list[Any]:
    """The rows of all pages of an official client's list. ValueError for a page that holds none of the kind.

    The clients take an answer without rows for an empty page: a list that is cut short must not look like a whole one.
    """
    rows: list[Any] = []
    page = await first
    for _ in range(PAGES_MOST):
        if not isinstance(page.data, list) or page.has_more is None:
            raise ValueError("the answer is no page of a list")
        rows += page.data
        if not page.has_next_page():
            return rows
        page = await page.get_next_page()
    raise Retryable(Reason.NONSENSE, f"{doing}: the list does not end")
