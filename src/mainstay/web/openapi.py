"""The JSON API described (OpenAPI 3.1), from the same table that its routes are made of."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mainstay import __version__
from mainstay.access.headers import PROBLEM_MEDIA_TYPE

API_ROOT = "/api/v1"
Schema = Mapping[str, Any]
_REF = "#/components/schemas/{name}"
_IN_PATH = re.compile(r"\{(\w+)\}")


class Asking(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a request may say, in its query or as the JSON of its body. Each field is described where it stands."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, its query and body checked. `query` and `body` are of the operation's own types, None without."""

    request: Request
    query: Any = None
    body: Any = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path below API_ROOT. `status` and `schema` are those of what it answers, when it does; `schema`
    is the name of one of the schemas. `is_change` says that only administrators may. Without `answer` a worker of the
    gateway answers, and not the site."""

    method: str
    path: str
    summary: str
    schema: str
    answer: Callable[[Asked], Awaitable[Response]] | None
    query: type[Asking] | None = None
    body: type[Asking] | None = None
    status: int = 200
    is_change: bool = False
    refusals: Sequence[int] = field(default=())
    """Statuses of the problems that are its own, beside those that all have."""


def render_openapi(operations: Sequence[Operation], schemas: Mapping[str, Schema], top: str = "/") -> dict[str, Any]:
    """The whole document. `schemas` are those of the answers, and `Problem`, by name; `top` is what stands before every
    path of the gateway."""
    bodies = [operation.body for operation in operations if operation.body is not None]
    _, asked = msgspec.json.schema_components(bodies, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(API_ROOT + operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mainstay",
            "version": __version__,
            "summary": "Who used which registry how much, and who they are",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": top, "description": "The gateway that this document comes from"}],
        "security": [{"bearer": []}, {"header": []}, {}],
        "paths": paths,
        "components": {"schemas": {**schemas, **asked}, "securitySchemes": _SECURITY},
    }


_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A consumer's token."},
    "header": {"type": "apiKey", "in": "header", "name": "Mainstay-Token", "description": "The same."},
}


def _operation(operation: Operation) -> dict[str, Any]:
    name = re.sub(r"\W+", "-", f"{operation.method} {operation.path}".lower()).strip("-")
    document: dict[str, Any] = {
        "operationId": name,
        "summary": operation.summary,
        "parameters": [*_path_parameters(operation.path), *_query_parameters(operation.query)],
        "responses": _responses(operation),
    }
    if operation.is_change:
        document["security"] = [{"bearer": []}, {"header": []}]
    if operation.body is not None:
        content = {"application/json": {"schema": {"$ref": _REF.format(name=operation.body.__name__)}}}
        document["requestBody"] = {"required": True, "content": content}
    return document


def _responses(operation: Operation) -> dict[str, Any]:
    statuses = {*operation.refusals, *([403] if operation.is_change else [])}
    content = {"application/json": {"schema": {"$ref": _REF.format(name=operation.schema)}}}
    found = {str(operation.status): {"description": HTTPStatus(operation.status).phrase, "content": content}}
    problem = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}}}
    found |= {
        str(status): {"description": HTTPStatus(status).phrase, "content": problem} for status in sorted(statuses)
    }
    return found | {"default": {"description": "What is wrong, and what to do", "content": problem}}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in _IN_PATH.findall(path)
    ]


def _query_parameters(kind: type[Asking] | None) -> list[dict[str, Any]]:
    if kind is None:
        return []
    schema = msgspec.json.schema(kind)["$defs"][kind.__name__]
    return [
        {
            "name": name,
            "in": "query",
            "description": found["description"],
            "schema": {key: value for key, value in found.items() if key != "description"},
        }
        for name, found in schema["properties"].items()
    ]
