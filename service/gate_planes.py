"""From the folder to the planes that the gate asks."""

from __future__ import annotations

from collections.abc import Iterable

from controls.budgets import Budgets
from controls.policies import Policies
from gate.decide import Planes
from schemas.exception import PolicyException
from service.config_tree import Folder


def planes_of(folder: Folder, exceptions: Iterable[PolicyException] = ()) -> Planes:
    """As the folder and the exceptions say now. A key's own quotas are ceilings: the policy plane has them."""
    return Planes(Policies(folder.policies, exceptions), Budgets(folder.budgets), folder.wiring.gate)
