"""A wall clock that does not follow jumps at once: a clock set wrongly must not begin another period."""

from __future__ import annotations

from typing import Final

_SAME_MS: Final = 60_000
_BELIEVED_AFTER_MS: Final = 600_000


class SteadyClock:
    """The wall clock of the start, gone on with by a clock that never jumps.

    A jump of more than a minute is followed once it has stood for ten minutes.

    >>> clock = SteadyClock()
    >>> [clock.now(wall, mono) for wall, mono in ((1000, 0), (7_201_000, 1000), (3000, 2000))]
    [1000, 2000, 3000]
    >>> [clock.now(7_200_000 + mono, mono) for mono in (3000, 602_000, 603_000)]
    [4000, 603000, 7803000]
    """

    def __init__(self) -> None:
        self._ahead: int | None = None  # of the wall clock, before the one that never jumps
        self._jumped: tuple[int, int] | None = None  # to where, and since when

    def now(self, wall_ms: int, mono_ms: int) -> int:
        ahead = wall_ms - mono_ms
        if self._ahead is None or abs(ahead - self._ahead) <= _SAME_MS:
            self._ahead, self._jumped = ahead, None
        elif self._jumped is None or abs(ahead - self._jumped[0]) > _SAME_MS:
            self._jumped = (ahead, mono_ms)
        elif mono_ms - self._jumped[1] >= _BELIEVED_AFTER_MS:
            self._ahead, self._jumped = ahead, None
        return mono_ms + self._ahead
