"""Kong's Admin API, as its OpenAPI descriptions tell it: paths, methods, names and types of what Keyfuse uses.

Written here after `api-specs/gateway/admin-oss/3.9` and `api-specs/plugins/key-auth` of Kong's documentation
(github.com/Kong/developer.konghq.com, Apache 2.0), which no package carries. A plugin's configuration is left open.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from tests.containment.published.description import Description

_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "integer"}
_OWNER: Final = {"type": ["object", "null"], "properties": {"id": _TEXT}}
_TAGS: Final = {"type": ["array", "null"], "items": _TEXT}
_SCHEMAS: Final[dict[str, Any]] = {
    "KeyAuth": {
        "type": "object",
        "properties": {
            "consumer": _OWNER, "created_at": _TIME, "id": _TEXT, "key": _TEXT, "tags": _TAGS,
            "ttl": {"type": ["integer", "null"]},
        },
    },
    "Plugin": {
        "type": "object",
        "properties": {
            "config": {"type": "object"}, "consumer": _OWNER, "consumer_group": _OWNER, "created_at": _TIME,
            "enabled": {"type": "boolean"}, "id": _TEXT, "instance_name": {"type": ["string", "null"]}, "name": _TEXT,
            "ordering": {"type": ["object", "null"]}, "protocols": {"type": "array", "items": _TEXT}, "route": _OWNER,
            "service": _OWNER, "tags": _TAGS, "updated_at": _TIME,
        },
    },
}  # fmt: skip
_PAGE: Final = [
    {"name": "size", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 1000}},
    {"name": "offset", "in": "query", "schema": _TEXT},
    {"name": "tags", "in": "query", "schema": _TEXT},
]


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _listed(name: str) -> dict[str, Any]:
    page = {
        "data": {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}},
        "next": {"type": ["string", "null"]}, "offset": _TEXT,
    }  # fmt: skip
    return {"parameters": _PAGE, "responses": {"200": _content({"type": "object", "properties": page})}}


@functools.cache
def kong() -> Description:
    """Consumers, their credentials and their plugins."""
    key, plugin = ({"$ref": f"#/components/schemas/{name}"} for name in _SCHEMAS)
    consumer = "/consumers/{consumer_username_or_id}"
    gone: dict[str, Any] = {"204": {}}
    paths = {
        f"{consumer}/key-auth": {"get": _listed("KeyAuth")},
        f"{consumer}/key-auth/{{key}}": {
            "get": {"responses": {"200": _content(key), "404": {}}}, "delete": {"responses": gone}
        },
        f"{consumer}/plugins": {
            "get": _listed("Plugin"),
            "post": {"requestBody": _content(plugin), "responses": {"201": _content(plugin)}},
        },
        f"{consumer}/plugins/{{plugin_id}}": {
            "patch": {"requestBody": _content(plugin), "responses": {"200": _content(plugin)}},
            "delete": {"responses": gone},
        },
    }  # fmt: skip
    return Description({"paths": paths, "components": {"schemas": _SCHEMAS}})
