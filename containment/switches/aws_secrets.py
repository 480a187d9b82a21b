"""AWS Secrets Manager: the label `AWSCURRENT` moves to the version that carries the backup's label.

Only labels are read and moved, never a value. AWS refuses the move when `AWSCURRENT` is no longer where it was seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from containment.providers.base import Effect
from containment.providers.errors import Reason, Refused, Retryable
from containment.switches.base import Turn
from schemas.config.wiring import SwitchConfig

if TYPE_CHECKING:
    from types_boto3_secretsmanager import SecretsManagerClient

    from containment.providers.aws_api import AwsApi

KIND: Final = "aws_secrets"
CURRENT: Final = "AWSCURRENT"  # the label of the version that is read by whoever names none


def from_config(name: str, config: SwitchConfig, secret: SecretStr, *, timeout_s: float) -> AwsSecretsSwitch:
    """The switch of `switches.<name>`. ValueError when boto3 is not installed or the secret has another form."""
    return AwsSecretsSwitch(name, secret, base_url=config.base_url, region=config.region, timeout_s=timeout_s)


class AwsSecretsSwitch:
    """Secrets of one account and region.

    Args:
        name: As `keys.yaml` calls it.
        secret: `ACCESS_KEY_ID:SECRET`, or empty for the machine's own role.
        base_url: Other address than AWS's own.
        region: Empty for the machine's own.
        timeout_s: For one call.
    """

    def __init__(
        self, name: str, secret: SecretStr, *, base_url: str = "", region: str = "", timeout_s: float = 10
    ) -> None:
        try:
            from containment.providers.aws_api import AwsApi  # noqa: PLC0415 - settings are checked without boto3
        except ImportError as exc:
            raise ValueError("the AWS client is not installed: pip install keyfuse[aws]") from exc
        self.name = name
        self._api: AwsApi[SecretsManagerClient] = AwsApi(
            secret, "secretsmanager", base_url=base_url, timeout_s=timeout_s, region=region
        )

    async def snapshot(self, turn: Turn) -> dict[str, str]:
        current, _ = await self._versions(turn)
        return {"version": current}

    async def apply(self, turn: Turn) -> str:
        current, standby = await self._versions(turn)
        if current == standby:
            return f"already in use: {CURRENT} is at {standby}"
        return await self._move(turn, current, standby)

    async def in_effect(self, turn: Turn) -> Effect:
        current, standby = await self._versions(turn)
        return Effect("yes" if current == standby else "no", f"{CURRENT} of {turn.secret} is at {current}")

    async def undo(self, turn: Turn, pre_state: Mapping[str, str]) -> str:
        current, _ = await self._versions(turn)
        before = pre_state.get("version", "")
        return f"already at {before}" if current == before else await self._move(turn, current, before)

    async def close(self) -> None:
        await self._api.close()

    async def _versions(self, turn: Turn) -> tuple[str, str]:
        """The ids of the version in use and of the one with the backup's label."""
        doing = f"read the labels of {turn.secret}"
        labels = (await self._api.call(doing, lambda aws: aws.describe_secret(SecretId=turn.secret))).get(
            "VersionIdsToStages"
        )
        current, standby = _with(labels, CURRENT), _with(labels, turn.standby)
        if not current:
            raise Retryable(Reason.NONSENSE, f"{doing}: no version is {CURRENT}")
        if not standby:
            raise Refused(Reason.UNKNOWN_KEY, f"{doing}: no version has the label {turn.standby}")
        return current, standby

    async def _move(self, turn: Turn, here: str, there: str) -> str:
        def ask(aws: SecretsManagerClient) -> None:
            aws.update_secret_version_stage(
                SecretId=turn.secret, VersionStage=CURRENT, RemoveFromVersionId=here, MoveToVersionId=there
            )

        doing = f"move {CURRENT} of {turn.secret} to {there}"
        try:
            await self._api.call(doing, ask)
        except Refused as refused:
            if refused.reason is Reason.REJECTED and (await self._versions(turn))[0] != here:
                words = f"{doing}: somebody else moved it at the same moment"
                raise Retryable(Reason.UNAVAILABLE, words) from None
            raise
        return f"moved {CURRENT} from {here} to {there}"


def _with(labels: Any, label: str) -> str:  # noqa: ANN401 - whatever was answered
    found = [version for version, stages in labels.items() if label in stages] if isinstance(labels, dict) else []
    return str(found[0]) if found else ""
