"""What a gate keeps on its disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controls.registry import Registry
from gate.known import Known
from gate.memory import Damaged, packed, packing, sealed, unpacked
from schemas.config import KeysConfig
from schemas.verdict import GateState, GateVerdict
from service.gate_memory import GateMemory


def known(**states: GateState) -> Known:
    found = Known(Registry(KeysConfig()))
    for key_id, state in states.items():
        found.judged(GateVerdict(key_id=key_id, state=state, reason="stopped", incident_id="inc_1", at_ms=1))
    return found


def test_what_was_refused_is_refused_after_a_restart() -> None:
    remembered = unpacked(packed(known(k1="throttle", k2="deny", k3="allow"), (), 77))
    states = [(said.verdict.key_id, said.verdict.state) for said in remembered.verdicts]
    assert states == [("k2", "deny"), ("k1", "throttle"), ("k3", "allow")], "the hardest first"
    assert remembered.at_ms == 77


def test_however_much_is_known_it_is_packed_a_little_at_a_time_and_comes_back_whole() -> None:
    states: list[GateState] = ["deny", "throttle"]
    wide = known(**{f"k{number}": states[number % 2] for number in range(95)})

    pieces = list(packing(wide, ()))
    wide.judged(GateVerdict(key_id="later", state="deny", reason="", incident_id="", at_ms=2))

    assert len(pieces) > 3
    assert max(piece.count(b"key_id") for piece in pieces) <= 40
    assert len(unpacked(sealed(pieces, 1)).verdicts) == 95


@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    whole = packed(known(k1="deny"), (), 77)
    at = data.draw(st.integers(whole.index(b"\n") + 1, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Damaged):
        unpacked(bytes(flipped))


@pytest.mark.parametrize("keep", [0, 1, 40, 120])
def test_a_file_cut_short_is_noticed(keep: int) -> None:
    with pytest.raises(Damaged):
        unpacked(packed(known(k1="deny"), (), 77)[:keep])


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    memory = GateMemory(tmp_path / "gate")
    assert memory.read() is None
    memory.write(packed(known(k1="deny"), (), 77))
    (tmp_path / "gate" / "known.new").mkdir()
    with pytest.raises(OSError, match=r"known\.new"):
        memory.write(packed(known(), (), 78))
    remembered = memory.read()
    assert remembered is not None
    assert remembered.at_ms == 77


def test_a_damaged_file_is_as_none(tmp_path: Path) -> None:
    (tmp_path / "known.gate").write_bytes(b"{}\n")
    assert GateMemory(tmp_path).read() is None
