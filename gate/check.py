"""`/v1/check`: for proxies that ask by a request and go by its status: nginx `auth_request`, Envoy `ext_authz`.

Pure. What the call is about is read from the request's own headers and, where the proxy hands it on, its body. The
answer is 200, 401, 403 or 429, with the words in headers and in a body that the proxy may give its client as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

from gate.adapters.question import json_of, key_of, question_of
from gate.adapters.wire import Answer, headers_of, refusal

PATH: Final = "/v1/check"
TOKEN_HEADER: Final = "x-keyfuse-token"  # noqa: S105 - a name; Authorization is the client's own here
MAX_BODY_BYTES: Final = 8_000_000
TOO_LARGE: Final = Answer(
    "deny", "the request is too large for the gate to see its model: shorten it, or raise max_request_bytes",
    "gate.body_too_large",
)  # fmt: skip
_PARTIAL: Final = "x-envoy-auth-partial-body"
_IP_HEADERS: Final = ("x-real-ip", "x-envoy-external-address", "x-forwarded-for")
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})
_BYTES: Final = 1_000_000_000


class Checked(NamedTuple):
    """What the proxy is answered."""

    status: int
    headers: dict[str, str]
    body: bytes


def question_from(method: str, path: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any] | Answer:
    """What to ask the gate, or the answer where there is nothing to ask. Header names in small letters.

    Who calls stands in the key's headers. nginx says the rest in headers (`x-original-uri`, `x-original-method`,
    `x-keyfuse-model`), Envoy sends method and path as they are, behind `/v1/check`.
    """
    if headers.get(_PARTIAL) == "true" or len(body) > MAX_BODY_BYTES:
        return TOO_LARGE
    key = key_of(headers)
    if isinstance(key, Answer):
        return key
    read = json_of(body)
    if "model" not in read and headers.get("x-keyfuse-model"):
        read["model"] = headers["x-keyfuse-model"]
    endpoint = (headers.get("x-original-uri") or path.removeprefix(PATH)).partition("?")[0].partition("#")[0]
    asked = question_of(read, headers, endpoint=endpoint, ip=_ip(headers)) | {"key": key}
    if not body:
        asked["input_bytes"] = _declared(headers)
    country = headers.get("x-keyfuse-country", "")
    if country:
        asked["country"] = country[:2].upper()
    made = headers.get("x-original-method", method)
    return asked | ({"requests": 0} if made in _READS else {})


def checked(answer: Answer, *, headers: Mapping[str, str]) -> Checked:
    """What the proxy hears. `x-keyfuse-as: nginx`: every refusal is 403, for that is all that `auth_request` takes,
    and the status meant stands in `x-keyfuse-status`. `x-keyfuse-degrade: refuse`: where nobody behind the proxy heeds
    `x-keyfuse-model`, a call that should go on with a cheaper model is refused, with that model's name.
    """
    if answer.state == "degrade" and headers.get("x-keyfuse-degrade") == "refuse":
        answer = answer._replace(state="deny", reason=f"{answer.reason}: use {answer.model} instead".lstrip(": "))
    told = headers_of(answer) | ({"x-keyfuse-key-id": answer.key_id} if answer.key_id else {})
    if answer.passes:
        return Checked(200, told, b"")
    body = json.dumps(refusal(answer))  # ASCII, so it may travel in a header
    if headers.get("x-keyfuse-as") == "nginx":
        told |= {"x-keyfuse-status": str(answer.status), "x-keyfuse-body": body}
        return Checked(403, told, b"")
    return Checked(answer.status, told | {"content-type": "application/json"}, body.encode())


def _ip(headers: Mapping[str, str]) -> str:
    """The client's address as the proxy saw it: of a list the last, which the proxy itself added."""
    for name in _IP_HEADERS:
        value = headers.get(name, "").rsplit(",", 1)[-1].strip()
        try:
            return str(ip_address(value))
        except ValueError:
            continue
    return ""


def _declared(headers: Mapping[str, str]) -> int:
    """The size of a body that the proxy did not hand on."""
    said = headers.get("x-original-content-length", "")
    return min(int(said), _BYTES) if said.isascii() and said.isdigit() else 0
