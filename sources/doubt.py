"""What the fast path says instead of deciding."""

from __future__ import annotations


class Doubt(Exception):
    """The fast path cannot vouch for these events: each has to be looked at by itself."""
