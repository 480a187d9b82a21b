"""What the desk can raise."""

from __future__ import annotations


class Unavailable(Exception):
    """A word could not be looked up or passed on now; nothing is lost, whoever said it may say it again.

    Its text is for people: what is away, without addresses.
    """
