"""OpenAPI 3.1 out of the models that requests are checked against: `/openapi.json`.

An operation that `app.py` routes and this table leaves out, or the other way round, fails a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import metadata
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.disclosure import models
from gateway.disclosure.operations import OPERATIONS, Operation
from gateway.disclosure.problems import MEDIA_TYPE, Kind
from policy.geography import RegionCode

_REF: Final = "#/components/schemas/{model}"
_ANYWHERE: Final = (Kind.INTERNAL, Kind.UNAVAILABLE)
_ATTEMPT: Final = (
    Kind.UNAUTHENTICATED,
    Kind.RATE_LIMITED,
    Kind.AUDIT_UNAVAILABLE,
    Kind.CLEARANCE,
    Kind.INVALID_REQUEST,
)
_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "index": {"type": "integer", "minimum": 0},
    "id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "order": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "part": {"type": "string", "pattern": r"^[a-z0-9][a-z0-9.-]{0,79}$"},
    "level": {"type": "string", "pattern": "^([0-9]{1,2}|entries)$"},
    "tile": {"type": "string", "pattern": "^[0-9]{3}$"},
}


@cache
def description(regions: tuple[RegionCode, ...]) -> dict[str, Any]:
    """The document of a gateway that serves these regions. Made once; the caller must not change it."""
    mentioned: dict[type[BaseModel], None] = {models.ProblemDocument: None}
    for operation in OPERATIONS:
        for model in (operation.asks, operation.answer):
            if isinstance(model, type):
                mentioned[model] = None
    _, schemas = models_json_schema([(model, "validation") for model in mentioned], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, regions)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Situs disclosure gateway",
            "version": metadata.version("situs"),
            "description": "Releases mailbox data on an order that the law of the place of storage "
            "carries. Problems are RFC 9457; their types are listed in `deploy/problems.md`.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"operator": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation, regions: tuple[RegionCode, ...]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary.split(". ")[0].rstrip(".") + ".",
        "description": operation.summary,
        "parameters": [*_path_parameters(operation.path, regions), *_query_parameters(operation)],
        "responses": {str(operation.status): _success(operation), **_problems(operation)},
        "security": [] if operation.public else [{"operator": []}],
    }
    if links := _links(operation):
        told["responses"][str(operation.status)]["links"] = links
    if operation.conditional:
        told["responses"]["304"] = {"description": "Not modified since the ETag in If-None-Match."}
    if operation.asks is not None:
        told["requestBody"] = {
            "required": operation.asks_for_body,
            "content": {"application/json": {"schema": _schema(operation.asks)}},
        }
    return told


def _links(operation: Operation) -> dict[str, Any]:
    """What can be done next with the id of what was just made (OpenAPI 3.1 4.8.20)."""
    if operation.status != 201:
        return {}
    return {
        other.name: {"operationId": other.name, "parameters": {"id": "$response.body#/id"}}
        for other in OPERATIONS
        if other.path.startswith(operation.path + "/{id}")
    }


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": _REF.format(model=model.__name__)}


def _success(operation: Operation) -> dict[str, Any]:
    if isinstance(operation.answer, str):
        binary = operation.answer != "application/json"
        content: dict[str, Any] = {operation.answer: {} if binary else {"schema": {"type": "object"}}}
    else:
        content = {"application/json": {"schema": _schema(operation.answer)}}
    content |= {media_type: {} for media_type in operation.also}
    return {"description": "As asked for.", "content": content}


def _problems(operation: Operation) -> dict[str, Any]:
    kinds = (*operation.problems, *(() if operation.public else _ATTEMPT), *_ANYWHERE)
    by_status: dict[str, list[Kind]] = {}
    for kind in dict.fromkeys(kinds):
        by_status.setdefault(str(kind.status), []).append(kind)
    return {
        status: {
            "description": "; ".join(f"`{kind.code}`: {kind.title}" for kind in found),
            "content": {MEDIA_TYPE: {"schema": _schema(models.ProblemDocument)}},
        }
        for status, found in sorted(by_status.items())
    }


def _path_parameters(path: str, regions: tuple[RegionCode, ...]) -> list[dict[str, Any]]:
    served = {"region": {"type": "string", "enum": [str(region) for region in regions]}}
    return [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in (_PARAMETERS | served).items()
        if f"{{{name}}}" in path
    ]


def _query_parameters(operation: Operation) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    schema = operation.query.model_json_schema(ref_template=_REF)
    definitions = schema.get("$defs", {})
    return [
        {"name": name, "in": "query", "required": False, "schema": _parameter(found, definitions)}
        for name, found in schema["properties"].items()
    ]


def _parameter(schema: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A query parameter is a text or is left out: `null`, which pydantic allows, has no spelling there."""
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
    found = dict(kinds[0])
    if reference := found.pop("$ref", None):
        found = dict(definitions[reference.rpartition("/")[2]])
    return found
