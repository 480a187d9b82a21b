"""Mail: a thread for each incident, a mail for each version, the picture in a mail of its own.

`smtplib` blocks, so it works in a thread. A connection lasts for one mail: they are rare, and relays drop idle ones.
A mail's Message-ID is the same for each try, so that a relay or a reader can drop what came twice.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

import structlog
from pydantic import SecretStr

from alerting.budgets import budget_title
from alerting.channels.address import is_loopback
from alerting.channels.base import DeliveryState, shows
from alerting.channels.errors import ChannelError, Reason, Refused, Retryable
from alerting.channels.tls import context
from alerting.message import plain
from alerting.picture import caption
from alerting.runbook import RUNBOOKS
from alerting.words import clean
from schemas.config.routes import ChannelConfig, EmailConfig
from schemas.records import Incident

__all__ = ["KIND", "EmailChannel", "build"]

KIND: Final = "email"
_GRACE_S: Final = 1.0  # the library's own timeout comes first; this one is for what it does not cover
_UNAUTHORIZED: Final = frozenset({530, 534, 535, 538})
log = structlog.get_logger()


class EmailChannel:
    """The addresses of one entry in `routes.yaml`."""

    kind = KIND

    def __init__(self, name: str, config: ChannelConfig, secret: SecretStr, *, runbooks: str = RUNBOOKS) -> None:
        self.name = name
        self._config = config
        self._mail = _checked(name, config, secret)
        self._secret = secret
        self._runbooks = runbooks
        self._tls = None if self._mail.security == "none" else context(name, self._mail.ca_file)

    def __repr__(self) -> str:
        return f"EmailChannel({self.name!r}, host={self._mail.host!r})"

    @property
    def pictures(self) -> bool:
        """Whether `routes.yaml` wants them."""
        return self._config.pictures

    async def deliver(self, incident: Incident, previous: DeliveryState | None) -> DeliveryState:
        """Send this version, as an answer to the first mail that was sent of the incident."""
        root = previous.ids.get("root") if previous else None
        mail = self._letter(incident, f"{incident.incident_id}.{incident.seq}", root)
        mail.set_content(plain(incident, self._runbooks))
        await self._send(mail)
        return shows(self, incident, {"root": root or str(mail["Message-ID"])})

    async def illustrate(self, incident: Incident, shown: DeliveryState, png: bytes) -> None:
        """Send the picture as a further mail of the thread."""
        mail = self._letter(incident, f"{incident.incident_id}.{incident.seq}.picture", shown.ids["root"])
        mail.set_content(caption(incident))
        mail.add_attachment(png, maintype="image", subtype="png", filename=f"{incident.incident_id}.png")
        await self._send(mail)

    async def close(self) -> None:
        """Nothing is kept open."""

    def _letter(self, incident: Incident, name: str, root: str | None) -> EmailMessage:
        facts, mail = incident.facts, EmailMessage()
        whose = f"{clean(facts.team, 40)}/{clean(facts.app, 40)} ({clean(facts.env, 20)})"
        # The same for all mails of an incident, because some readers build threads by it: no state, no severity.
        key = f"{clean(facts.provider, 20)} key {clean(incident.key_id, 80)} of {whose}"
        subject = f"Keyfuse: {budget_title(incident.budget) if incident.budget else key}"
        mail["Subject"] = f"Re: {subject}" if root else subject
        mail["From"] = self._mail.sender
        mail["To"] = ", ".join(self._mail.to)
        mail["Date"] = format_datetime(datetime.fromtimestamp(incident.updated_at_ms / 1000, UTC))
        mail["Message-ID"] = f"<{name}@{self._mail.sender.rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"  # no out-of-office answers
        if root:
            mail["In-Reply-To"] = mail["References"] = root
        if incident.severity == "critical":
            mail["Importance"] = "high"
        return mail

    async def _send(self, mail: EmailMessage) -> None:
        verdict: ChannelError | None = None
        try:
            async with asyncio.timeout(self._config.timeout_s + _GRACE_S):
                refused = await asyncio.to_thread(self._speak, mail)
        except TimeoutError:
            verdict = Retryable(self.name, Reason.TIMEOUT, f"no answer within {self._config.timeout_s:g} s")
        except ssl.SSLError as error:
            words = f"no secure connection to {self._mail.host}: {type(error).__name__}; check ca_file and security"
            verdict = Retryable(self.name, Reason.CONNECTION, words)
        except smtplib.SMTPException as error:
            verdict = _verdict(self.name, error)
        except OSError as error:
            words = f"{self._mail.host} cannot be reached: {type(error).__name__}"
            verdict = Retryable(self.name, Reason.CONNECTION, words)
        if verdict is not None:
            raise verdict
        if refused:  # others have it: sent again it would come to them twice
            log.warning("mail refused for some", channel=self.name, refused=refused, of=len(self._mail.to))

    def _speak(self, mail: EmailMessage) -> int:
        """One conversation; returns how many addresses the relay refused while it took others."""
        with _connected(self._mail, self._config.timeout_s, self._tls) as relay:
            if self._mail.security == "starttls":
                relay.starttls(context=self._tls)
            if self._mail.username:
                relay.login(self._mail.username, self._secret.get_secret_value())
            return len(relay.send_message(mail, from_addr=self._mail.sender, to_addrs=list(self._mail.to)))


def build(name: str, config: ChannelConfig, secret: SecretStr, *, runbooks: str = RUNBOOKS) -> EmailChannel:
    """The channel of one entry in `routes.yaml`. Refused when it is misconfigured."""
    return EmailChannel(name, config, secret, runbooks=runbooks)


def _checked(name: str, config: ChannelConfig, secret: SecretStr) -> EmailConfig:
    mail = config.email
    addresses = (mail.sender, *mail.to)
    if not mail.host or not mail.to or not all(_is_address(each) for each in addresses):
        raise Refused(name, Reason.MISCONFIGURED, "email needs host, sender and to; addresses look like me@example.com")
    if mail.security == "none" and not (config.internal or is_loopback(mail.host)):
        words = f"mail in the clear to {mail.host}: use starttls or ssl, or say `internal: true`"
        raise Refused(name, Reason.MISCONFIGURED, words)
    if mail.username and not secret.get_secret_value():
        raise Refused(name, Reason.MISCONFIGURED, "the password of email.username is needed: secret_env or secret_file")
    return mail


def _is_address(text: str) -> bool:
    """Enough that no header and no second address can hide in it."""
    local, at, domain = text.rpartition("@")
    return bool(local and at and domain) and text.isprintable() and not set(text) & set(' ,;<>()"\\')


def _connected(mail: EmailConfig, timeout_s: float, tls: ssl.SSLContext | None) -> smtplib.SMTP:
    if mail.security == "ssl":
        return smtplib.SMTP_SSL(mail.host, mail.port, timeout=timeout_s, context=tls)
    return smtplib.SMTP(mail.host, mail.port, timeout=timeout_s)


def _verdict(name: str, error: smtplib.SMTPException) -> ChannelError:
    """By code alone: the relay's words may quote anything."""
    if isinstance(error, smtplib.SMTPNotSupportedError):
        words = "the relay offers no STARTTLS or no sign-in; nothing was sent in the clear"
        return Refused(name, Reason.MISCONFIGURED, words)
    if isinstance(error, smtplib.SMTPServerDisconnected):
        # The library says it like this also when no answer comes in time.
        late = isinstance(error.__context__, TimeoutError)
        return Retryable(name, Reason.TIMEOUT if late else Reason.CONNECTION, "the relay hung up or did not answer")
    codes = [error.smtp_code] if isinstance(error, smtplib.SMTPResponseException) else []
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
    return _by_code(name, min(codes, default=0))  # where one address may work later, trying again is right


def _by_code(name: str, code: int) -> ChannelError:
    if code in _UNAUTHORIZED:
        return Refused(name, Reason.UNAUTHORIZED, f"the relay answered {code}: check username and password")
    if 400 <= code < 500:
        return Retryable(name, Reason.SERVER_ERROR, f"the relay answered {code}")
    if 500 <= code < 600:
        return Refused(name, Reason.REJECTED, f"the relay answered {code}: check sender, to and what it may relay")
    return Retryable(name, Reason.BAD_ANSWER, "the answer is not a mail relay's")
