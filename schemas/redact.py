"""Secrets out of text, before a person, a log or a topic sees it.

Scanners for files want a quote or a space after a key, so a comma hides it from them. Here each kind is known by how
it begins and taken as far as its alphabet goes, whatever comes after. Too much hidden is a nuisance, too little a leak.
Names that Keyfuse needs to speak of keys pass untouched: `fp1:` fingerprints, `apikey_`, `key_` and `proj_` ids, and
LiteLLM's 64 hex digits.
"""

from __future__ import annotations

import re
from typing import Final

MARK: Final = "…[redacted]"

# A key may begin after anything but a letter or digit, after an escape (`\nsk-`) or after a percent code (`%20sk-`).
_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf])|(?<=%[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4}))"
_BODY = r"[A-Za-z0-9_\-*]"  # the asterisks of a provider that quotes a key half masked
_TOKEN = r"[A-Za-z0-9\-._~+/=%*:]"  # RFC 6750, with room  # noqa: S105 - a pattern, not a secret
# Without quotes and backslashes, so that a line of JSON stays JSON.
_VALUE = r"[^\s\"'\\,;&…\[\]{}<>]"
_IS = r"[\"']?\s*[:=,]\s*b?\\?[\"']?"
_SCHEMES = r"(?:(?:bearer|basic|token)(?:\s|%20)+)+"
_MAKER = r"(?:proj|svcacct|admin|ant-[a-z]+\d\d|ant|or-v\d|or|lf)-"
_SK = rf"(sk-(?:{_MAKER})?+)"  # possessive: what is redacted already is not found again by a shorter prefix

# Each rule has one group: the part that tells the kind and may stay.
_RULES: Final[tuple[str, ...]] = (
    # OpenAI project, service account and admin keys, Anthropic, OpenRouter: their prefix is proof enough anywhere.
    rf"(sk-{_MAKER}){_BODY}{{16,}}",
    # OpenAI legacy, LiteLLM and all who copied them. Short ones need a digit: `sk-1234` is a key, `sk-learn` is not.
    rf"{_START}{_SK}(?:(?={_BODY}{{0,99}}[\d*]){_BODY}{{4,}}|{_BODY}{{12,}})",
    # Glued to a word: only what cannot be the end of `task-...` or `risk-...`.
    rf"{_SK}(?={_BODY}{{0,99}}\d)(?={_BODY}{{0,99}}[A-Z]){_BODY}{{20,}}",
    rf"{_START}(sess-|xai-|pplx-|nvapi-|glpat-|pk-lf-){_BODY}{{16,}}",
    rf"{_START}(gsk_|hf_|r8_|gh[opsur]_|github_pat_){_BODY}{{16,}}",
    r"(kfk_)[A-Za-z0-9]{16,}",  # our own
    rf"(AIza){_BODY}{{16,}}",
    rf"{_START}(AQ\.|ya29\.){_BODY}{{16,}}",
    r"(AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z2-7]{16}",
    r"(ABSK|bedrock-api-key-)[A-Za-z0-9+/]{32,}=*",
    r"(xox[a-z]|xapp)[-.][A-Za-z0-9.\-]{8,}",
    r"(hooks\.slack\.com/(?:services|workflows|triggers)/)[A-Za-z0-9/]{8,}",
    r"(whsec_|whsk_)[A-Za-z0-9+/=_\-]{8,}",
    rf"{_START}(eyJ)[A-Za-z0-9_\-]{{10,999}}\.[A-Za-z0-9_\-]{{10,}}(?:\.[A-Za-z0-9_\-]*)?",
    r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)[A-Za-z0-9+/=\s\\:,.\-]*",
    rf"((?i:(?:proxy-)?authorization{_IS}{_SCHEMES})){_VALUE}+",
    # `bearer token` in a sentence is no secret: a digit or length makes one.
    rf"((?i:bearer)(?:\s|%20|\+)+)(?:(?={_TOKEN}{{0,99}}\d){_TOKEN}{{6,}}|{_TOKEN}{{20,}})",
    rf"((?i:x-(?:[a-z]+-)?(?:api-key|auth-token|subscription-token){_IS})){_VALUE}{{6,}}",
    rf"((?i:(?:password|passwd|client_secret|secret_access_key){_IS})){_VALUE}{{6,}}",
    rf"((?i:[?&](?:access_token|token|sig|signature|x-amz-signature|secret)=)){_VALUE}{{6,}}",
    r"(://[^\s/:@\"'\\]{0,99}:)(?!…)[^\s/@\"'\\]{1,999}(?=@)",
)
_SECRET: Final = re.compile("|".join(_RULES))


def redact(text: str) -> str:
    """The text with each secret replaced by how it begins and a mark. Doing it twice changes nothing more.

    >>> redact("401 for sk-proj-Ab3dEf6hIj9kLm2nOp5q, retrying")
    '401 for sk-proj-…[redacted], retrying'
    >>> redact("key fp1:a84029a881ee3a5626797adc981f0106 of proj_x1")
    'key fp1:a84029a881ee3a5626797adc981f0106 of proj_x1'
    """
    return _SECRET.sub(_mark, text)


def looks_secret(text: str) -> bool:
    """Whether `redact` would hide some of it.

    >>> looks_secret("AKIA2222222222222222"), looks_secret("OPENAI_ADMIN_KEY")
    (True, False)
    """
    return _SECRET.search(text) is not None


def _mark(found: re.Match[str]) -> str:
    return f"{found[found.lastindex or 0]}{MARK}"
