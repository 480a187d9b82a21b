"""From the folder to the planes that the gate asks."""

from __future__ import annotations

from collections.abc import Iterable

from controls.budgets import Budgets
from controls.expected import raised_budgets
from controls.policies import Policies
from gate.decide import Planes
from schemas.exception import PolicyException
from service.config_tree import Folder


def planes_of(folder: Folder, exceptions: Iterable[PolicyException] = (), *, at_ms: int) -> Planes:
    """As the folder and the exceptions say now. A key's own quotas are ceilings: the policy plane has them."""
    exceptions = tuple(exceptions)
    budgets = Budgets(raised_budgets(folder.budgets, exceptions, at_ms))
    return Planes(Policies(folder.policies, exceptions), budgets, folder.wiring.gate)
