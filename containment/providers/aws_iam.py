"""IAM by the official client: each call made once, in a thread, and every foreign exception ended here."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeVar

import boto3
from botocore import exceptions as aws
from botocore.config import Config
from botocore.loaders import Loader, create_loader
from botocore.parsers import ResponseParserError
from botocore.session import get_session
from pydantic import SecretStr

from containment.providers.errors import ProviderError, Reason, Refused, Retryable, by_status
from containment.providers.redact import redact

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient

T = TypeVar("T")
KeyKind = Literal["iam", "bedrock"]
OwnerKind = Literal["role", "user"]
_BEDROCK: Final = "bedrock.amazonaws.com"
# IAM answers 403 for a wrong key, 400 for too many calls and 409 for a full quota. What the code says is told here as
# the status that means it everywhere else.
_MEANS: Final = {
    "IncompleteSignature": 401, "InvalidClientTokenId": 401, "MissingAuthenticationToken": 401,
    "SignatureDoesNotMatch": 401, "UnrecognizedClientException": 401, "ExpiredToken": 401, "ExpiredTokenException": 401,
    "Throttling": 429, "ThrottlingException": 429, "RequestLimitExceeded": 429, "TooManyRequestsException": 429,
    "NoSuchEntity": 404, "LimitExceeded": 400, "DeleteConflict": 400, "ServiceNotSupported": 400,
}  # fmt: skip
_STATUSES: Final = frozenset({"Active", "Inactive", "Expired"})
_NO_IDENTITY: Final = (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError)


class _NotXml(Exception):
    """An error that no part of AWS wrote, from a proxy perhaps. botocore would lose its status."""

    def __init__(self, status: int, body: bytes, retry_after: str | None) -> None:
        super().__init__(status)
        self.status, self.body, self.retry_after = status, body, retry_after


class Iam:
    """The IAM Query API.

    Args:
        secret: `ACCESS_KEY_ID:SECRET`, or empty for the machine's own role.
        base_url: Other address than AWS's own.
        timeout_s: For one call.

    Raises:
        ValueError: the secret has another form.
    """

    def __init__(self, secret: SecretStr, *, base_url: str, timeout_s: float) -> None:
        self._key_id, colon, value = secret.get_secret_value().partition(":")
        if self._key_id and not (colon and value and self._key_id.isalnum()):
            raise ValueError("the secret must be ACCESS_KEY_ID:SECRET, or empty for the machine's own role")
        self._secret = SecretStr(value)
        self._base_url = base_url
        self._timeout_s = timeout_s
        self._making = threading.Lock()
        self._client: IAMClient | None = None

    async def keys(self, kind: KeyKind, user: str) -> dict[str, str]:
        """The user's keys of this kind, each with its status."""
        if kind == "iam":
            doing = f"list the access keys of {user}"
            listed = await self._call(doing, lambda iam: iam.list_access_keys(UserName=user))
            return _statuses(listed, "AccessKeyMetadata", "AccessKeyId", doing)
        doing = f"list the Bedrock keys of {user}"
        found = await self._call(
            doing, lambda iam: iam.list_service_specific_credentials(UserName=user, ServiceName=_BEDROCK)
        )
        return _statuses(found, "ServiceSpecificCredentials", "ServiceSpecificCredentialId", doing)

    async def set_status(self, kind: KeyKind, user: str, key: str, status: Literal["Active", "Inactive"]) -> None:
        def ask(iam: IAMClient) -> None:
            if kind == "iam":
                iam.update_access_key(UserName=user, AccessKeyId=key, Status=status)
            else:
                iam.update_service_specific_credential(UserName=user, ServiceSpecificCredentialId=key, Status=status)

        await self._call(f"set {kind}/{user}/{key} {status.lower()}", ask)

    async def delete(self, kind: KeyKind, user: str, key: str) -> None:
        def ask(iam: IAMClient) -> None:
            if kind == "iam":
                iam.delete_access_key(UserName=user, AccessKeyId=key)
            else:
                iam.delete_service_specific_credential(UserName=user, ServiceSpecificCredentialId=key)

        await self._call(f"delete {kind}/{user}/{key}", ask)

    async def policy(self, kind: OwnerKind, owner: str, name: str) -> str:
        """The inline policy as JSON, empty where there is none. Raises Refused when there is no such owner."""

        def ask(iam: IAMClient) -> Mapping[str, Any]:
            if kind == "role":
                return iam.get_role_policy(RoleName=owner, PolicyName=name)
            return iam.get_user_policy(UserName=owner, PolicyName=name)

        doing = f"read the policy {name} of {kind}/{owner}"
        try:
            document = (await self._call(doing, ask)).get("PolicyDocument")
        except Refused as refused:
            if refused.reason is not Reason.UNKNOWN_KEY:
                raise
            await self._exists(kind, owner)  # AWS answers the same for a missing policy and for a missing owner
            return ""
        if not isinstance(document, dict):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer has no policy")
        return json.dumps(document)

    async def put_policy(self, kind: OwnerKind, owner: str, name: str, document: str) -> None:
        def ask(iam: IAMClient) -> None:
            if kind == "role":
                iam.put_role_policy(RoleName=owner, PolicyName=name, PolicyDocument=document)
            else:
                iam.put_user_policy(UserName=owner, PolicyName=name, PolicyDocument=document)

        await self._call(f"put the policy {name} on {kind}/{owner}", ask)

    async def delete_policy(self, kind: OwnerKind, owner: str, name: str) -> None:
        def ask(iam: IAMClient) -> None:
            if kind == "role":
                iam.delete_role_policy(RoleName=owner, PolicyName=name)
            else:
                iam.delete_user_policy(UserName=owner, PolicyName=name)

        await self._call(f"take the policy {name} off {kind}/{owner}", ask)

    async def _exists(self, kind: OwnerKind, owner: str) -> None:
        def ask(iam: IAMClient) -> Mapping[str, Any]:
            return iam.get_role(RoleName=owner) if kind == "role" else iam.get_user(UserName=owner)

        doing = f"read {kind}/{owner}"
        if not isinstance((await self._call(doing, ask)).get(kind.capitalize()), dict):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is no {kind}")

    async def close(self) -> None:
        if self._client is not None:
            self._client.close()

    async def _call(self, doing: str, ask: Callable[[IAMClient], T]) -> T:
        """What `ask` got. Raises ProviderError for everything else, in words that start with `doing`."""
        return await asyncio.to_thread(self._ask, doing, ask)

    def _ask(self, doing: str, ask: Callable[[IAMClient], T]) -> T:
        try:
            return ask(self._connected())
        except aws.ClientError as exc:
            raise self._of_answer(doing, exc) from None
        except _NotXml as exc:
            said = redact(exc.body.decode(errors="replace"), self._secret)
            raise by_status(_not_gone(exc.status), doing, said, retry_after=exc.retry_after) from None
        except aws.BotoCoreError as exc:
            _raise_unasked(doing, exc)
        except (ResponseParserError, KeyError, ValueError, TypeError, AttributeError) as exc:
            # The parser walks whatever XML came by the documented names; another shape surfaces as one of these.
            raise Retryable(Reason.NONSENSE, f"{doing}: an answer that makes no sense ({type(exc).__name__})") from None

    def _connected(self) -> IAMClient:
        """Made at the first call and in its thread: it reads files, and may ask the machine for its role."""
        with self._making:
            if self._client is None:
                core = get_session()
                core.register_component("data_loader", _descriptions())
                session = boto3.Session(
                    aws_access_key_id=self._key_id or None,
                    aws_secret_access_key=self._secret.get_secret_value() or None,
                    botocore_session=core,
                )
                self._client = session.client(
                    "iam",
                    region_name=session.region_name or "us-east-1",  # IAM has one address; this picks the partition
                    endpoint_url=self._base_url or None,
                    config=Config(
                        connect_timeout=self._timeout_s,
                        read_timeout=self._timeout_s,
                        retries={"total_max_attempts": 1},  # the executor counts the tries and keeps the audit
                        user_agent_extra="keyfuse",
                    ),
                )
                self._client.meta.events.register("before-parse.iam", _keep_status)
            return self._client

    def _of_answer(self, doing: str, exc: aws.ClientError) -> ProviderError:
        error, meta = exc.response.get("Error", {}), exc.response.get("ResponseMetadata", {})
        code = str(error.get("Code", ""))
        said = redact(f"{code}: {error.get('Message', '')}", self._secret)
        status = _MEANS.get(code) or _not_gone(meta.get("HTTPStatusCode", 400))
        return by_status(status, doing, said, retry_after=meta.get("HTTPHeaders", {}).get("retry-after"))


@functools.cache
def _descriptions() -> Loader:
    """Of AWS's services: megabytes of JSON, read once for all accounts."""
    return create_loader()


def _statuses(answer: Mapping[str, Any], listed: str, named: str, doing: str) -> dict[str, str]:
    rows = answer.get(listed)
    if not isinstance(rows, list) or answer.get("IsTruncated"):  # a user has two at most, never a second page
        raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not the whole list")
    found = {row.get(named): row.get("Status") for row in rows}
    if not all(isinstance(key, str) and status in _STATUSES for key, status in found.items()):
        raise Retryable(Reason.NONSENSE, f"{doing}: a key without an id or a status we know")
    return found


def _not_gone(status: int) -> int:
    """Without IAM's own word for it "not found" says nothing of the key, and must not pass for one that is gone."""
    return 502 if status == 404 else status


def _keep_status(response_dict: dict[str, Any], **_: object) -> None:
    status, body = response_dict["status_code"], response_dict["body"]
    if status >= 300 and b"<Error" not in body:
        raise _NotXml(status, body, response_dict["headers"].get("retry-after"))


def _raise_unasked(doing: str, exc: aws.BotoCoreError) -> NoReturn:
    """The request did not get an answer at all."""
    match exc:
        case aws.ConnectTimeoutError() | aws.ReadTimeoutError():
            raise Retryable(Reason.TIMEOUT, f"{doing}: no answer in time") from None
        case aws.HTTPClientError() | aws.ConnectionError():
            raise Retryable(Reason.NETWORK, f"{doing}: no connection ({type(exc).__name__})") from None
        case _ if isinstance(exc, _NO_IDENTITY):
            words = f"{doing}: this machine has no AWS credentials; set secret_env or secret_file, or give it a role"
            raise Refused(Reason.BAD_CREDENTIALS, words) from None
        case _:
            raise Refused(Reason.REJECTED, f"{doing}: the AWS client is not set up ({type(exc).__name__})") from None
