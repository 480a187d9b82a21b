"""What goes wrong in a history, and when: all of it drawn from the seed."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Literal

Fate = Literal[
    "", "dies before", "dies after", "sleeps", "fails before", "fails after", "is slow", "comes twice", "moves"
]

_MENUS: Final[dict[str, dict[Fate, float]]] = {
    "crashes": {"dies before": 4, "dies after": 4, "is slow": 1},
    "zombies": {"sleeps": 4, "dies after": 1, "moves": 2, "is slow": 2},
    "broken connections": {"fails before": 3, "fails after": 3, "comes twice": 2, "is slow": 1},
    "rebalances": {"moves": 4, "is slow": 3},
    "everything": {
        "dies before": 2, "dies after": 2, "sleeps": 2, "fails before": 2, "fails after": 2, "is slow": 2,
        "comes twice": 1, "moves": 2,
    },
}  # fmt: skip
MENUS: Final = tuple(_MENUS)
_FEW_STEPS: Final = 4


@dataclass
class Luck:
    """One fault after so many steps, until there have been `left` of them. A step is one thing done to the world."""

    rng: random.Random
    menu: str
    left: int
    mean_steps: float
    aim: str = ""
    """Only steps with this in their name count, and are met by anything."""
    happened: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    _until: int = 0

    @classmethod
    def of(cls, seed: int, faults: int | None = None) -> Luck:
        """`faults` is at most how many; None: as the seed says, in one of six histories none."""
        rng = random.Random(seed)
        menu, drawn, mean = rng.choice(MENUS), rng.choice([0, 1, 2, 3, 4, 6]), rng.choice([6, 15, 30])
        luck = cls(rng, menu, drawn if faults is None else min(drawn, faults), mean)
        luck._until = luck._pause()
        return luck

    def take_aim(self, aim: str) -> None:
        """At steps that are few, and matter."""
        self.aim, self.mean_steps = aim, _FEW_STEPS
        self._until = self._pause()

    def calm(self) -> None:
        """Nothing goes wrong from now on."""
        self.left = 0

    def fate(self, step: str, at_s: float) -> Fate:
        """What befalls this step."""
        if self.left <= 0 or self.aim not in step:
            return ""
        self._until -= 1
        if self._until > 0:
            return ""
        self.left -= 1
        self._until = self._pause()
        menu = _MENUS[self.menu]
        fate = self.rng.choices(list(menu), list(menu.values()))[0]
        self.happened[fate] += 1
        self.told.append(f"{at_s:7.2f} s  {step} {fate}")
        return fate

    def _pause(self) -> int:
        return 1 + int(self.rng.expovariate(1 / self.mean_steps))
