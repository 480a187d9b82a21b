"""Addresses of a frame read at once are what the standard library reads one by one."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from controls.networks import both, spans, within
from detectors.addresses import NOT_SAID, OTHER, numbers_of

ODD = ("", "0.0.0.0", "255.255.255.255", "256.1.1.1", "01.2.3.4", "1..2.3", "1.2.3", "1.2.3.4.5", "1.2.3.4 ",
       ".1.2.3.4", "1.2.3.", "::ffff:10.1.2.3", "1.2.3.4444", "99999999999999", "10.0.0.1/24", "１.2.3.4")  # fmt: skip
texts = st.lists(
    st.sampled_from(ODD) | st.ip_addresses().map(str) | st.ip_addresses(v=4).map(str)
    | st.text("0125.", min_size=6, max_size=16)
)  # fmt: skip
networks = st.lists(
    st.sampled_from(("0.0.0.0/0", "::/0", "255.255.255.255"))
    | st.tuples(st.ip_addresses(v=4), st.integers(0, 32)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
    max_size=4,
)  # fmt: skip


def plain(text: str) -> int:
    try:
        return int(IPv4Address(text))
    except ValueError:
        return OTHER if text else NOT_SAID


@settings(deadline=None)
@given(texts, st.integers(0, 3))
def test_each_text_has_the_number_of_its_address(given_texts: list[str], skipped: int) -> None:
    column = pa.array(given_texts, pa.string())[skipped:]
    assert numbers_of(column).tolist() == [*map(plain, given_texts[skipped:]), NOT_SAID]


@settings(deadline=None)
@given(networks, networks, st.ip_addresses(v=4))
def test_an_address_lies_in_the_spans_of_the_networks_it_lies_in(
    one: list[str], other: list[str], address: IPv4Address
) -> None:
    edges = [address, *(edge for text in one + other if (edge := ip_network(text, strict=False)[-1]).version == 4)]
    for edge in edges:
        said = within(str(edge), one) and within(str(edge), other)
        assert said == any(low <= int(edge) <= high for low, high in both(spans(one), spans(other)))
