from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.checkpoint import Checkpoint

_POSITIVE = st.integers(0, 2**60)


@given(
    st.builds(
        Checkpoint,
        offset=_POSITIVE,
        log_start=_POSITIVE,
        end=st.none() | _POSITIVE,
        coords=st.dictionaries(st.integers(0, 65535), st.integers(0, 2**63)),
        clock_ms=_POSITIVE,
    )
)
def test_metadata_brings_back_the_checkpoint(checkpoint: Checkpoint) -> None:
    assert Checkpoint.read(checkpoint.offset, checkpoint.metadata()) == checkpoint


def test_the_largest_install_fits_into_what_a_broker_takes() -> None:
    checkpoint = Checkpoint(2**43, 2**43, 2**43 + 5, {p: 2**63 - p for p in range(256)}, 2**43)
    assert len(checkpoint.metadata()) < 4096


@pytest.mark.parametrize("metadata", ["", "null", "7", "{}", '{"end":1}', '{"end":1,"log":2,"clock":3,"coords":"??"}'])
def test_what_we_did_not_write_is_not_read(metadata: str) -> None:
    assert Checkpoint.read(5, metadata) is None
