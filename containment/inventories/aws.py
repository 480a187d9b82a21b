"""AWS: the access keys and Bedrock keys of every IAM user, by AWS's own client."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from containment.inventories.base import PAGES_MOST, Listed
from containment.providers.aws_api import AwsApi
from containment.providers.errors import Reason, Retryable
from schemas.config.wiring import ProviderConfig

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient

_BEDROCK: Final = "bedrock.amazonaws.com"


class AwsInventory:
    """`secret` is `ACCESS_KEY_ID:SECRET`, or empty for the machine's own role. Roles have no keys of their own."""

    def __init__(self, config: ProviderConfig, secret: SecretStr, *, timeout_s: float) -> None:
        self._api: AwsApi[IAMClient] = AwsApi(secret, "iam", base_url=config.base_url, timeout_s=timeout_s)

    async def listed(self) -> list[Listed]:
        return [key for user in await self._users() for key in (*await self._access(user), *await self._bedrock(user))]

    async def _users(self) -> list[str]:
        found: list[str] = []
        marker: dict[str, Any] = {}
        for _ in range(PAGES_MOST):
            answer = await self._api.call("list the users", lambda iam, at=marker: iam.list_users(**at))  # type: ignore[misc]  # mypy does not see the default
            found += [user["UserName"] for user in _rows(answer, "Users", "list the users")]
            if not answer.get("IsTruncated"):
                return found
            marker = {"Marker": answer["Marker"]}
        raise Retryable(Reason.NONSENSE, "list the users: the list does not end")

    async def _access(self, user: str) -> list[Listed]:
        doing = f"list the access keys of {user}"
        answer = await self._api.call(doing, lambda iam: iam.list_access_keys(UserName=user))
        rows = _rows(answer, "AccessKeyMetadata", doing)
        return [_as_listed("iam", user, row, row["AccessKeyId"]) for row in rows]

    async def _bedrock(self, user: str) -> list[Listed]:
        doing = f"list the Bedrock keys of {user}"
        answer = await self._api.call(
            doing, lambda iam: iam.list_service_specific_credentials(UserName=user, ServiceName=_BEDROCK)
        )
        rows = _rows(answer, "ServiceSpecificCredentials", doing)
        return [_as_listed("bedrock", user, row, row["ServiceSpecificCredentialId"]) for row in rows]

    async def close(self) -> None:
        await self._api.close()


def _rows(answer: Mapping[str, Any], listed: str, doing: str) -> list[dict[str, Any]]:
    rows = answer.get(listed)
    if not isinstance(rows, list):
        raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not a list")
    return rows


def _as_listed(kind: str, user: str, row: Mapping[str, Any], key: str) -> Listed:
    return Listed(
        provider_ref=f"{kind}/{user}/{key}", key_id=key, name=f"{kind} key of {user}", place=user,
        active=row.get("Status") == "Active", created_ms=_ms(row.get("CreateDate")),
        expires_ms=_ms(row.get("ExpirationDate")), hint=key[-4:] if kind == "iam" else "",
    )  # fmt: skip


def _ms(at: datetime | None) -> int | None:
    return round(at.timestamp() * 1000) if at else None
