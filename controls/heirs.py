"""What responses.yaml says of a key holds for whatever took over from it, too. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controls.registry import Registry
from schemas.config.responses import ResponsesConfig


def handed_on(written: ResponsesConfig, heirs: Mapping[str, Sequence[str]]) -> ResponsesConfig:
    """`protected_keys` and `key_modes` for the heirs of those named there, too.

    Args:
        written: `responses.yaml`. What it says of an heir itself is stronger.
        heirs: key_id → the keys that it took over from, oldest first. The newest one named gives the mode.
    """
    named, modes = frozenset(written.protected_keys), written.key_modes
    if not named and not modes:
        return written
    protected = tuple(key for key, line in heirs.items() if key not in named and not named.isdisjoint(line))
    more = {
        key: modes[newest] for key, line in heirs.items()
        if key not in modes and (newest := next((each for each in reversed(line) if each in modes), None)) is not None
    }  # fmt: skip
    if not protected and not more:
        return written
    return written.model_copy(
        update={"protected_keys": (*written.protected_keys, *protected), "key_modes": {**modes, **more}}
    )


class Responses:
    """The same, worked out again when the file or the heirs are others."""

    def __init__(self) -> None:
        self._known: tuple[ResponsesConfig, Registry, int, ResponsesConfig] | None = None

    def of(self, written: ResponsesConfig, registry: Registry) -> ResponsesConfig:
        """As they hold now. A key takes over once, so that the number of heirs tells whether one is new."""
        heirs, known = registry.heirs(), self._known
        if known is None or known[0] is not written or known[1] is not registry or known[2] != len(heirs):
            known = self._known = (written, registry, len(heirs), handed_on(written, heirs))
        return known[3]
