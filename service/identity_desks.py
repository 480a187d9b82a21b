"""The desks of the identity plane, each with what the configuration says of its business."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from controls.desks import IdentityDesk
from service.install import Install

_DESKS: Final[tuple[Callable[[Install], IdentityDesk], ...]] = ()


def desks_of(install: Install) -> tuple[IdentityDesk, ...]:
    """In the order in which they are asked what is due; made for each message, so a reload holds from the next on."""
    return tuple(make(install) for make in _DESKS)
