"""IAM, as much of it as cuts keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import SecretStr

from containment.providers.aws_api import AwsApi
from containment.providers.errors import Reason, Refused, Retryable

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient

KeyKind = Literal["iam", "bedrock"]
OwnerKind = Literal["role", "user"]
_BEDROCK: Final = "bedrock.amazonaws.com"
_STATUSES: Final = frozenset({"Active", "Inactive", "Expired"})


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
        self._api: AwsApi[IAMClient] = AwsApi(secret, "iam", base_url=base_url, timeout_s=timeout_s)

    async def keys(self, kind: KeyKind, user: str) -> dict[str, str]:
        """The user's keys of this kind, each with its status."""
        if kind == "iam":
            doing = f"list the access keys of {user}"
            listed = await self._api.call(doing, lambda iam: iam.list_access_keys(UserName=user))
            return _statuses(listed, "AccessKeyMetadata", "AccessKeyId", doing)
        doing = f"list the Bedrock keys of {user}"
        found = await self._api.call(
            doing, lambda iam: iam.list_service_specific_credentials(UserName=user, ServiceName=_BEDROCK)
        )
        return _statuses(found, "ServiceSpecificCredentials", "ServiceSpecificCredentialId", doing)

    async def set_status(self, kind: KeyKind, user: str, key: str, status: Literal["Active", "Inactive"]) -> None:
        def ask(iam: IAMClient) -> None:
            if kind == "iam":
                iam.update_access_key(UserName=user, AccessKeyId=key, Status=status)
            else:
                iam.update_service_specific_credential(UserName=user, ServiceSpecificCredentialId=key, Status=status)

        await self._api.call(f"set {kind}/{user}/{key} {status.lower()}", ask)

    async def delete(self, kind: KeyKind, user: str, key: str) -> None:
        def ask(iam: IAMClient) -> None:
            if kind == "iam":
                iam.delete_access_key(UserName=user, AccessKeyId=key)
            else:
                iam.delete_service_specific_credential(UserName=user, ServiceSpecificCredentialId=key)

        await self._api.call(f"delete {kind}/{user}/{key}", ask)

    async def policy(self, kind: OwnerKind, owner: str, name: str) -> str:
        """The inline policy as JSON, empty where there is none. Raises Refused when there is no such owner."""

        def ask(iam: IAMClient) -> Mapping[str, Any]:
            if kind == "role":
                return iam.get_role_policy(RoleName=owner, PolicyName=name)
            return iam.get_user_policy(UserName=owner, PolicyName=name)

        doing = f"read the policy {name} of {kind}/{owner}"
        try:
            document = (await self._api.call(doing, ask)).get("PolicyDocument")
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

        await self._api.call(f"put the policy {name} on {kind}/{owner}", ask)

    async def delete_policy(self, kind: OwnerKind, owner: str, name: str) -> None:
        def ask(iam: IAMClient) -> None:
            if kind == "role":
                iam.delete_role_policy(RoleName=owner, PolicyName=name)
            else:
                iam.delete_user_policy(UserName=owner, PolicyName=name)

        await self._api.call(f"take the policy {name} off {kind}/{owner}", ask)

    async def _exists(self, kind: OwnerKind, owner: str) -> None:
        def ask(iam: IAMClient) -> Mapping[str, Any]:
            return iam.get_role(RoleName=owner) if kind == "role" else iam.get_user(UserName=owner)

        doing = f"read {kind}/{owner}"
        if not isinstance((await self._api.call(doing, ask)).get(kind.capitalize()), dict):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is no {kind}")

    async def close(self) -> None:
        await self._api.close()


def _statuses(answer: Mapping[str, Any], listed: str, named: str, doing: str) -> dict[str, str]:
    rows = answer.get(listed)
    if not isinstance(rows, list) or answer.get("IsTruncated"):  # a user has two at most, never a second page
        raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not the whole list")
    found = {row.get(named): row.get("Status") for row in rows}
    if not all(isinstance(key, str) and status in _STATUSES for key, status in found.items()):
        raise Retryable(Reason.NONSENSE, f"{doing}: a key without an id or a status we know")
    return found
