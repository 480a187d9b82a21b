"""What every channel promises."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from pydantic import Field

from alerting.asking import Shown
from schemas.question import Question
from schemas.records import Incident, IncidentState, Record


class DeliveryState(Record):
    """What a channel shows of one incident. The caller stores it, so that the next version edits instead of repeats."""

    channel: str
    incident_id: str
    seq: int  # the last version the channel has
    state: IncidentState  # of that version
    ids: dict[str, str] = Field(default_factory=dict)  # the channel's own: a message's id, a thread


class Channel(Protocol):
    """One place to tell. Its repr and its errors never show a secret."""

    @property
    def name(self) -> str:
        """As in `routes.yaml`."""
        ...

    @property
    def kind(self) -> str:
        """slack, pagerduty, webhook, ..."""
        ...

    async def deliver(self, incident: Incident, previous: DeliveryState | None) -> DeliveryState:
        """Show this version of the incident: one try, no pauses.

        Args:
            incident: The version to show.
            previous: What an earlier delivery of the same incident returned; None for the first.

        Raises:
            Retryable: It may work later.
            Refused: It will not work until somebody changes something.
        """
        ...

    async def close(self) -> None:
        """Give back connections. The channel must not be used afterwards."""
        ...


@runtime_checkable
class Illustrated(Channel, Protocol):
    """A channel that can put a picture beside the message that it shows."""

    @property
    def pictures(self) -> bool:
        """False: its configuration wants none."""
        ...

    async def illustrate(self, incident: Incident, shown: DeliveryState, png: bytes) -> None:
        """Add a picture to the incident's message: one try, no pauses.

        Args:
            incident: What the picture is of.
            shown: What the message's delivery returned.
            png: The picture.

        Raises:
            Retryable: It may work later. A try whose answer was lost may leave the picture twice.
            Refused: It will not work until somebody changes something.
        """
        ...


@runtime_checkable
class Asking(Channel, Protocol):
    """A channel that can ask people something."""

    @property
    def hears(self) -> bool:
        """Whether what is pressed comes back."""
        ...

    async def ask(self, question: Question, previous: Shown | None, *, member: str = "") -> Shown:
        """Show this version of the question: one try, no pauses.

        Args:
            question: The version to show.
            previous: What an earlier call for the same question and member returned; None for the first.
            member: Whom to write to directly, by the channel's own id; empty: where the channel writes.

        Raises:
            Retryable: It may work later.
            Refused: It will not work until somebody changes something.
        """
        ...


def shows(channel: Channel, incident: Incident, ids: dict[str, str] | None = None) -> DeliveryState:
    """The state after a successful delivery."""
    return DeliveryState(
        channel=channel.name, incident_id=incident.incident_id, seq=incident.seq, state=incident.state, ids=ids or {}
    )
