"""One address that is told, signed as Standard Webhooks 1.0.0 says: what every webhook of containment shares."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pydantic import SecretStr
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from containment.providers.errors import Reason, Retryable
from containment.providers.http import JsonApi


class SignedHook:
    """Every message is one POST to the same address.

    Args:
        secret: The signing secret, `whsec_...`; several, separated by spaces, sign all: to change it without a gap.
        base_url: Where it listens.
        timeout_s: For one call.
        ca_file: Certificates to trust instead of the public ones.
        now: The wall clock, for the signature.

    Raises:
        ValueError: the secret cannot sign, or the certificates cannot be read.
    """

    def __init__(
        self,
        secret: SecretStr,
        *,
        base_url: str,
        timeout_s: float,
        ca_file: str = "",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),  # noqa: TID251 - the edge
    ) -> None:
        self._signers = _signers(secret)
        self._url = base_url
        self._now = now
        headers = {"user-agent": "keyfuse"}
        self._api = JsonApi("", secret, timeout_s=timeout_s, headers=headers, bearer=False, ca_file=ca_file)

    async def ask(self, message: bytes, doing: str, *, any_yes: bool = False) -> dict[str, Any]:
        """The answer. Each try is a message of its own: what is asked for is a state, and asking twice does no harm.

        `any_yes`: a 2xx without a JSON object is an answer too, an empty one.
        """
        message_id, now = f"msg_{uuid4().hex}", self._now()
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(message_id, now, message.decode()) for signer in self._signers),
        }
        try:
            return await self._api.call("POST", self._url, doing, body=message, headers=headers)
        except Retryable as error:
            if any_yes and error.reason is Reason.NONSENSE:
                return {}
            raise

    async def close(self) -> None:
        await self._api.close()


def _signers(secret: SecretStr) -> tuple[Webhook, ...]:
    try:
        signers = tuple(Webhook(part) for part in secret.get_secret_value().split())
    except (ValueError, EmptyWebhookSecretError):
        signers = ()
    if not signers:
        raise ValueError("its secret cannot sign: `whsec_` and 24 to 64 bytes in base64")
    return signers
