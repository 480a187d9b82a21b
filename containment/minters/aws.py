"""AWS: an access key of an IAM user (`place`). It has no name of its own, and a user has two at most.

The secret is `ACCESS_KEY_ID:SECRET`. Neither an amount nor an end is held by AWS: the gate and a rotation see to that.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from containment.minters.base import Made, Wanted
from containment.providers.aws_api import AwsApi
from containment.providers.errors import Reason, Refused, Retryable

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient

_USER: Final = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)


class AwsMinter:
    """IAM; `secret` is `ACCESS_KEY_ID:SECRET`, or empty for the machine's own role. ValueError for another form."""

    def __init__(self, secret: SecretStr, *, base_url: str = "", timeout_s: float = 10) -> None:
        self._api: AwsApi[IAMClient] = AwsApi(secret, "iam", base_url=base_url, timeout_s=timeout_s)

    async def mint(self, wanted: Wanted) -> Made:
        if not _USER.fullmatch(wanted.place):
            raise Refused(Reason.BAD_REF, f"{wanted.place[:60] or 'nothing'} is no IAM user")
        doing = f"make an access key of {wanted.place}"
        answer: Any = await self._api.call(doing, lambda iam: iam.create_access_key(UserName=wanted.place))
        key = answer.get("AccessKey") or {}
        public, secret = key.get("AccessKeyId"), key.get("SecretAccessKey")
        if not public or not secret:
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer has no key")
        return Made(SecretStr(f"{public}:{secret}"), f"iam/{wanted.place}/{public}", SecretStr(public))

    async def discard(self, wanted: Wanted) -> str:
        # Which of a user's keys it was nobody can tell, and a wrong guess would cut a healthy one.
        words = (
            f"an access key of {wanted.place} may have been made that nobody holds: delete it by hand, and ask again"
        )
        raise Refused(Reason.NOT_SUPPORTED, words)

    async def close(self) -> None:
        await self._api.close()
