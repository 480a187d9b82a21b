"""AWS by its official client, one service each: calls made once, in a thread, every foreign exception ended here."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Any, Final, Generic, NoReturn, TypeVar

import boto3
from botocore import exceptions as aws
from botocore.config import Config
from botocore.loaders import Loader, create_loader
from botocore.parsers import ResponseParserError
from botocore.session import get_session
from pydantic import SecretStr

from containment.providers.errors import ProviderError, Reason, Refused, Retryable, by_status
from containment.providers.redact import redact

C = TypeVar("C")  # the service's client, as its stubs type it
T = TypeVar("T")
# Many of AWS's services answer 400 for everything, IAM 403 for a wrong key and 409 for a full quota. What the code says
# is told here as the status that means it everywhere else.
_MEANS: Final = {
    "IncompleteSignature": 401, "InvalidClientTokenId": 401, "MissingAuthenticationToken": 401,
    "SignatureDoesNotMatch": 401, "UnrecognizedClientException": 401, "ExpiredToken": 401, "ExpiredTokenException": 401,
    "InvalidSignatureException": 401, "AccessDenied": 403, "AccessDeniedException": 403,
    "Throttling": 429, "ThrottlingException": 429, "RequestLimitExceeded": 429, "TooManyRequestsException": 429,
    "NoSuchEntity": 404, "ResourceNotFoundException": 404, "LimitExceeded": 400, "DeleteConflict": 400,
    "ServiceNotSupported": 400, "InternalServiceError": 500, "InternalFailure": 500,
}  # fmt: skip
_NO_IDENTITY: Final = (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError)


class _NotXml(Exception):
    """An error that no part of AWS wrote, from a proxy perhaps. botocore would lose its status."""

    def __init__(self, status: int, body: bytes, retry_after: str | None) -> None:
        super().__init__(status)
        self.status, self.body, self.retry_after = status, body, retry_after


class AwsApi(Generic[C]):
    """One service of one account.

    Args:
        secret: `ACCESS_KEY_ID:SECRET`, or empty for the machine's own role.
        service: Its name in the client.
        base_url: Other address than AWS's own.
        timeout_s: For one call.
        region: Empty for the machine's own.

    Raises:
        ValueError: the secret has another form.
    """

    def __init__(self, secret: SecretStr, service: str, *, base_url: str, timeout_s: float, region: str = "") -> None:
        self._key_id, colon, value = secret.get_secret_value().partition(":")
        if self._key_id and not (colon and value and self._key_id.isalnum()):
            raise ValueError("the secret must be ACCESS_KEY_ID:SECRET, or empty for the machine's own role")
        self._secret = SecretStr(value)
        self._service = service
        self._base_url = base_url
        self._timeout_s = timeout_s
        self._region = region
        self._making = threading.Lock()
        self._client: Any = None

    async def call(self, doing: str, ask: Callable[[C], T]) -> T:
        """What `ask` got. Raises ProviderError for everything else, in words that start with `doing`."""
        return await asyncio.to_thread(self._ask, doing, ask)

    async def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _ask(self, doing: str, ask: Callable[[C], T]) -> T:
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

    def _connected(self) -> C:
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
                make: Any = session.client  # typed by the stubs for each name apart
                self._client = make(
                    self._service,
                    region_name=self._region or session.region_name or "us-east-1",
                    endpoint_url=self._base_url or None,
                    config=Config(
                        connect_timeout=self._timeout_s,
                        read_timeout=self._timeout_s,
                        retries={"total_max_attempts": 1},  # the executor counts the tries and keeps the audit
                        user_agent_extra="keyfuse",
                    ),
                )
                self._client.meta.events.register("before-parse.iam", _keep_status)
            client: C = self._client
            return client

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
