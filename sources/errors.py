"""What publishing can raise: the intake turns each into an answer a producer can act on."""

from __future__ import annotations


class BrokerSlow(Exception):
    """The broker acknowledges too slowly; nothing is lost, the producer should retry after `retry_after_s`."""

    def __init__(self, retry_after_s: int = 1) -> None:
        super().__init__(f"the broker is slow: retry after {retry_after_s} s")
        self.retry_after_s = retry_after_s


class BrokerDown(Exception):
    """The broker does not acknowledge at all."""
