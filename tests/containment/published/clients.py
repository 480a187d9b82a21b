"""Descriptions of what only an official client describes: its models, which the provider generates from its own API.

What a client sends it makes by itself; so here it is the answers that are held to the models, and the fields of a body.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import openrouter.operations as openrouter
from anthropic.pagination import AsyncPage
from anthropic.types import ModelInfo, ModelListParams
from anthropic.types.organization import APIKey, api_key_update_params
from azure.mgmt.cognitiveservices import models as azure
from openai.types.admin.organization.projects import (
    ProjectAPIKey,
    ProjectSpendLimit,
    ProjectSpendLimitDeleted,
    spend_limit_update_params,
)
from pydantic import TypeAdapter

from tests.containment.published.description import Description

_REF: Final = "#/components/schemas/"
_AZURE_TYPES: Final[Mapping[str, Mapping[str, Any]]] = {
    "str": {"type": "string"}, "bool": {"type": "boolean"}, "int": {"type": "integer"}, "float": {"type": "number"},
    "iso-8601": {"type": "string"}, "object": {},
}  # fmt: skip


class Call(NamedTuple):
    """One call of a client. Types are pydantic's: models or typed dicts."""

    method: str
    path: str
    answer: Any
    body: Any = None
    query: tuple[str, ...] = ()


@functools.cache
def anthropic() -> Description:
    """Anthropic's Admin API for keys, and the list of models that a key may see."""
    path = "/v1/organizations/api_keys/{api_key_id}"
    return _described(
        Call("get", path, APIKey),
        Call("post", path, APIKey, api_key_update_params.APIKeyUpdateParams),
        Call("get", "/v1/models", AsyncPage[ModelInfo], query=tuple(ModelListParams.__annotations__)),
    )


@functools.cache
def openai_newer() -> Description:
    """What of OpenAI's Admin API is younger than its OpenAPI description here: spend limits, and more about a key."""
    project, asked = "/v1/organization/projects/{project_id}", spend_limit_update_params.SpendLimitUpdateParams
    path = f"{project}/spend_limit"
    return _described(
        Call("get", f"{project}/api_keys/{{api_key_id}}", ProjectAPIKey),
        Call("get", path, ProjectSpendLimit),
        Call("post", path, ProjectSpendLimit, asked),
        Call("delete", path, ProjectSpendLimitDeleted),
    )


@functools.cache
def openrouter_keys() -> Description:
    """OpenRouter's API for keys."""
    path = "/api/v1/keys/{hash}"
    return _described(
        Call("get", path, openrouter.GetKeyResponse),
        Call("patch", path, openrouter.UpdateKeysResponse, openrouter.UpdateKeysRequestBody),
        Call("delete", path, openrouter.DeleteKeysResponse),
        Call("get", "/api/v1/key", openrouter.GetCurrentKeyResponse),
    )


@functools.cache
def azure_accounts() -> Description:
    """Accounts of Azure AI services in Resource Manager."""
    schemas: dict[str, Any] = {}
    account, keys = _azure(azure.Account, schemas), _azure(azure.ApiKeys, schemas)
    update = _azure(azure.Account, schemas, asked=True)
    regenerate = _azure(azure.RegenerateKeyParameters, schemas, asked=True)
    path = (
        "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.CognitiveServices/accounts/{a}"
    )  # fmt: skip
    version = {"name": "api-version", "in": "query", "required": True, "schema": {"type": "string"}}
    paths = {
        path: {
            "parameters": [version],
            "get": {"responses": {"200": _content(account)}},
            "patch": {"requestBody": _content(update), "responses": dict.fromkeys(("200", "202"), _content(account))},
        },
        f"{path}/listKeys": {"post": {"parameters": [version], "responses": {"200": _content(keys)}}},
        f"{path}/regenerateKey": {
            "post": {
                "parameters": [version], "requestBody": _content(regenerate), "responses": {"200": _content(keys)}
            }
        },
    }  # fmt: skip
    return Description({"paths": paths, "components": {"schemas": schemas}})


def _described(*calls: Call) -> Description:
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for call in calls:
        query = [{"name": name, "in": "query", "schema": {}} for name in call.query]
        operation: dict[str, Any] = {
            "parameters": query,
            "responses": {"200": _content(_pydantic(call.answer, schemas))},
        }
        if call.body is not None:
            operation["requestBody"] = _content(_pydantic(call.body, schemas))
        paths.setdefault(call.path, {})[call.method] = operation
    return Description({"paths": paths, "components": {"schemas": schemas}})


def _content(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _pydantic(model: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    made = TypeAdapter[Any](model).json_schema(ref_template=_REF + "{model}")
    schemas |= made.pop("$defs", {})
    return made


def _azure(model: Any, schemas: dict[str, Any], *, asked: bool = False) -> dict[str, Any]:
    """From the table that the client reads and writes JSON by. `asked`: without what Azure alone may set."""
    name = model.__name__ + ("Asked" if asked else "")
    if name not in schemas:
        properties: dict[str, Any] = {}
        schemas[name] = {"type": "object", "properties": properties}
        rules = getattr(model, "_validation", {})
        for field, how in model._attribute_map.items():
            if not (asked and rules.get(field, {}).get("readonly")):
                properties[how["key"].replace("\\.", ".")] = _azure_type(how["type"], schemas, asked=asked)
    return {"$ref": _REF + name}


def _azure_type(kind: str, schemas: dict[str, Any], *, asked: bool) -> dict[str, Any]:
    if kind.startswith("["):
        return {"type": "array", "items": _azure_type(kind[1:-1], schemas, asked=asked)}
    if kind.startswith("{"):
        return {"type": "object", "additionalProperties": _azure_type(kind[1:-1], schemas, asked=asked)}
    if kind in _AZURE_TYPES:
        return dict(_AZURE_TYPES[kind])
    return _azure(getattr(azure, kind), schemas, asked=asked)
