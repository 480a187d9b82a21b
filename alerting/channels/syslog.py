"""Syslog for the SIEM: RFC 5424 messages with OCSF findings, over TLS (RFC 5425), TCP (RFC 6587) or UDP (RFC 5426).

Syslog has no answers. Over TLS and TCP we end the connection after each message and wait for the other side's end: a
collector that was gone, or broke off, is then noticed. Over UDP nothing is.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Final

from pydantic import SecretStr

from alerting.channels.address import is_loopback
from alerting.channels.base import DeliveryState, shows
from alerting.channels.errors import ChannelError, Reason, Refused, Retryable
from alerting.channels.tls import context
from alerting.ocsf import detection_finding
from alerting.runbook import RUNBOOKS
from schemas.config.routes import ChannelConfig, SyslogConfig
from schemas.records import Incident, Severity, rfc3339

__all__ = ["KIND", "SyslogChannel", "build"]

KIND: Final = "syslog"
_LEVELS: Final[dict[Severity, int]] = {"info": 6, "warning": 4, "critical": 2}
_DATAGRAM_MAX: Final = 65_000  # bytes; an IPv4 datagram holds a little more
_GOODBYE_S: Final = 1.0  # a collector that does not end the connection has the message all the same


class SyslogChannel:
    """One collector."""

    kind = KIND

    def __init__(self, name: str, config: ChannelConfig, *, runbooks: str = RUNBOOKS) -> None:
        self.name = name
        self._timeout_s = config.timeout_s
        self._to = _checked(name, config)
        self._runbooks = runbooks
        self._tls = context(name, self._to.ca_file) if self._to.transport == "tls" else None

    def __repr__(self) -> str:
        return f"SyslogChannel({self.name!r}, host={self._to.host!r})"

    async def deliver(self, incident: Incident, previous: DeliveryState | None) -> DeliveryState:
        """Send this version."""
        line = syslog_message(incident, self._to, self._runbooks)
        verdict: ChannelError | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                await (self._datagram(line) if self._to.transport == "udp" else self._stream(line))
        except TimeoutError:
            words = f"{self._to.host} did not take it within {self._timeout_s:g} s"
            verdict = Retryable(self.name, Reason.TIMEOUT, words)
        except ssl.SSLError as error:
            words = f"no secure connection to {self._to.host}: {type(error).__name__}; check ca_file and transport"
            verdict = Retryable(self.name, Reason.CONNECTION, words)
        except OSError as error:
            words = f"{self._to.host} cannot be reached: {type(error).__name__}"
            verdict = Retryable(self.name, Reason.CONNECTION, words)
        if verdict is not None:
            raise verdict
        return shows(self, incident)

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _stream(self, line: bytes) -> None:
        """With the length in front, so that no byte of a message can end it early."""
        reader, writer = await asyncio.open_connection(self._to.host, self._to.port, ssl=self._tls)
        try:
            writer.write(b"%d %b" % (len(line), line))
            await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
                await _end_of(reader)
        finally:
            writer.close()
        await _closed(writer)

    async def _datagram(self, line: bytes) -> None:
        if len(line) > _DATAGRAM_MAX:
            raise Refused(self.name, Reason.REJECTED, f"{len(line)} bytes are too many for udp: use tls or tcp")
        to = (self._to.host, self._to.port)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=to)
        transport.sendto(line)
        transport.close()


def build(name: str, config: ChannelConfig, secret: SecretStr, *, runbooks: str = RUNBOOKS) -> SyslogChannel:
    """The channel of one entry in `routes.yaml`. Refused when it is misconfigured."""
    if secret.get_secret_value():
        raise Refused(name, Reason.MISCONFIGURED, "syslog knows no secret: remove secret_env and secret_file")
    return SyslogChannel(name, config, runbooks=runbooks)


def syslog_message(incident: Incident, config: SyslogConfig, runbooks: str = RUNBOOKS) -> bytes:
    """One RFC 5424 message. Its JSON is ASCII on one line, so nothing foreign can begin a message of its own."""
    priority = config.facility * 8 + _LEVELS[incident.severity]
    head = f"<{priority}>1 {rfc3339(incident.updated_at_ms)} {config.hostname} keyfuse - incident -"
    finding = json.dumps(detection_finding(incident, runbooks), separators=(",", ":"), ensure_ascii=True)
    return f"{head} {finding}".encode("ascii")


def _checked(name: str, config: ChannelConfig) -> SyslogConfig:
    to = config.syslog
    if not to.host:
        raise Refused(name, Reason.MISCONFIGURED, "syslog needs host: the collector's name")
    if to.transport != "tls" and not (config.internal or is_loopback(to.host)):
        words = f"syslog in the clear to {to.host}: use tls, or say `internal: true`"
        raise Refused(name, Reason.MISCONFIGURED, words)
    return to


async def _end_of(reader: asyncio.StreamReader) -> None:
    try:
        async with asyncio.timeout(_GOODBYE_S):
            await reader.read()
    except TimeoutError:
        return


async def _closed(writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(_GOODBYE_S):
            await writer.wait_closed()
    except TimeoutError:
        writer.transport.abort()
