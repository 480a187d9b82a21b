"""`POST /v1/people/left`: the HR system says that somebody has left, signed as Standard Webhooks 1.0.0 says.

202 is said when the broker has it. The same message again, by its `webhook-id`, changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook, WebhookVerificationError

from controls.people import People
from schemas.life import PersonLeft
from sources.http_answers import not_published, problem
from sources.http_body import BodyRefused, read_body

PATH: Final = "/v1/people/left"
_MAX_BODY_BYTES: Final = 65_536
_SENDER: Final = "hr"
_SECRET_LEAST: Final = 32  # letters of base64: 24 bytes, as the standard has it
Name = Annotated[str, Field(max_length=100)]


class Left(BaseModel):
    """What the message says; further fields are the HR system's own."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    person: Name = ""
    slack: Name = ""
    to: Name = ""
    reason: Annotated[str, Field(max_length=500)] = ""


class Hook(NamedTuple):
    """What the route works with. `owned` counts the keys of somebody, as far as is known here."""

    secret: SecretStr
    people: Callable[[], People]
    owned: Callable[[str], int]
    send: Callable[[PersonLeft], Awaitable[None]]
    now_ms: Callable[[], int]
    counted: Callable[[str], None]


def create_people_left(hook: Hook) -> APIRouter:
    """The route. ValueError when the secret cannot sign."""
    router, verifiers = APIRouter(), _verifiers(hook.secret)

    @router.post(PATH)
    async def left(request: Request) -> JSONResponse:
        try:
            body = await read_body(request, _MAX_BODY_BYTES)
        except BodyRefused as refused:
            return problem(refused.status, refused.detail)
        if not _signed(verifiers, body, request.headers):
            hook.counted("unsigned")  # and no line in the log: whoever finds the address could fill it
            return problem(401, "not signed with this secret, or too long ago")
        said = left_of(body, hook.people())
        if isinstance(said, str):
            hook.counted("not_understood")
            return problem(422, said)
        message = PersonLeft(
            request_id=f"hr:{request.headers.get('webhook-id', '')}"[:200], by=_SENDER, via="api",
            at_ms=hook.now_ms(), reason=said.reason or "said the HR system", person=said.person, to=said.to,
        )  # fmt: skip
        not_sent = await not_published(hook.send(message))
        if not_sent is not None:
            hook.counted("unavailable")
            return not_sent
        hook.counted("taken")
        return JSONResponse({"person": said.person, "keys": hook.owned(said.person)}, status_code=202)

    return router


def left_of(body: bytes, people: People) -> Left | str:
    """Who has left, by the name in people.yaml; in words what is wrong. An envelope with `data` is opened."""
    try:
        found = _Envelope.model_validate_json(body).data or Left.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part != "data") or "the body"
        return f"{where}: {first['msg']}"
    if found.person and found.slack:
        return "person: give a person or a slack id, not both"
    if found.slack:
        person = people.of_slack(found.slack)
        if person is None:
            return f"slack: nobody in people.yaml has the id {found.slack[:40]}"
        found = found.model_copy(update={"person": person.name})
    if not found.person:
        return "person: say who has left, by the name in people.yaml, or `slack` by their member id"
    if found.to and people.enforced and people.named(found.to) is None:
        return f"to: {found.to[:100]} is not in people.yaml"
    return found


class _Envelope(BaseModel):
    model_config = ConfigDict(extra="ignore")

    data: Left | None = None


def _verifiers(secret: SecretStr) -> list[Webhook]:
    """Several secrets, with blanks between, while it is being changed."""
    try:
        texts = secret.get_secret_value().split()
        found = [Webhook(each) for each in texts if len(each.removeprefix("whsec_")) >= _SECRET_LEAST]
    except (ValueError, EmptyWebhookSecretError):
        found = []
    if not found or len(found) < len(texts):
        raise ValueError(
            "the secret of people_left is no Standard Webhooks secret: whsec_ and base64 of 24 bytes or more"
        )
    return found


def _signed(verifiers: list[Webhook], body: bytes, headers: Mapping[str, Any]) -> bool:
    own = {name: str(headers.get(name, "")) for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
    for verifier in verifiers:
        try:
            verifier.verify(body, own, json_parse=False)
        except (WebhookVerificationError, ValueError):  # also what is no signature at all
            continue
        return True
    return False
