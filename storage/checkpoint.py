"""How far a partition of the frame log is archived: an offset, and a line of metadata committed with it."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from dataclasses import dataclass, field

_ENTRY = struct.Struct("<HQ")  # raw partition, highest raw coordinate


@dataclass(frozen=True)
class Checkpoint:
    """All before `offset` is archived. With an `end`, the insert of [offset, end) may have happened or not."""

    offset: int
    log_start: int  # ms: when this frame log began; makes positions grow over a broker's loss of memory
    end: int | None = None
    coords: dict[int, int] = field(default_factory=dict)  # raw partition -> highest raw coordinate before `offset`
    clock_ms: int = 0  # event time the archive has reached

    def metadata(self) -> str:
        """For the offset commit. Brokers take 4096 bytes; 256 raw partitions need under 3600.

        >>> Checkpoint(7, 1_795_428_000_000, end=9).metadata()
        '{"end":9,"log":1795428000000,"clock":0,"coords":""}'
        """
        packed = b"".join(_ENTRY.pack(partition, coord) for partition, coord in sorted(self.coords.items()))
        fields = {
            "end": self.end,
            "log": self.log_start,
            "clock": self.clock_ms,
            "coords": base64.b64encode(packed).decode(),
        }
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def read(cls, offset: int, metadata: str) -> Checkpoint | None:
        """None when the metadata is not ours: nothing was committed, or a person moved the offset."""
        try:
            fields = json.loads(metadata)
            packed = base64.b64decode(fields["coords"], validate=True)
            end = None if fields["end"] is None else int(fields["end"])
            return cls(offset, int(fields["log"]), end, dict(_ENTRY.iter_unpack(packed)), int(fields["clock"]))
        except (ValueError, TypeError, KeyError, binascii.Error, struct.error):
            return None
