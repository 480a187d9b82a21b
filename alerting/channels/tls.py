"""How channels check whom they talk to over TLS."""

from __future__ import annotations

import ssl

from alerting.channels.errors import Reason, Refused


def context(channel: str, ca_file: str) -> ssl.SSLContext:
    """Certificates and names are checked, always. Refused when `ca_file` cannot be used."""
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError):
        raise Refused(channel, Reason.MISCONFIGURED, "ca_file cannot be read, or holds no certificates") from None
