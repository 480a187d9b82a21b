"""The configuration as others may see it: secrets are not in its files, and what looks like one is hidden. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from schemas.redact import redact
from service.config_tree import FILES, Folder

_HIDDEN: Final = "[redacted]"


def shown(folder: Folder) -> dict[str, Any]:
    """All files of the folder, by name."""
    told = {file.name: getattr(folder, file.part).model_dump(mode="json") for file in FILES}
    cleaned: dict[str, Any] = _without_secrets(told)
    return cleaned


def of_key(files: Mapping[str, Any], key_id: str) -> dict[str, Any]:
    """The same with no other key than this one in keys.yaml."""
    keys = files["keys.yaml"]
    return {**files, "keys.yaml": {**keys, "keys": [key for key in keys["keys"] if key["key_id"] == key_id]}}


def _without_secrets(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Texts through the redactor one by one; what a channel's address says after the host may be a secret as well."""
    match value:
        case str():
            return redact(value)
        case Mapping():
            return {
                name: _address(inner) if name == "target" and isinstance(inner, str) else _without_secrets(inner)
                for name, inner in value.items()
            }
        case list() | tuple():
            return [_without_secrets(inner) for inner in value]
    return value


def _address(text: str) -> str:
    """A webhook's path is often all that keeps others from using it.

    >>> _address("https://hooks.example.com/T1/abc?x=1"), _address("#oncall")
    ('https://hooks.example.com/[redacted]', '#oncall')
    """
    scheme, there, rest = text.partition("://")
    host, slash, _ = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}/{_HIDDEN}" if there and slash else redact(text)
