"""Makes the small descriptions in this folder from the whole ones that are published: the operations used, no prose.

python -m tests.containment.published.trim openai WHOLE.json > tests/containment/published/openai.json

WHOLE is what `README.md` in this folder names, as JSON; for google both discovery documents.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

_PROJECT: Final = "/organization/projects/{project_id}"
_KEY: Final = "/v2/projects/{projectsId}/locations/{locationsId}/keys/{keysId}"
_ACCOUNT_KEYS: Final = "/v1/projects/{projectsId}/serviceAccounts/{serviceAccountsId}/keys"
_SECRETS: Final = "/api/v1/namespaces/{namespace}/secrets"
USED: Final[dict[str, tuple[str, ...]]] = {
    "openai": (
        f"get {_PROJECT}", f"delete {_PROJECT}/api_keys/{{api_key_id}}",
        f"get {_PROJECT}/service_accounts/{{service_account_id}}",
        f"delete {_PROJECT}/service_accounts/{{service_account_id}}",
        f"get {_PROJECT}/rate_limits", f"post {_PROJECT}/rate_limits/{{rate_limit_id}}",
        f"get {_PROJECT}/model_permissions", f"post {_PROJECT}/model_permissions",
        f"delete {_PROJECT}/model_permissions", "get /models",
    ),
    "google": (
        f"get {_KEY}", f"patch {_KEY}", f"delete {_KEY}", f"post {_KEY}:undelete", "get /v2/operations/{operationsId}",
        f"get {_ACCOUNT_KEYS}", f"get {_ACCOUNT_KEYS}/{{keysId}}", f"delete {_ACCOUNT_KEYS}/{{keysId}}",
        f"post {_ACCOUNT_KEYS}/{{keysId}}:disable", f"post {_ACCOUNT_KEYS}/{{keysId}}:enable", "get /v1beta/models",
    ),
    "kubernetes": (f"post {_SECRETS}", f"get {_SECRETS}/{{name}}", f"patch {_SECRETS}/{{name}}"),
    "litellm": (
        "post /key/block", "post /key/unblock", "post /key/update", "post /key/delete", "get /key/info",
        "get /v1/models",
    ),
}  # fmt: skip
_PROSE: Final = frozenset(
    {"description", "summary", "title", "tags", "operationId", "security", "servers", "externalDocs", "deprecated"}
)
_EXAMPLE: Final = "x-example"
_OTHER_FORMS: Final = frozenset({"application/yaml", "application/vnd.kubernetes.protobuf"})
_REF: Final = "#/components/schemas/"
_OF_EVERY_METHOD: Final = (
    "alt",
    "callback",
    "fields",
    "key",
    "prettyPrint",
    "quotaUser",
    "access_token",
    "oauth_token",
)


def trimmed(whole: dict[str, Any], used: tuple[str, ...], source: str) -> dict[str, Any]:
    """The operations of `used`, and the schemas they need."""
    paths: dict[str, Any] = {}
    for method, path in (each.split(" ", 1) for each in used):
        item = _inlined(whole["paths"][path], whole)
        paths.setdefault(path, {})[method] = _bare(item[method])
        if item.get("parameters"):
            paths[path]["parameters"] = _bare(item["parameters"])
    schemas: dict[str, Any] = {}
    waiting = set(_refs(paths))
    while waiting:
        name = waiting.pop()
        schemas[name] = _bare(whole["components"]["schemas"][name])
        waiting |= set(_refs(schemas[name])) - schemas.keys()
    return {"openapi": "3.1.0", "info": {"title": source}, "paths": paths, "components": {"schemas": schemas}}


def _inlined(part: Any, whole: dict[str, Any]) -> Any:
    """With bodies and parameters that are described elsewhere; schemas stay where they are."""
    if isinstance(part, list):
        return [_inlined(each, whole) for each in part]
    if not isinstance(part, dict):
        return part
    ref = part.get("$ref", "")
    if ref and not ref.startswith(_REF):
        kind, name = ref.split("/")[-2:]
        return _inlined(whole["components"][kind][name], whole)
    return {name: _inlined(each, whole) for name, each in part.items() if name not in _OTHER_FORMS}


def from_discovery(*documents: dict[str, Any]) -> dict[str, Any]:
    """Google's own form of description, as OpenAPI."""
    whole: dict[str, Any] = {"paths": {}, "components": {"schemas": {}}}
    for document in documents:
        whole["components"]["schemas"] |= _google_schema(document["schemas"])
        for method in _methods(document):
            path = "/" + method["flatPath"]
            answer = {"200": {"content": {"application/json": {"schema": _google_schema(method["response"])}}}}
            asked = method.get("request")
            body = {"content": {"application/json": {"schema": _google_schema(asked)}}} if asked else None
            query = [
                {"name": name, "in": "query", "schema": _google_schema(each), "required": each.get("required", False)}
                for name, each in {**_common(document), **method.get("parameters", {})}.items()
                if each["location"] == "query"
            ]
            whole["paths"].setdefault(path, {})[method["httpMethod"].lower()] = {
                "parameters": query, "responses": answer, **({"requestBody": body} if body else {})
            }  # fmt: skip
    return whole


def _common(document: dict[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in document["parameters"].items() if name in _OF_EVERY_METHOD}


def _methods(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from part.get("methods", {}).values()
    for inner in part.get("resources", {}).values():
        yield from _methods(inner)


def _google_schema(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return {"$ref": _REF + part["$ref"]}
    kept = {name: _google_schema(each) for name, each in part.items() if name not in _GOOGLES_OWN}
    return {name: each for name, each in kept.items() if (name, each) != ("type", "any")}


_GOOGLES_OWN: Final = frozenset({"id", "readOnly", "required", "location", "enumDescriptions", "pattern", "format"})


def _bare(part: Any, *, naming: bool = False) -> Any:
    """Without prose. `naming`: the names in it are the provider's, whatever they are."""
    if isinstance(part, list):
        return [_bare(each) for each in part]
    if not isinstance(part, dict):
        return part
    kept = {
        name: _bare(each, naming=name in {"properties", "responses", "content"})
        for name, each in part.items()
        if naming or name == _EXAMPLE or not (name in _PROSE or name.startswith("x-"))
    }
    told = part.get("x-oaiMeta", {}).get("examples", {}) if isinstance(part.get("x-oaiMeta"), dict) else {}
    if not naming and isinstance(told, dict) and told.get("response"):
        kept[_EXAMPLE] = told["response"]
    return kept


def _refs(part: object) -> Iterator[str]:
    for found in re.finditer(rf'"\$ref": "{_REF}([^"]+)"', json.dumps(part)):
        yield found[1]


def main() -> None:
    name, *files = sys.argv[1:]
    documents = [json.loads(Path(file).read_text(encoding="utf-8")) for file in files]
    whole = from_discovery(*documents) if name == "google" else documents[0]
    titles = (
        ", ".join(f"{each['title']} {each['version']} {each['revision']}" for each in documents)
        if name == "google"
        else f"{whole['info']['title']} {whole['info']['version']}"
    )
    json.dump(trimmed(whole, USED[name], titles), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
