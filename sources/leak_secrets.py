"""Known secrets out of texts, however many there are, also where percent codes hide them. Pure.

`schemas.redact` knows secrets by their kind; here they are known themselves, and may be of no kind at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

from schemas.redact import MARK, looks_secret, redact

_START: Final = 6  # letters by which a secret is looked up; the shortest that looks like one has as many
_DECODED: Final = 3  # times that an address may be percent-encoded


class Secrets:
    """What must not be said again. One pass over a text finds them all."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Secrets of fewer than six letters are no secrets; they are not looked for."""
        self._forms: dict[str, dict[int, set[str]]] = {}
        self._said: dict[str, str] = {}  # reporters repeat themselves
        for secret in secrets:
            for form in (secret, quote(secret, safe=""), quote(secret), quote_plus(secret)):
                if len(form) >= _START:
                    self._forms.setdefault(form[:_START], {}).setdefault(len(form), set()).add(form)

    def without(self, text: str) -> str:
        """The text without these and without what looks like one; of an address that hides one only the host is left.

        >>> Secrets(["Odd-Secret-1"]).without("https://p.example/?q=Odd-Secret-1&x=1")
        'https://p.example/?q=…[redacted]&x=1'
        >>> Secrets(["Odd-Secret-1"]).without("https://p.example/?q=Odd-Secret%2d1&x=1")
        'https://p.example/…[redacted]'
        """
        known = self._said.get(text)
        if known is None:
            known = self._said[text] = self._cleaned(text)
        return known

    def _cleaned(self, text: str) -> str:
        text = redact(self._replaced(text))
        if not self._hidden_in(text):
            return text
        origin = _origin(text)
        return MARK if self._holds(origin) or self._hidden_in(origin) else origin + MARK

    def _replaced(self, text: str) -> str:
        if not self._thinkable(text):
            return text
        parts: list[str] = []
        at = kept = 0
        while at < len(text):
            size = self._at(text, at)
            if size:
                parts += (text[kept:at], MARK)
                kept = at = at + size
            else:
                at += 1
        return "".join([*parts, text[kept:]]) if parts else text

    def _at(self, text: str, at: int) -> int:
        """How long the longest secret is that begins there; 0 for none."""
        by_size = self._forms.get(text[at : at + _START], {})
        return max((size for size, forms in by_size.items() if text[at : at + size] in forms), default=0)

    def _hidden_in(self, text: str) -> bool:
        """Whether what percent codes stand for holds one, or what looks like one."""
        plain = {_decoded(text, unquote), _decoded(text, unquote_plus)} - {text}
        return any(self._holds(each) or looks_secret(each) for each in plain)

    def _holds(self, text: str) -> bool:
        return self._thinkable(text) and any(self._at(text, at) for at in range(len(text)))

    def _thinkable(self, text: str) -> bool:
        """A coarse sieve, for the fine one is slow."""
        return not self._forms.keys().isdisjoint(text[at : at + _START] for at in range(len(text)))


def _decoded(text: str, decode: Callable[[str], str]) -> str:
    for _ in range(_DECODED):
        text = decode(text)
    return text


def _origin(text: str) -> str:
    """Scheme and host of an address; nothing for other text."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}/" if parts.scheme in {"http", "https"} and parts.hostname else ""
