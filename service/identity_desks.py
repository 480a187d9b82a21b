"""The desks of the identity plane, each with what the configuration says of its business."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from controls.budgets import Budgets
from controls.desks import IdentityDesk
from controls.exceptions import ExceptionDesk, ExceptionRules
from controls.follow_ups import FollowUpDesk
from controls.issuing import Rules
from controls.issuing_desk import IssuingDesk
from controls.life_desk import LifeDesk
from service.install import Install


def issuing_rules(install: Install) -> Rules:
    """What a wish for a key is judged by, wherever it is looked at."""
    return Rules(install.folder.keys.issuing, install.people, install.minting())


def _issuing(install: Install) -> IdentityDesk:
    budgets = Budgets(install.folder.budgets)
    return IssuingDesk(
        issuing_rules(install), budgets=lambda facts: budgets.covering("", facts), standing=install.standing.all()
    )


def _life(install: Install) -> IdentityDesk:
    return LifeDesk(install.folder.keys, install.responses.mode_of)


def _exceptions(install: Install) -> IdentityDesk:
    folder = install.folder
    return ExceptionDesk(ExceptionRules(folder.policies, folder.budgets, folder.keys))


_DESKS: Final[tuple[Callable[[Install], IdentityDesk], ...]] = (
    _issuing, _life, _exceptions, lambda _: FollowUpDesk(),
)  # fmt: skip


def desks_of(install: Install) -> tuple[IdentityDesk, ...]:
    """In the order in which they are asked what is due; made for each message, so a reload holds from the next on."""
    return tuple(make(install) for make in _DESKS)
