"""Whom an install tells, built from its settings."""

from __future__ import annotations

from pydantic import SecretStr

from alerting.channels.base import Channel
from alerting.channels.build import build_channel
from service.install import Install
from service.secrets import resolve


def channels_of(install: Install) -> dict[str, Channel]:
    """Built from routes.yaml; a missing secret is a clear error."""
    built = {}
    for name, config in install.folder.routes.channels.items():
        what = f"channel {name}"
        secret = resolve(config.secret_env, config.secret_file, environ=install.environ, what=what)
        runbooks = install.folder.routes.runbook_url
        built[name] = build_channel(name, config, secret or SecretStr(""), runbooks=runbooks)
    return built
